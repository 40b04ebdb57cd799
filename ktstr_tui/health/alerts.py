"""Raise an alert when its condition has held for long enough, and clear it when it has been gone as long.

A standing alert is raised again under its key when it got worse or concerns another task, and when its text
changed, but then at most once a second: the numbers in a text move with every sample. One that comes back soon after it
was cleared has to be gone for longer every time, so that what flickers is one alert and not a hundred.
"""

from __future__ import annotations

from collections.abc import Iterator

from ktstr_tui.model.events import AlertCleared, AlertRaised, Event, Severity

REFRESH_NS = 1_000_000_000
SOON_NS = 10_000_000_000
"""An alert that is raised again within this time flickers."""
LONGEST = 16
"""How many times as long one that flickers has to be gone at most."""


class Alerts:
    """The standing alerts and the streaks that lead to others.

    Args:
        clear_after: Looks in a row without the condition before an alert is cleared.
    """

    def __init__(self, clear_after: int) -> None:
        self.standing: dict[str, AlertRaised] = {}
        """By key, oldest first."""
        self.now_ns = 0
        """Host monotonic clock of the current look."""
        self._clear_after = clear_after
        self._streaks: dict[str, int] = {}
        self._said_ns: dict[str, int] = {}
        self._cleared_ns: dict[str, int] = {}
        self._patience: dict[str, int] = {}

    def severity(self, key: str) -> Severity | None:
        """Severity of a standing alert; None when it does not stand."""
        alert = self.standing.get(key)
        return None if alert is None else alert.severity

    def update(
        self, key: str, alert: AlertRaised | None, *, raise_after: int = 1, clear_at_once: bool = False
    ) -> Iterator[Event]:
        """Take one look's finding in.

        Args:
            key: Identifies the alert.
            alert: What to say if it is to be said; None when all is well.
            raise_after: Looks in a row that it takes.
            clear_at_once: Whether a standing alert has lost its object.
        """
        standing = self.standing.get(key)
        if (alert is None) == (standing is None):
            self._streaks.pop(key, None)
            if alert is not None and standing is not None:
                yield from self._refresh(key, alert, standing)
            return
        streak = self._streaks[key] = self._streaks.get(key, 0) + 1
        if alert is not None and streak >= raise_after:
            self._note_return(key)
            yield self._say(key, alert)
        elif alert is None and (clear_at_once or streak >= self._clear_after * self._patience.get(key, 1)):
            gone = self.standing.pop(key)
            del self._streaks[key]
            self._cleared_ns[key] = self.now_ns
            yield AlertCleared(key=key, kind=gone.kind)

    def _note_return(self, key: str) -> None:
        """Be more patient with an alert that comes back soon, and as before with one that was gone for long."""
        cleared_ns = self._cleared_ns.pop(key, None)
        if cleared_ns is not None and self.now_ns - cleared_ns < SOON_NS:
            self._patience[key] = min(LONGEST, 2 * self._patience.get(key, 1))
        else:
            self._patience.pop(key, None)

    def _refresh(self, key: str, alert: AlertRaised, standing: AlertRaised) -> Iterator[Event]:
        due = self.now_ns - self._said_ns[key] >= REFRESH_NS
        other = (alert.severity, alert.pid, alert.cpu) != (standing.severity, standing.pid, standing.cpu)
        if other or (due and alert.text != standing.text):
            yield self._say(key, alert)

    def _say(self, key: str, alert: AlertRaised) -> AlertRaised:
        self.standing[key] = alert
        self._said_ns[key] = self.now_ns
        self._streaks.pop(key, None)
        return alert
