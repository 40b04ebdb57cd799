"""The observer: what becomes an event, what only a count, and when a silence is stated."""

from __future__ import annotations

import pytest

from ktstr_tui.heartbeat.events import (
    BeatHeard,
    DecodeFailed,
    OriginConflicted,
    SenderRecovered,
    SenderStalled,
)
from ktstr_tui.heartbeat.gate import ALL_LIMITED, PID_ABOVE_MAX, PID_LIMITED, Rules
from ktstr_tui.heartbeat.observer import BATCH, MAX_EVENTS, TOLD_PER_BATCH
from ktstr_tui.heartbeat.tracked import Origin
from ktstr_tui.wire.vlp import NONCE_TERMINAL, Status
from tests.unit.heartbeat.watching import THRESHOLD_NS, Watch, frame


def test_three_frames_are_three_beats_in_order() -> None:
    watch = Watch(each_beat=True)
    events = watch.guest(frame(7, 1), frame(7, 2), frame(7, 3))
    assert [event.beat.nonce for event in events if isinstance(event, BeatHeard)] == [1, 2, 3]
    assert len(events) == 3


def test_a_silence_is_stated_once_and_its_end_with_its_length() -> None:
    watch = Watch()
    assert watch.guest(frame(7, 1)) == []
    watch.pass_ms(999.9)
    assert watch.look() == []
    watch.pass_ms(0.1)
    (stall,) = watch.look()
    assert isinstance(stall, SenderStalled)
    assert (stall.pid, stall.last_nonce, stall.observer_ns - stall.last_ns) == (7, 1, THRESHOLD_NS)
    watch.pass_ms(500)
    assert watch.look() == [], "once for each silence"
    (recovered,) = watch.guest(frame(7, 2))
    assert recovered == SenderRecovered(observer_ns=watch.now_ns, pid=7, silent_ns=1_500_000_000)
    watch.pass_ms(1000)
    assert [type(event) for event in watch.look()] == [SenderStalled], "a new silence is a new stall"
    stats = watch.observer.statistics()
    assert (stats.stalls, stats.recoveries) == (2, 1)


def test_a_repeated_beat_does_not_keep_anybody_alive() -> None:
    watch = Watch()
    watch.guest(frame(7, 5))
    for _ in range(10):
        watch.pass_ms(100)
        assert watch.guest(frame(7, 5), frame(7, 4)) == []
    assert [type(event) for event in watch.look()] == [SenderStalled]
    assert watch.observer.statistics().tracker.out_of_order == 20


def test_garbage_is_told_and_counted_by_kind() -> None:
    watch = Watch()
    (event,) = watch.guest(b"\xff" * 32)
    assert event == DecodeFailed(observer_ns=0, kind="BadMagic", sender_pid=None)
    assert watch.observer.statistics().gate.errors["BadMagic"] == 1


def test_a_flood_of_garbage_is_counted_in_full_and_told_in_part() -> None:
    watch = Watch()
    flood = b"\xff" * 32 * (3 * BATCH + 7)
    events = watch.guest(flood)
    assert len(events) == 3 * TOLD_PER_BATCH + 7
    assert watch.observer.statistics().gate.errors["BadMagic"] == 3 * BATCH + 7


def test_a_recovery_is_told_also_in_a_flood() -> None:
    watch = Watch()
    watch.guest(frame(7, 1))
    watch.pass_ms(2000)
    watch.look()
    events = watch.guest(b"\xff" * 32 * (BATCH - 1), frame(7, 2))
    assert sum(isinstance(event, SenderRecovered) for event in events) == 1


def test_events_that_nobody_fetches_are_dropped_and_counted() -> None:
    watch = Watch(each_beat=True)
    for nonce in range(1, MAX_EVENTS + 11):
        watch.observer.take_frames(frame(7, nonce), Origin.HYPERVISOR_ATTESTED)
    assert len(watch.observer.take_events()) == MAX_EVENTS
    assert watch.observer.statistics().events_dropped == 10


def test_the_first_way_that_a_pid_was_heard_keeps_it() -> None:
    watch = Watch()
    watch.guest(frame(7, 1))
    watch.observer.take_frames(frame(7, 2), Origin.NETWORK_UNVERIFIED)
    (event,) = watch.observer.take_events()
    assert isinstance(event, OriginConflicted)
    assert (event.claimed_pid, event.observed) == (7, Origin.NETWORK_UNVERIFIED)
    row = watch.observer.tracker.get(7)
    assert row is not None
    assert (row.nonce, row.origin) == (1, Origin.HYPERVISOR_ATTESTED)


