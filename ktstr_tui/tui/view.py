"""What the screen shows: the live state, or the one of the moment at which the view was paused.

Pausing copies the state and leaves the source alone: events are consumed and folded as before, so nothing is
lost and nothing is slowed down; going on is only a matter of looking at the live state again.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from ktstr_tui.link.replay import Replay
from ktstr_tui.model.condition import by_urgency
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.state import AlertState, CaptureState, RunState
from ktstr_tui.model.still import still
from ktstr_tui.text.lines import Line, clean, faded, frozen
from ktstr_tui.tui.pace import Pace

if TYPE_CHECKING:
    from ktstr_tui.link.source import Connection, Source

_PAST: dict[Connection, str] = {
    "live": "",
    "replay": "",
    "ended": "ended",
    "gone": "gone",
    "connecting": "old",
    "still": "",
}


class View:
    """One viewer's choice of what to look at.

    Args:
        source: Where the state comes from.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.owner = False
        self.paint_hz = 10.0
        self.alert_index = 0
        self.failure = ""
        """Why the source's worker ended with an error; empty when it did not."""
        self.memory: Path | None = None
        """What drgn is given for the memory of what is shown: a run's directory of sockets, or the file of a snapshot;
        None for a recording, and for a run of another machine."""
        self.pace = Pace()
        self._paused: RunState | None = None
        self._since_s = time.monotonic()
        self.film: Replay | None = None
        """The recording of the run so far, while an earlier time of a live run is looked at."""

    @property
    def shown(self) -> Source:
        """Where what is shown comes from."""
        return self.source if self.film is None else self.film

    @property
    def reel(self) -> Replay | None:
        """The recording that is played; None while a run is seen live."""
        return self.shown if isinstance(self.shown, Replay) else None

    @property
    def state(self) -> RunState:
        """The state to show."""
        return self._paused if self._paused is not None else self.shown.state

    @property
    def seen_s(self) -> float:
        """How long this viewer has looked, in seconds of the host."""
        return time.monotonic() - self._since_s

    @property
    def paused(self) -> bool:
        """Whether the view is paused while data still comes in."""
        return self._paused is not None

    @property
    def behind(self) -> int:
        """Events that came in since the view was paused."""
        return self.source.state.seq - self._paused.seq if self._paused is not None else 0

    def toggle_pause(self) -> bool:
        """Pause or go on; returns whether the view is paused now."""
        self._paused = None if self._paused is not None else still(self.source.state)
        return self.paused

    @property
    def connection(self) -> Connection:
        """``connecting``, ``live``, ``gone``, ``replay`` or ``ended``."""
        return "gone" if self.failure else self.shown.connection

    @property
    def live(self) -> bool:
        """Whether what is shown is so now: the run is seen (or replayed) and has not ended."""
        return not self.past

    @property
    def past(self) -> str:
        """Why what is shown is not so now, in a word for a column; empty while it is."""
        if self.state.ended is not None:
            return "ended"
        return _PAST[self.connection] if self.state.seq else ""

    @property
    def over(self) -> bool:
        """Whether nothing more will come: the run or its recording has ended, or the backend is gone."""
        return self.past in ("ended", "gone")

    def tone(self, line: Line) -> Line:
        """The line in the colours of now: without any of the past, without green while the guest is frozen."""
        if self.past:
            return faded(line)
        return line if self.state.frozen is None else frozen(line)

    @property
    def connection_reason(self) -> str:
        """Why the connection is what it is; empty when there is nothing to say."""
        return clean(self.failure or self.shown.connection_reason)

    def alerts(self) -> list[AlertState]:
        """Standing alerts, the most urgent first."""
        return by_urgency(self.state.alerts.values())

    def alert(self) -> AlertState | None:
        """The alert that the bar shows."""
        alerts = self.alerts()
        if not alerts:
            self.alert_index = 0
            return None
        self.alert_index = min(self.alert_index, len(alerts) - 1)
        return alerts[self.alert_index]

    def step_alert(self, step: int) -> None:
        """Show the next or previous alert, around the end."""
        count = len(self.alerts())
        self.alert_index = (self.alert_index + step) % count if count else 0

    def captures(self) -> list[CaptureState]:
        """Captures, the newest first."""
        return self.state.captures[::-1]

    def capture(self, tag: str) -> CaptureReport | None:
        """The report of a tag."""
        return next((it.report for it in self.state.captures if it.report.tag == tag), None)

    def entry(self, report: CaptureReport) -> CaptureState | None:
        """What else is known of a capture by now; None when it is no longer kept."""
        return next((it for it in self.state.captures if it.report is report), None)

    def refusal(self, what: str) -> str:
        """Why ``what`` cannot be asked of the run now; empty when it can."""
        if self.film is not None:
            return f"Cannot {what}: an earlier time of the run is shown. Return to now first."
        if self.connection == "replay":
            return f"Cannot {what}: this is a replay. Attach to a live run instead."
        if self.connection == "gone":
            return f"Cannot {what}: the backend is gone. Data received so far stays on screen."
        if self.connection == "ended" or self.source.state.ended is not None:
            return f"Cannot {what}: the run has ended."
        if self.connection == "connecting":
            return f"Cannot {what}: not connected yet. Try again in a moment."
        if not self.source.controllable:
            return f"Cannot {what}: {clean(self.source.why_read_only)}."
        return ""
