"""The tracker's rules beyond those of its acceptance: nonces, last words, generations, eviction, batches."""

from __future__ import annotations

from typing import Any

import pytest

from ktstr_tui.heartbeat.tracked import COUNTERS
from ktstr_tui.heartbeat.tracker import (
    AUTH_FAILURE,
    MAX_CAPACITY,
    Datagram,
    DatagramArray,
    Origin,
    Outcome,
    Stall,
    Tracker,
    Update,
)
from ktstr_tui.model.errors import InternalError
from ktstr_tui.wire.vlp import NONCE_TERMINAL, Beat, Status, encode
from tests.oracles.tracker import PyTracker
from tests.unit.heartbeat.either import (
    KERNEL,
    NETWORK,
    EitherTracker,
    MakeTracker,
    beat,
    datagram,
    fill,
    keys_at,
    last_words,
)

LAST = NONCE_TERMINAL - 1
"""The last regular nonce."""
WRAP = 1 << 20


def row_of(tracker: EitherTracker, pid: int) -> dict[str, Any]:
    """What is known of a tracked pid, by name."""
    row = tracker.get(pid)
    assert row is not None
    return {name: getattr(row, name) for name in row.__struct_fields__}


@pytest.mark.parametrize(
    ("last", "new", "update", "wraps"),
    [
        (5, 6, Update.REFRESHED, 0),
        (5, 5, Update.OUT_OF_ORDER, 0),
        (5, 4, Update.OUT_OF_ORDER, 0),
        (5, LAST, Update.REFRESHED, 0),
        (LAST, 0, Update.REFRESHED, 1),
        (LAST, WRAP - 1, Update.REFRESHED, 1),
        (LAST, WRAP, Update.OUT_OF_ORDER, 0),
        (NONCE_TERMINAL - WRAP, 0, Update.REFRESHED, 1),
        (NONCE_TERMINAL - WRAP - 1, 0, Update.OUT_OF_ORDER, 0),
        (LAST, LAST, Update.OUT_OF_ORDER, 0),
    ],
)
def test_a_nonce_grows_or_goes_round(
    make_tracker: MakeTracker, last: int, new: int, update: Update, wraps: int
) -> None:
    tracker = make_tracker()
    tracker.record(beat(7, last), 10, 100, KERNEL)
    assert tracker.record(Beat(Status.DEGRADED, 7, 1, new, 5), 20, 100, KERNEL) is update
    accepted = update is Update.REFRESHED
    row = row_of(tracker, 7)
    assert row["nonce"] == (new if accepted else last)
    assert row["last_ns"] == (20 if accepted else 10)
    assert row["status"] == (Status.DEGRADED if accepted else Status.OK)
    assert row["payload"] == (5 if accepted else 0)
    assert tracker.take_nonce_wraps() == wraps
    assert tracker.take_nonce_wraps() == 0


def test_gaps_and_missed_beats_are_counted(make_tracker: MakeTracker) -> None:
    tracker = make_tracker()
    for nonce in (1, 2, 5, 6, 5, 16):
        tracker.record(beat(7, nonce), 0, 100, KERNEL)
    row = row_of(tracker, 7)
    assert (row["beats"], row["nonce_gaps"], row["beats_missed"]) == (5, 2, 2 + 9)
    # Going round is no gap when no nonce is left out.
    tracker.record(beat(8, LAST), 0, 100, KERNEL)
    tracker.record(beat(8, 0), 0, 100, KERNEL)
    assert row_of(tracker, 8)["nonce_gaps"] == 0
    tracker.record(beat(9, LAST - 1), 0, 100, KERNEL)
    tracker.record(beat(9, 2), 0, 100, KERNEL)
    assert row_of(tracker, 9)["beats_missed"] == 3


def test_missed_beats_do_not_overflow(make_tracker: MakeTracker) -> None:
    tracker = make_tracker()
    tracker.record(beat(7, 0), 0, 100, KERNEL)
    for nonce in (LAST, WRAP - 1, LAST, WRAP - 1):
        assert tracker.record(beat(7, nonce), 0, 100, KERNEL) is Update.REFRESHED
    assert row_of(tracker, 7)["beats_missed"] == (1 << 64) - 1