def test_who_never_beats_is_silent_too() -> None:
    watch = Watch()
    watch.observer.expect([7, 8])
    watch.pass_ms(600)
    watch.guest(frame(8, 1))
    watch.pass_ms(400)
    (stall,) = watch.look()
    assert isinstance(stall, SenderStalled)
    assert (stall.pid, stall.never_heard, stall.last_nonce) == (7, True, 0)
    watch.observer.expect([7, 8])
    watch.pass_ms(1000)
    watch.guest(frame(8, 2))
    assert watch.look() == [], "still the same silence"
    watch.pass_ms(100)
    (recovered,) = watch.guest(frame(7, 1))
    assert recovered == SenderRecovered(observer_ns=watch.now_ns, pid=7, silent_ns=2_100_000_000)
    watch.observer.expect([7, 8])
    assert watch.observer.silence_ns(7) == 0
    watch.guest(frame(8, 3))
    watch.pass_ms(999)
    assert watch.look() == []


def test_a_new_population_begins_anew_and_counters_go_on() -> None:
    watch = Watch()
    watch.guest(frame(7, 900), frame(8, 1))
    watch.observer.expect([9])
    watch.observer.begin_anew()
    watch.pass_ms(5000)
    assert watch.look() == []
    watch.guest(frame(7, 1))
    row = watch.observer.tracker.get(7)
    assert row is not None
    assert row.nonce == 1, "another process may have that pid now"
    assert watch.observer.statistics().tracker.inserted == 3
    assert watch.observer.statistics().tracker.tracked == 1


def test_the_rate_of_one_pid_is_limited_but_not_its_last_word() -> None:
    watch = Watch(Rules(max_rate_per_pid=100, max_rate=0))
    watch.guest(frame(7, 1))
    watch.pass_ms(9.9)
    watch.guest(frame(7, 2))
    assert watch.observer.statistics().gate.errors[PID_LIMITED] == 1
    watch.pass_ms(0.1)
    watch.guest(frame(7, 3))
    watch.guest(frame(7, NONCE_TERMINAL, Status.CRITICAL, 100))
    watch.guest(frame(7, NONCE_TERMINAL, Status.CRITICAL, 101))
    assert watch.observer.statistics().gate.errors[PID_LIMITED] == 2
    row = watch.observer.tracker.get(7)
    assert row is not None
    assert (row.nonce, row.terminal, row.beats_missed) == (3, True, 1)


@pytest.mark.parametrize("step_ms", [0.1, 1, 7.3, 400])
def test_the_rate_of_all_is_limited_to_the_beat(step_ms: float) -> None:
    watch = Watch(Rules(max_rate_per_pid=0, max_rate=1000, burst=50))
    nonce = 0

    def send(count: int) -> None:
        nonlocal nonce
        for _ in range(count):
            nonce += 1
            watch.guest(frame(7, nonce))

    send(200)
    assert watch.observer.statistics().gate.passed == 50
    turns = int(2000 / step_ms)
    for _ in range(turns):
        watch.pass_ms(step_ms)
        send(2 if step_ms < 2 else 60)
    most = 50 + turns * (step_ms if step_ms <= 50 else 50)
    passed = watch.observer.statistics().gate.passed
    assert most - 1 <= passed <= most
    assert watch.observer.statistics().gate.errors[ALL_LIMITED] == nonce - passed


def test_a_pid_that_cannot_be_is_refused_before_anything_is_kept() -> None:
    watch = Watch(Rules(max_rate_per_pid=0, max_rate=0, pid_max=4194304))
    watch.guest(frame(4194304, 1), frame(4194305, 1))
    assert watch.observer.statistics().gate.errors[PID_ABOVE_MAX] == 1
    watch.observer.set_pid_max(100)
    watch.guest(frame(101, 1))
    assert watch.observer.statistics().gate.errors[PID_ABOVE_MAX] == 2
    assert [row.pid for row in watch.observer.rows(9)] == [4194304]


def test_a_hundred_thousand_pids_against_a_table_of_256() -> None:
    watch = Watch(capacity=256)
    watch.guest(*[frame(pid, 1) for pid in range(2, 258)])
    for start in range(1000, 101_000, 1000):
        watch.pass_ms(0.1)
        assert watch.guest(*[frame(pid, 1) for pid in range(start, start + 1000)]) == []
    stats = watch.observer.statistics()
    assert stats.tracker.capacity_exceeded == 100_000
    assert stats.tracker.tracked == 256
    assert stats.tracker.invariant_violations == stats.tracker.evictions == 0
    assert sorted(row.pid for row in watch.observer.rows(300)) == list(range(2, 258)), "the table is intact"
    watch.guest(*[frame(pid, 2) for pid in range(2, 258)])
    assert watch.observer.statistics().tracker.refreshed == 256
