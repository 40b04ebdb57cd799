"""Which captures came while the screen was open."""

from __future__ import annotations

from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.state import RunState


class NewCaptures:
    """Finds captures that were not there the last time; those of the first state that holds events are old."""

    def __init__(self) -> None:
        self._known: set[str] | None = None

    def take(self, state: RunState) -> list[CaptureReport]:
        """Return the reports of captures that came since the last call, oldest first."""
        tags = {it.report.tag for it in state.captures}
        if self._known is None:
            if not state.seq:
                return []
            self._known = tags
        new = tags - self._known
        self._known = tags
        return [it.report for it in state.captures if it.report.tag in new]
