"""The tracker's rules of silence and of room: stalls, eviction, forgetting, counters."""

from __future__ import annotations

from typing import Any

import pytest

from ktstr_tui.heartbeat.tracked import COUNTERS
from ktstr_tui.heartbeat.tracker import (
    MAX_CAPACITY,
    Stall,
    Update,
)
from ktstr_tui.model.errors import InternalError
from tests.unit.heartbeat.either import (
    KERNEL,
    NETWORK,
    MakeTracker,
    beat,
    fill,
    keys_at,
    row_of,
)


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
    assert tracker.take("evictions") == 1
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
    assert tracker.take("capacity_exceeded") == tracker.take("eviction_scan_truncated") == 2


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
    assert (tracker.take("probe_exhausted"), tracker.take("probe_exhausted")) == (1, 0)
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
    assert (tracker.take("out_of_order"), tracker.take("out_of_order")) == (2, 0)
    tracker.record(beat(7, 1), 0, 100, KERNEL)
    assert tracker.take("out_of_order") == 1
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
    with pytest.raises(InternalError, match="not possible"):
        make_tracker(*arguments)
