"""Watch slot 0: following schedulers through their lives with one hardware watchpoint.

What is wanted is the very write that ejects a scheduler: ``scx_root->exit_kind`` ceasing to be NONE.
That word lives in a ``struct scx_sched`` that is allocated when a scheduler comes and freed after it went,
so the watch has to travel:

::

    nothing loaded: watches the variable ``scx_root`` (8 bytes)
        │
        │ scx_root becomes a pointer: "attached"
        ▼
    loaded: watches ``exit_kind`` of that scheduler (4 bytes)
        │
        │ exit_kind leaves NONE: "exiting" when the scenario asked for it (see `leaving`), else "ejected" and a capture
        ▼
    exiting: watches ``scx_root`` again at once, because the struct will be freed and its memory reused
        │
        │ scx_root becomes NULL: "detached", nothing is loaded
        └ scx_root becomes another pointer: "detached" and "attached", that one is loaded

The edges of a watchpoint cannot be trusted one by one. A failing cmpxchg counts as a write, so a second CPU
that wants to eject hits the same word again; two CPUs may hit in the same stop and only one is reported; a stop
asked for on other grounds may swallow a hit. So the machine is level-triggered: at *every* stop it compares
memory with what it knows, and a hit only means: look now. That makes repeats harmless and lost hits late
instead of lost.

Two more traps. The kernel moves ``exit_kind`` on to DONE (1) when its disable work starts, so who looks late
finds 1 where 1026 was and has to ask ``exit_info->kind`` instead. And a new scheduler may get the memory of
the old one: a pointer that is the same, with an ``exit_kind`` that is NONE again, is another scheduler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

ROOT_EXPRESSION = "scx_root"
EXIT_EXPRESSION = "scx_root->exit_kind"
ROOT_LENGTH_BYTES = 8
EXIT_LENGTH_BYTES = 4
EXIT_DONE = 1
"""``SCX_EXIT_DONE``: the disable work has begun; why is in ``exit_info->kind``."""


class Change(msgspec.Struct, frozen=True):
    """A step in a scheduler's life."""

    kind: Literal["attached", "exiting", "ejected", "detached"]
    scheduler: int
    """Address of its ``struct scx_sched``."""
    exit_kind: int | None = None


class WatchTarget(msgspec.Struct, frozen=True):
    """What a slot watches."""

    expression: str
    address: int
    length_bytes: int


class SlotZero:
    """What is known of the loaded scheduler, advanced by looks at memory."""

    def __init__(self) -> None:
        self.scheduler: int | None = None
        """Address of the loaded scheduler; None when there is none."""
        self.exited = False
        """Whether its exit was seen."""

    def look(self, root: int | None, exit_kind: int | None, *, asked: bool = False) -> list[Change]:
        """Compare memory with what is known, and know it from now on.

        Args:
            root: Value of ``scx_root``; None or 0 for NULL.
            exit_kind: ``exit_kind`` of that scheduler, None without one.
            asked: Whether the scenario asked for an end of that kind.

        Returns:
            What happened since the last look, in order.
        """
        changes = []
        root = root or None
        reborn = root is not None and root == self.scheduler and self.exited and exit_kind == 0
        if root != self.scheduler or reborn:
            if self.scheduler is not None:
                changes.append(Change("detached", self.scheduler))
            if root is not None:
                changes.append(Change("attached", root))
            self.scheduler, self.exited = root, False
        if root is not None and exit_kind and not self.exited:
            self.exited = True
            changes.append(Change("exiting" if asked else "ejected", root, exit_kind))
        return changes

    def differs(self, root: int | None, exit_kind: int | None) -> bool:
        """Whether `look` would find anything new."""
        root = root or None
        if root != self.scheduler:
            return True
        return root is not None and exit_kind is not None and self.exited != (exit_kind != 0)

    def target(self, root_slot: int, exit_kind_address: Callable[[int], int]) -> WatchTarget:
        """Where the watch belongs now.

        Args:
            root_slot: Address of the variable ``scx_root``.
            exit_kind_address: From a scheduler's address to that of its ``exit_kind``.
        """
        if self.scheduler is None or self.exited:
            return WatchTarget(ROOT_EXPRESSION, root_slot, ROOT_LENGTH_BYTES)
        return WatchTarget(EXIT_EXPRESSION, exit_kind_address(self.scheduler), EXIT_LENGTH_BYTES)
