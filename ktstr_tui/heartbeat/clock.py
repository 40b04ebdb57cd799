"""The observer's clock: it runs only while a sender could have been heard.

Silence must mean that a sender did not beat, never that nobody could have heard it. Three things are therefore left
out of the time: steps back (a clock that does not run forward is none), the time in which the guest was frozen, and
the time in which this process itself did not look: it was stopped, starved, or busy with something else. The last
is seen by the length of the step, because the observer looks every few milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

MAX_STEP_NS = 250_000_000
"""What counts of one step at most; the rest counts as not observed."""
JUMP_NS = 5_000_000_000
"""A longer step is counted as a jump."""


class ClockStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What was left out so far."""

    regressions: int
    jumps: int
    frozen_ns: int
    unobserved_ns: int


def _nothing(start_ns: int, end_ns: int) -> int:
    return 0


class ObserverClock:
    """Counts nanoseconds since its creation, without what is left out.

    Args:
        read: A monotonic clock, in nanoseconds.
        frozen_between_ns: How long the senders were frozen within a stretch of that clock.
        max_step_ns: What counts of one step at most.
    """

    def __init__(
        self,
        read: Callable[[], int],
        frozen_between_ns: Callable[[int, int], int] = _nothing,
        max_step_ns: int = MAX_STEP_NS,
    ) -> None:
        self._read = read
        self._frozen_between_ns = frozen_between_ns
        self._max_step_ns = max_step_ns
        self._last_ns = read()
        self._now_ns = 0
        self._regressions = self._jumps = self._frozen_ns = self._unobserved_ns = 0

    def read_ns(self) -> int:
        """Read the clock below, which leaves nothing out, in nanoseconds."""
        return self._read()

    def now_ns(self) -> int:
        """Read the time, in nanoseconds; only reading lets it run."""
        raw_ns = self._read()
        step_ns = raw_ns - self._last_ns
        if step_ns < 0:
            self._regressions += 1
            return self._now_ns
        self._jumps += step_ns > JUMP_NS
        frozen_ns = min(self._frozen_between_ns(self._last_ns, raw_ns), step_ns)
        counted_ns = min(step_ns - frozen_ns, self._max_step_ns)
        self._frozen_ns += frozen_ns
        self._unobserved_ns += step_ns - frozen_ns - counted_ns
        self._last_ns = raw_ns
        self._now_ns += counted_ns
        return self._now_ns

    def statistics(self) -> ClockStatistics:
        """Return the counters so far."""
        return ClockStatistics(
            regressions=self._regressions,
            jumps=self._jumps,
            frozen_ns=self._frozen_ns,
            unobserved_ns=self._unobserved_ns,
        )
