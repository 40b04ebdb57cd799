"""How late is what arrives, without trusting the other side's clock."""

from __future__ import annotations

WINDOW_NS = 60 * 10**9
"""The best case is looked for in this much of the past (up to twice as much)."""


class LagMeter:
    """The delay of events against the best delay seen lately.

    Two machines' monotonic clocks differ by an unknown constant, which the time from stamp to arrival
    contains. The smallest such time is that constant plus the best delay that the way allows, so what a later
    event took longer than that is lag. Clocks also drift, by seconds in a day, so the smallest is forgotten
    after a while: it is kept for two windows that take turns.
    """

    def __init__(self) -> None:
        self._floor_ns: int | None = None
        self._previous_floor_ns: int | None = None
        self._window_ends_ns = 0
        self._lag_ns: int | None = None

    def record(self, sent_ns: int, now_ns: int) -> None:
        """Note an event stamped ``sent_ns`` by its sender that arrived at ``now_ns`` of our clock."""
        offset = now_ns - sent_ns
        if self._floor_ns is None or now_ns >= self._window_ends_ns:
            self._previous_floor_ns = self._floor_ns
            self._floor_ns = offset
            self._window_ends_ns = now_ns + WINDOW_NS
        self._floor_ns = min(self._floor_ns, offset)
        before = self._floor_ns if self._previous_floor_ns is None else self._previous_floor_ns
        self._lag_ns = offset - min(self._floor_ns, before)

    @property
    def lag_ms(self) -> float | None:
        """Lag of the newest event in ms; None before the first."""
        return None if self._lag_ns is None else self._lag_ns / 1e6

    def reset(self) -> None:
        """Forget everything: another backend has another clock."""
        self._floor_ns = self._previous_floor_ns = self._lag_ns = None