def test_last_words_leave_the_nonce_alone(make_tracker: MakeTracker) -> None:
    tracker = make_tracker()
    tracker.record(beat(7, 5), 0, 100, KERNEL)
    assert tracker.record(last_words(7, 50), 10, 100, KERNEL) is Update.REFRESHED
    row = row_of(tracker, 7)
    assert (row["nonce"], row["terminal"], row["status"], row["last_ns"]) == (5, True, Status.CRITICAL, 10)
    # One thread may die and the others go on; what is old stays old.
    assert tracker.record(beat(7, 5), 20, 100, KERNEL) is Update.OUT_OF_ORDER
    assert tracker.record(beat(7, 6), 20, 100, KERNEL) is Update.REFRESHED
    assert row_of(tracker, 7)["terminal"] is False
    assert tracker.take_nonce_wraps() == 0


def test_last_words_are_judged_by_their_timestamp(make_tracker: MakeTracker) -> None:
    tracker = make_tracker()
    tracker.record(beat(7, 5), 0, 100, KERNEL)
    updates = [tracker.record(last_words(7, at), 10, 100, KERNEL) for at in (50, 50, 49, 51)]
    assert [update.name for update in updates] == ["REFRESHED", "OUT_OF_ORDER", "OUT_OF_ORDER", "REFRESHED"]


def test_last_words_may_be_the_first(make_tracker: MakeTracker) -> None:
    tracker = make_tracker()
    assert tracker.record(last_words(7, 0), 0, 100, KERNEL) is Update.INSERTED
    assert row_of(tracker, 7)["nonce"] == NONCE_TERMINAL
    assert tracker.record(last_words(7, 0), 0, 100, KERNEL) is Update.OUT_OF_ORDER
    assert tracker.record(beat(7, 0), 5, 100, KERNEL) is Update.REFRESHED
    row = row_of(tracker, 7)
    assert (row["nonce"], row["nonce_gaps"]) == (0, 0)
    assert tracker.statistics().nonce_wraps == 0


def test_last_words_need_no_readable_namespace(make_tracker: MakeTracker) -> None:
    tracker = make_tracker()
    tracker.record(beat(7, 5), 0, 100, KERNEL, 123)
    assert tracker.record(last_words(7, 1), 0, 100, KERNEL, 124) is Update.NAMESPACE_CONFLICT
    assert tracker.record(last_words(7, 1), 0, 100, KERNEL, None) is Update.REFRESHED
    assert row_of(tracker, 7)["pid_ns_inode"] == 123


def test_a_refused_beat_tells_no_namespace(make_tracker: MakeTracker) -> None:
    tracker = make_tracker()
    tracker.record(beat(7, 5), 0, 100, KERNEL)
    assert tracker.record(beat(7, 5), 0, 100, KERNEL, 999, 888) is Update.OUT_OF_ORDER
    assert row_of(tracker, 7)["pid_ns_inode"] is None
    assert row_of(tracker, 7)["generation"] is None


def test_another_generation_gets_the_slot_anew(make_tracker: MakeTracker) -> None:
    tracker = make_tracker()
    tracker.record(beat(7, 500), 0, 100, KERNEL, 1, generation=40)
    tracker.drain_stalled(100, 100)
    assert tracker.record(beat(7, 1), 150, 100, KERNEL, 2, generation=41) is Update.INSERTED
    assert tracker.last_recovery_ns is None
    row = row_of(tracker, 7)
    assert (row["nonce"], row["beats"], row["stalls"], row["pid_ns_inode"]) == (1, 1, 0, 2)
    assert tracker.statistics().stall_emitted_count == 0
    assert tracker.take_pid_recycles() == 1
    assert len(tracker) == 1


def test_an_unknown_generation_conflicts_with_none(make_tracker: MakeTracker) -> None:
    tracker = make_tracker()
    tracker.record(beat(7, 1), 0, 100, KERNEL)
    assert tracker.record(beat(7, 2), 0, 100, KERNEL, generation=40) is Update.REFRESHED
    assert tracker.record(beat(7, 3), 0, 100, KERNEL) is Update.REFRESHED
    assert row_of(tracker, 7)["generation"] == 40
    assert tracker.drain_stalled(100, 100) == [Stall(7, 3, 0, KERNEL, None, 40)]


