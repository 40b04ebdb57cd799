"""The two numbers of instructions after which a machine is held: one for what the run does again, one for a debugger.

The observer knows one number. It is told the smaller, and the other when the machine is held there.
"""

from __future__ import annotations

from ktstr_tui.guest.observer_page import ObserverPage


class HeldCounts:
    """Keeps them for one machine.

    Args:
        page: Shared with its observer.
    """

    def __init__(self, page: ObserverPage) -> None:
        self._page = page
        self._visit = self._stop = 0

    def visit_at(self, instructions: int) -> None:
        """Have the machine visited there; 0 for nowhere."""
        self._visit = instructions
        self._tell()

    def stop_at(self, instructions: int) -> None:
        """Have it stopped there for a debugger; 0 for nowhere."""
        self._stop = instructions
        self._tell()

    def take_due(self, total: int) -> tuple[bool, bool]:
        """Whether it is to be visited, and whether it is to be stopped, after so many instructions; each once."""
        visits, stops = 0 < self._visit <= total, 0 < self._stop <= total
        self._visit = 0 if visits else self._visit
        self._stop = 0 if stops else self._stop
        self._tell()
        return visits, stops

    def _tell(self) -> None:
        self._page.hold_at(min((it for it in (self._visit, self._stop) if it), default=0))
