"""When the loop ticks, and what time it is then.

The loop reads no clock. A ticker tells it when a tick is due and gives it one reading of all clocks, on which every
time of that tick is anchored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec
import trio

TICK_S = 0.1
"""Seconds between two ticks."""


class TickTime(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of all clocks."""

    now_ns: int
    """Host monotonic time."""
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


class HostTicker:
    """Ticks by the host's clock.

    A tick that comes late moves all later ones, so that after a pause there is one tick and not a burst of them.

    Args:
        read: Reads all clocks.
        period_s: Seconds between two ticks.
    """

    def __init__(self, read: Callable[[], TickTime], period_s: float = TICK_S) -> None:
        self._read = read
        self._period_s = period_s
        self._next: float | None = None

    async def wait(self) -> None:
        """Wait until the next tick is due."""
        if self._next is None:
            self._next = trio.current_time() + self._period_s
        await trio.sleep_until(self._next)
        now = trio.current_time()
        late = now - self._next > self._period_s / 2
        self._next = (now if late else self._next) + self._period_s

    def read(self) -> TickTime:
        """Read all clocks once."""
        return self._read()
