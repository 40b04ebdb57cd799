"""What a silent task does meanwhile: one that runs now and then and is preempted at once looks like one that waits.

``runnable_at`` begins anew whenever a task gets a CPU, so "runnable for 0.0 s" is all that one look shows of a task
that is preempted for ever. Two looks within the same silence tell it: ``nivcsw`` counts how often it lost its CPU
against its will, ``se.sum_exec_runtime`` is how long it ran. Silences are told apart by when they began.
"""

from __future__ import annotations

from typing import NamedTuple

from ktstr_tui.kernel.address import AddressSpace
from ktstr_tui.kernel.btf import Btf
from ktstr_tui.kernel.layout import Layout
from ktstr_tui.model.beats import Progress

MAX_TASKS = 64
"""Tasks that are remembered; the one looked at longest ago makes room."""
LEAST_MS = 400.0
"""Between two looks, below which a count says nothing."""

SAME_MS = 500.0
"""Between the beginnings of what counts as one silence: two clocks are compared."""


class _Look(NamedTuple):
    at_ms: float
    began_ms: float
    """When the silence began, on the same clock."""
    ran_ns: int
    preempted: int


class ProgressOf:
    """Remembers the first look at each silent task.

    Args:
        btf: The kernel's BTF.
    """

    def __init__(self, btf: Btf) -> None:
        self._layout = Layout(btf, "task_struct", {"ran_ns": "se.sum_exec_runtime", "preempted": "nivcsw"})
        self._first: dict[int, _Look] = {}

    def look(
        self, space: AddressSpace, task: int, pid: int, now_ms: float, silent_ms: float
    ) -> Progress | None:
        """Look at a task.

        Args:
            space: Where to read.
            task: Address of its struct.
            pid: Its pid.
            now_ms: The guest's clock.
            silent_ms: How long it has been silent.

        Returns:
            What it did since the first look in this silence; None at that one, or where the kernel does not count.

        Raises:
            MemoryReadError: If the struct cannot be read.
        """
        row = self._layout.read(space, task)
        if row["ran_ns"] is None or row["preempted"] is None:
            return None
        now = _Look(now_ms, now_ms - silent_ms, row["ran_ns"], row["preempted"])
        first = self._first.pop(pid, None)
        if first is None or abs(first.began_ms - now.began_ms) > SAME_MS or first.ran_ns > now.ran_ns:
            first = now  # another silence, or another task of that pid
        while len(self._first) >= MAX_TASKS:
            del self._first[next(iter(self._first))]
        self._first[pid] = first
        over_ms = now_ms - first.at_ms
        if over_ms < LEAST_MS:
            return None
        return Progress(
            over_ms=over_ms,
            ran_ms=(now.ran_ns - first.ran_ns) / 1e6,
            preempted=max(0, now.preempted - first.preempted),
        )