@pytest.mark.parametrize("value", [0, (1 << 64) - 1])
def test_extreme_namespaces_and_generations_are_not_absent(make_tracker: MakeTracker, value: int) -> None:
    tracker = make_tracker()
    tracker.record(beat(7, 1), 0, 100, KERNEL, value, value)
    assert (row_of(tracker, 7)["pid_ns_inode"], row_of(tracker, 7)["generation"]) == (value, value)
    assert tracker.record(beat(7, 2), 0, 100, KERNEL, 5, value) is Update.NAMESPACE_CONFLICT


def test_the_order_of_the_checks(make_tracker: MakeTracker) -> None:
    tracker = make_tracker()
    tracker.record(beat(7, 9), 0, 100, KERNEL, 1, 40)
    assert tracker.record(beat(7, 1), 0, 100, NETWORK, 2, 40) is Update.ORIGIN_CONFLICT
    assert tracker.record(beat(7, 1), 0, 100, KERNEL, 2, 40) is Update.NAMESPACE_CONFLICT
    assert tracker.record(beat(7, 1), 0, 100, KERNEL, 1, 40) is Update.OUT_OF_ORDER
    assert tracker.record(beat(7, 1), 0, 100, NETWORK, 2, 41) is Update.INSERTED


def test_a_stall_is_stated_once_for_each_silence(make_tracker: MakeTracker) -> None:
    tracker = make_tracker()
    tracker.record(beat(7, 1), 1000, 100, KERNEL, 5)
    assert tracker.drain_stalled(1099, 100) == []
    assert tracker.drain_stalled(1100, 100) == [Stall(7, 1, 1000, KERNEL, 5)]
    assert tracker.drain_stalled(5000, 100) == []
    # What is refused does not end the silence.
    tracker.record(beat(7, 1), 5000, 100, KERNEL, 5)
    tracker.record(beat(7, 2), 5000, 100, NETWORK, 5)
    tracker.record(beat(7, 2), 5000, 100, KERNEL, 6)
    assert row_of(tracker, 7)["stalled"]
    recoveries = [tracker.last_recovery_ns]
    tracker.record(beat(7, 2), 5200, 100, KERNEL, 5)
    recoveries.append(tracker.last_recovery_ns)
    assert tracker.drain_stalled(5300, 100) == [Stall(7, 2, 5200, KERNEL, 5)]
    assert row_of(tracker, 7)["stalls"] == 2
    assert tracker.statistics().recoveries == 1
    tracker.record(beat(8, 1), 5300, 100, KERNEL)
    recoveries.append(tracker.last_recovery_ns)
    assert recoveries == [None, 4200, None]


def test_a_clock_that_steps_back_makes_no_stall(make_tracker: MakeTracker) -> None:
    tracker = make_tracker()
    tracker.record(beat(7, 1), 1000, 100, KERNEL)
    assert tracker.drain_stalled(10, 100) == []
    assert [stall.pid for stall in tracker.drain_stalled(10, 0)] == [7]
    tracker.record(beat(7, 2), 20, 100, KERNEL)
    assert tracker.last_recovery_ns == 0


@pytest.mark.parametrize("eviction", ["strict", "balanced"])
def test_only_a_long_silence_gives_a_slot_away(make_tracker: MakeTracker, eviction: str) -> None:
    tracker = make_tracker(4, eviction)
    fill(tracker, 100)
    tracker.drain_stalled(1000, 100)
    # Ten thresholds exactly are not enough.
    assert tracker.record(beat(99, 1), 1000, 100, KERNEL) is Update.CAPACITY_EXCEEDED
    assert tracker.take_evicted_pid() is None
    assert tracker.record(beat(99, 1), 1001, 100, KERNEL) is Update.INSERTED
    assert tracker.take_evicted_pid() == 1
    assert tracker.take_evicted_pid() is None
    assert tracker.take_evictions() == 1
    assert tracker.get(1) is None
    assert tracker.statistics().eviction_scan_cursor == 1


