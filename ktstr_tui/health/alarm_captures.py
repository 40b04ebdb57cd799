"""Captures taken because of an early alarm."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from ktstr_tui.health.early_alarms import EARLY_KEYS
from ktstr_tui.model.errors import KtstrError
from ktstr_tui.model.events import AlertCleared, AlertRaised, Event, Logged
from ktstr_tui.model.report import CaptureReport

CAPTURE_EVERY_NS: Final = 10_000_000_000
"""Alarms make a capture at most once in this time."""
_MAX_WAITING: Final = 8


class AlarmCaptures:
    """Takes a capture when an early alarm is raised; one that changes only its text is not raised again.

    Args:
        capture: Captures the guest; the argument says why.
        emit: Takes events, on the trio thread.
        now_ns: The run's clock.
        enabled: Whether captures are asked for; without that it does nothing.
    """

    def __init__(
        self,
        capture: Callable[[str], Awaitable[CaptureReport]],
        emit: Callable[[Event], object],
        now_ns: Callable[[], int],
        *,
        enabled: bool = True,
    ) -> None:
        self._capture, self._emit, self._now_ns, self._enabled = capture, emit, now_ns, enabled
        self._wanted_in, self._wanted = trio.open_memory_channel[AlertRaised](_MAX_WAITING)
        self._standing: dict[str, AlertRaised] = {}
        self._last_ns: int | None = None
        self._skipped = self._failed = 0

    def observe(self, event: Event) -> None:
        """Take what the monitor says."""
        if isinstance(event, AlertCleared):
            self._standing.pop(event.key, None)
        elif self._enabled and isinstance(event, AlertRaised) and event.key in EARLY_KEYS:
            new = event.key not in self._standing
            self._standing[event.key] = event
            if new:
                self._want(event)

    def _want(self, alarm: AlertRaised) -> None:
        now_ns = self._now_ns()
        if self._last_ns is not None and now_ns - self._last_ns < CAPTURE_EVERY_NS:
            self._skipped += 1
            return
        try:
            self._wanted_in.send_nowait(alarm)
        except trio.WouldBlock:
            self._skipped += 1
        else:
            self._last_ns = now_ns

    async def run(self) -> None:
        """Take captures until cancelled."""
        async for alarm in self._wanted:
            try:
                await self._capture(alarm.text)
            except KtstrError as error:
                self._failed += 1
                text = f"no capture of the alarm: {error.message}"
                self._emit(Logged(severity="warning", source="alarms", text=text))

    def drops(self) -> dict[str, int]:
        """Return the captures that were not taken, by reason."""
        return {"captures-skipped": self._skipped, "captures-failed": self._failed}
