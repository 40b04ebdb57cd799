"""How late, and whether anybody is there: two clocks, no sleeping."""

from __future__ import annotations

from ktstr_tui.link.lag import WINDOW_NS, LagMeter
from ktstr_tui.link.presence import Presence

MS = 1_000_000
OTHER_CLOCK = 987_654_321_000


def test_no_event_no_lag() -> None:
    assert LagMeter().lag_ms is None


def test_lag_is_measured_against_the_best() -> None:
    meter = LagMeter()
    seen = []
    for sent_ms, took_ms in [(0, 5), (100, 2), (200, 2), (300, 52), (400, 3)]:
        meter.record(OTHER_CLOCK + sent_ms * MS, (sent_ms + took_ms) * MS)
        seen.append(meter.lag_ms)
    assert seen == [0.0, 0.0, 0.0, 50.0, 1.0]


def test_drift_is_forgotten() -> None:
    meter = LagMeter()
    lags = []
    for step in range(400):
        now_ns = step * WINDOW_NS // 10
        drift_ns = step * MS
        meter.record(now_ns, now_ns + drift_ns)
        lags.append(meter.lag_ms or 0.0)
    assert max(lags) <= 20.0


def test_another_backend_starts_afresh() -> None:
    meter = LagMeter()
    meter.record(0, 5)
    meter.reset()
    assert meter.lag_ms is None
    meter.record(OTHER_CLOCK, 900 * MS)
    assert meter.lag_ms == 0.0


def verdict(presence: Presence) -> str:
    presence.judge()
    return presence.connection


class Clock:
    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


def test_a_life() -> None:
    clock = Clock()
    presence = Presence(3000 * MS, clock)
    assert verdict(presence) == "connecting"
    presence.connected = True
    assert verdict(presence) == "connecting"
    presence.synced = True
    assert verdict(presence) == "live"
    clock.now_ns = 3000 * MS
    assert verdict(presence) == "live"
    clock.now_ns += 1
    assert verdict(presence) == "gone"
    assert presence.reason == "no message from the backend for 3 s"
    presence.heard()
    assert verdict(presence) == "live"
    assert presence.reason == ""
    presence.connected = False
    assert verdict(presence) == "gone"
    assert presence.reason == "the backend closed the connection"
    presence.connected, presence.synced = True, False
    assert verdict(presence) == "connecting"
    presence.finished = True
    assert verdict(presence) == "ended"


def test_only_changes_are_reported() -> None:
    presence = Presence(3000 * MS, Clock())
    assert not presence.judge()
    presence.connected = presence.synced = True
    assert presence.judge()
    assert not presence.judge()


def test_who_never_answered_is_not_gone() -> None:
    clock = Clock()
    presence = Presence(3000 * MS, clock)
    clock.now_ns = 60_000 * MS
    presence.judge()
    assert presence.connection == "connecting"