def test_balanced_takes_an_unstated_silence_when_no_stated_one_is_long_enough(
    make_tracker: MakeTracker,
) -> None:
    for eviction, update in (("strict", Update.CAPACITY_EXCEEDED), ("balanced", Update.INSERTED)):
        tracker = make_tracker(4, eviction)
        fill(tracker, 100)
        assert tracker.record(beat(99, 1), 2000, 100, KERNEL) is update
    # A stated one is preferred, wherever it stands within the window.
    tracker = make_tracker(4, "balanced")
    fill(tracker, 100)
    tracker.drain_stalled(2000, 100)
    for pid in (1, 2, 4):
        tracker.record(beat(pid, 2), 2000, 100, KERNEL)
    assert tracker.record(beat(99, 1), 4000, 100, KERNEL) is Update.INSERTED
    assert tracker.take_evicted_pid() == 3


def test_searches_go_on_where_the_last_one_ended(make_tracker: MakeTracker) -> None:
    tracker = make_tracker(16, "strict", 4)
    fill(tracker, 100)
    tracker.drain_stalled(2000, 100)
    for pid in range(1, 17):
        if pid != 11:
            tracker.record(beat(pid, 2), 2000, 100, KERNEL)
    updates = [tracker.record(beat(99, 1), 2000, 100, KERNEL).name for _ in range(3)]
    assert updates == ["CAPACITY_EXCEEDED", "CAPACITY_EXCEEDED", "INSERTED"]
    assert tracker.take_evicted_pid() == 11
    assert tracker.take_capacity_exceeded() == tracker.take_eviction_scan_truncated() == 2


def test_a_huge_threshold_does_not_wrap_around(make_tracker: MakeTracker) -> None:
    tracker = make_tracker(1, "balanced")
    tracker.record(beat(1, 1), 0, 100, KERNEL)
    assert tracker.record(beat(2, 1), 1 << 63, 1 << 62, KERNEL) is Update.CAPACITY_EXCEEDED


def test_made_up_pids_leave_the_table_intact(make_tracker: MakeTracker) -> None:
    tracker = make_tracker(256, "strict")
    fill(tracker, 100)
    before = tracker.rows()
    updates = {tracker.record(beat(pid, 1), 50, 100, NETWORK) for pid in range(1000, 101_000)}
    assert updates == {Update.CAPACITY_EXCEEDED}
    assert tracker.rows() == before
    statistics = tracker.statistics()
    assert (statistics.tracked, statistics.capacity_exceeded, statistics.evictions) == (256, 100_000, 0)
    assert statistics.probe_exhausted == statistics.invariant_violations == 0


def test_a_pid_without_a_place_in_the_index_is_refused(make_tracker: MakeTracker) -> None:
    tracker = make_tracker(128, "balanced")
    *within, beyond = keys_at(5, 256, 65)
    for pid in within:
        assert tracker.record(beat(pid, 1), 0, 100, KERNEL) is Update.INSERTED
    assert tracker.record(beat(beyond, 1), 0, 100, KERNEL) is Update.CAPACITY_EXCEEDED
    assert (tracker.take_probe_exhausted(), tracker.take_probe_exhausted()) == (1, 0)
    assert len(tracker) == 64
    assert {row.pid for row in tracker.rows()} == set(within)


def test_an_eviction_that_fails_leaves_the_victim_its_slot(make_tracker: MakeTracker) -> None:
    tracker = make_tracker(128, "balanced")
    *within, beyond = keys_at(5, 256, 65)
    others = keys_at(100, 256, 64)
    for pid in others + within:
        assert tracker.record(beat(pid, 1), 0, 100, KERNEL) is Update.INSERTED
    assert len(tracker.drain_stalled(2000, 100)) == 128
    before = tracker.rows()
    # The victim's place in the index is far from where the new pid may stand.
    assert tracker.record(beat(beyond, 1), 2000, 100, KERNEL) is Update.CAPACITY_EXCEEDED
    assert tracker.rows() == before
    statistics = tracker.statistics()
    assert (statistics.stall_emitted_count, statistics.evictions, statistics.capacity_exceeded) == (128, 0, 1)
    assert statistics.probe_exhausted == 1
    assert tracker.take_evicted_pid() is None
    assert all(tracker.get(row.pid) == row for row in before)
    # When the victim stands where the new pid may, its place is enough.
    for pid in others:
        tracker.record(beat(pid, 2), 2000, 100, KERNEL)
    assert tracker.record(beat(beyond, 1), 2000, 100, KERNEL) is Update.INSERTED
    assert tracker.take_evicted_pid() == within[0]


