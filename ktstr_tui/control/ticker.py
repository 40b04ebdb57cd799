"""When the loop ticks, and what time it is then.

The loop reads no clock. A ticker tells it when a tick is due and gives it one reading of all clocks, on which every
time of that tick is anchored.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec
import trio

TICK_S = 0.1
"""Seconds between two ticks."""


class TickTime(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of all clocks."""

    now_ns: int
    """The run's time."""
    frozen_ns: int = 0
    """How long the guest was stopped so far."""
    scenario_ns: int | None = None
    """The scenario's time; None while it has none."""


class Ticker(Protocol):
    """Says when to tick."""

    async def wait(self) -> None:
        """Wait until the next tick is due; missed ones are not made up for."""
        ...

    def read(self) -> TickTime:
        """Read all clocks once."""
        ...


class ClockTicker:
    """Ticks by the run's clock.

    A tick that comes late moves all later ones, so that after a pause there is one tick and not a burst of them.

    Args:
        read: Reads all clocks.
        period_s: Seconds between two ticks.
        sleep: Waits, in seconds of the run's clock.
        now_s: That clock, in seconds.
    """

    def __init__(
        self,
        read: Callable[[], TickTime],
        period_s: float = TICK_S,
        sleep: Callable[[float], Awaitable[None]] = trio.sleep,
        now_s: Callable[[], float] = trio.current_time,
    ) -> None:
        self._read = read
        self._sleep, self._now_s = sleep, now_s
        self._period_s = period_s
        self._next: float | None = None

    async def wait(self) -> None:
        """Wait until the next tick is due."""
        if self._next is None:
            self._next = self._now_s() + self._period_s
        await self._sleep(max(0.0, self._next - self._now_s()))
        now = self._now_s()
        late = now - self._next > self._period_s / 2
        self._next = (now if late else self._next) + self._period_s

    def read(self) -> TickTime:
        """Read all clocks once."""
        return self._read()
