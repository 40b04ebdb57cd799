"""When on the run's clock an event of the kernel's trace was.

Each block says which moment of the trace's clock was which of the host's, to about a tick of a CPU that runs. One such
pair is the anchor from which all times are counted, so that they do not jump with every block. While the guest is
frozen its clock stands still, so what is later lies later by that long. When a block is further off than `OFF_NS`,
because clocks drift or the guest was booted again, it becomes the new anchor.
"""

from __future__ import annotations

from typing import Final

from ktstr_tui.model.trace_block import TraceBlock

OFF_NS: Final = 50_000_000


class RunClock:
    """Reckons times of blocks, oldest first."""

    def __init__(self) -> None:
        self._anchor: tuple[int, int] | None = None
        self._freezes: list[tuple[int, int]] = []
        self._frozen_ns: int | None = None
        self._last_ns = 0

    def freeze(self, mono_ns: int) -> None:
        """The guest was frozen."""
        self._frozen_ns = mono_ns

    def thaw(self, mono_ns: int) -> None:
        """It runs again."""
        if self._frozen_ns is not None:
            self._freezes.append((self._frozen_ns, max(0, mono_ns - self._frozen_ns)))
        self._frozen_ns = None

    def take(self, block: TraceBlock) -> None:
        """Look whether the next block fits to those before."""
        if self._anchor is None or abs(self._reckoned(block.now_ns) - block.mono_ns) > OFF_NS:
            self._anchor = (block.now_ns, block.mono_ns)
            self._freezes = [it for it in self._freezes if it[0] >= block.mono_ns]

    def at(self, time_ns: int) -> int:
        """The run's time of an event; never earlier than that of the event before."""
        self._last_ns = max(self._last_ns, self._reckoned(time_ns))
        return self._last_ns

    def _reckoned(self, time_ns: int) -> int:
        if self._anchor is None:
            return time_ns
        trace_ns, mono_ns = self._anchor
        found = mono_ns + time_ns - trace_ns
        for begin_ns, length_ns in self._freezes:
            # An event of before the anchor lies before freezes that are older than it, which are not kept.
            if mono_ns <= begin_ns <= found:
                found += length_ns
        return max(0, found)