def test_forgetting_gives_the_slot_back(make_tracker: MakeTracker) -> None:
    tracker = make_tracker(4, "strict", 3)
    fill(tracker, 100)
    tracker.drain_stalled(100, 100)
    assert tracker.record(beat(99, 1), 100, 100, KERNEL) is Update.CAPACITY_EXCEEDED
    assert tracker.statistics().eviction_scan_cursor == 3
    assert tracker.forget(2) is True
    assert tracker.forget(2) is False
    assert tracker.forget(55) is False
    assert sorted(row.pid for row in tracker.rows()) == [1, 3, 4]
    assert [tracker.get(pid) is None for pid in (1, 2, 3, 4)] == [False, True, False, False]
    statistics = tracker.statistics()
    assert (statistics.stall_emitted_count, statistics.eviction_scan_cursor, statistics.forgotten) == (
        3,
        0,
        1,
    )
    assert tracker.record(beat(2, 1), 100, 100, NETWORK) is Update.INSERTED
    for pid in (1, 2, 3, 4):
        assert tracker.forget(pid)
    assert (len(tracker), tracker.rows()) == (0, [])
    assert tracker.statistics().stall_emitted_count == 0


def test_taking_a_counter_sets_it_to_zero_but_not_the_statistics(make_tracker: MakeTracker) -> None:
    tracker = make_tracker()
    for nonce in (1, 1, 1):
        tracker.record(beat(7, nonce), 0, 100, KERNEL)
    assert (tracker.take_out_of_order(), tracker.take_out_of_order()) == (2, 0)
    tracker.record(beat(7, 1), 0, 100, KERNEL)
    assert tracker.take_out_of_order() == 1
    assert tracker.statistics().out_of_order == 3
    assert {counter: tracker.take(counter) for counter in COUNTERS} == {
        counter: int(counter == "inserted") for counter in COUNTERS
    }
    with pytest.raises(KeyError):
        tracker.take("unheard_of")


@pytest.mark.parametrize(
    ("capacity", "window", "effective"),
    [(1, 0, (1, 1)), (10**6, 10**6, (MAX_CAPACITY, 4096)), (7, -3, (7, 1)), (256, 300, (256, 300))],
)
def test_sizes_are_brought_into_range(
    make_tracker: MakeTracker, capacity: int, window: int, effective: tuple[int, int]
) -> None:
    statistics = make_tracker(capacity, "strict", window).statistics()
    assert (statistics.capacity, statistics.eviction_scan_window) == effective


@pytest.mark.parametrize("arguments", [(0,), (-1,), (8, "lenient")])
def test_what_cannot_be_is_refused(make_tracker: MakeTracker, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(InternalError, match="cannot be"):
        make_tracker(*arguments)


def batch() -> list[Datagram]:
    """One datagram of each kind."""
    return [
        datagram(beat(7, 2), peer_pid=7),
        datagram(beat(7, 3), peer_pid=8),
        datagram(beat(7, 2), peer_pid=7),
        datagram(beat(7, 4), NETWORK),
        datagram(beat(9, 1), Origin.HYPERVISOR_ATTESTED),
        Datagram(b"", KERNEL),
        Datagram(encode(beat(7, 9))[:-1], KERNEL),
        Datagram(encode(beat(7, 9)) + b"x", KERNEL),
        Datagram(b"VA" * 500, KERNEL),
        Datagram(b"\xff" * 32, KERNEL),
        Datagram(encode(Beat(Status.STALL, 7, 1, 1, 0)), KERNEL),
        Datagram(encode(beat(7, 5)), KERNEL, pid_ns_inode=0, generation=3),
        Datagram(encode(beat(7, 6)), KERNEL, pid_ns_inode=1, generation=3),
        Datagram(encode(beat(7, 1)), KERNEL, pid_ns_inode=1, generation=4),
    ]


def test_a_batch_is_decoded_and_entered(make_tracker: MakeTracker) -> None:
    tracker = make_tracker()
    tracker.record(beat(7, 1), 0, 100, KERNEL)
    tracker.drain_stalled(200, 100)
    outcomes = tracker.record_batch(batch(), 250, 100)
    assert [outcome.error or outcome.update for outcome in outcomes] == [
        Update.REFRESHED,
        AUTH_FAILURE,
        Update.OUT_OF_ORDER,
        Update.ORIGIN_CONFLICT,
        Update.INSERTED,
        "BadLength",
        "BadLength",
        "BadLength",
        "BadLength",
        "BadMagic",
        "StallOnWire",
        Update.REFRESHED,
        Update.NAMESPACE_CONFLICT,
        Update.INSERTED,
    ]
    assert outcomes[0] == Outcome(None, beat(7, 2), Update.REFRESHED, 250)
    assert outcomes[1] == Outcome(AUTH_FAILURE, beat(7, 3), None)
    assert [outcome.recovery_ns for outcome in outcomes[1:]] == [None] * 13
    assert tracker.statistics().pid_recycles == 1


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 1000])
def test_a_batch_of_any_size(make_tracker: MakeTracker, count: int) -> None:
    tracker = make_tracker()
    outcomes = tracker.record_batch((datagram(beat(7, nonce)) for nonce in range(1, count + 1)), 0, 100)
    assert [outcome.beat for outcome in outcomes] == [beat(7, nonce) for nonce in range(1, count + 1)]
    assert tracker.statistics().inserted + tracker.statistics().refreshed == count


def test_an_array_gives_only_what_is_notable() -> None:
    tracker, twin = Tracker(), PyTracker()
    array = DatagramArray(300)
    for one in batch():
        array.append(one)
    for nonce in range(7, 200):
        array.append(datagram(beat(9, nonce), Origin.HYPERVISOR_ATTESTED))
    for each in (tracker, twin):
        each.record(beat(7, 1), 0, 100, KERNEL)
        each.drain_stalled(200, 100)
    expected = twin.record_batch(array, 250, 100)
    plain = {Update.REFRESHED, Update.OUT_OF_ORDER, Update.CAPACITY_EXCEEDED}
    notable = [
        (index, outcome)
        for index, outcome in enumerate(expected)
        if outcome.update not in plain or outcome.recovery_ns is not None
    ]
    assert tracker.record_array(array, 250, 100) == notable
    assert [index for index, _ in notable] == [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13]
    assert tracker.rows() == twin.rows()
    full = Tracker(1)
    assert [index for index, _ in full.record_array(array, 250, 100)] == [0, 1, 3, 5, 6, 7, 8, 9, 10, 12, 13]
    assert full.statistics().capacity_exceeded == 194
    array.clear()
    assert tracker.record_array(array, 260, 100) == []


def test_an_array_keeps_what_it_was_given() -> None:
    array = DatagramArray(20)
    given = batch()
    for one in given:
        array.append(one)
    assert len(array) == len(given)
    kept = list(array)
    assert kept[8].data == (b"VA" * 500)[:33]
    assert [one.data for one in kept if len(one.data) <= 32] == [
        one.data for one in given if len(one.data) <= 32
    ]
    assert [(one.origin, one.peer_pid, one.pid_ns_inode, one.generation) for one in kept] == [
        (one.origin, one.peer_pid, one.pid_ns_inode, one.generation) for one in given
    ]
    for _ in range(6):
        array.append(given[0])
    with pytest.raises(InternalError, match="full"):
        array.append(given[0])


def test_the_twin_gets_over_an_index_that_names_no_slot() -> None:
    tracker = PyTracker()
    tracker.record(beat(7, 1), 0, 100, KERNEL)
    tracker._index.insert(8, 5)
    assert tracker.record(beat(8, 1), 0, 100, KERNEL) is Update.CAPACITY_EXCEEDED
    assert tracker.take_invariant_violations() == 1
    assert tracker.record(beat(8, 1), 0, 100, KERNEL) is Update.INSERTED
