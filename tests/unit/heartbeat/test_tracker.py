"""The tracker's acceptance: each test has the name of its counterpart in the reference observer's tracker."""

from __future__ import annotations

import pytest

from ktstr_tui.heartbeat.tracker import MAX_CAPACITY, Origin, TrackedRow, Update
from tests.unit.heartbeat.either import KERNEL, NETWORK, EitherTracker, MakeTracker, beat, fill, xorshift64


def known(tracker: EitherTracker, pid: int) -> TrackedRow:
    """What is known of a pid that is tracked."""
    row = tracker.get(pid)
    assert row is not None
    return row


def test_find_evictable_slot_returns_none_when_no_stalls_emitted(make_tracker: MakeTracker) -> None:
    tracker = make_tracker(64, "strict")
    fill(tracker, 1000)
    assert len(tracker) == 64
    assert tracker.statistics().stall_emitted_count == 0
    assert tracker.record(beat(99_999, 1), 100 * 1000, 1000, KERNEL) is Update.CAPACITY_EXCEEDED
    assert tracker.statistics().eviction_scan_cursor == 0


def test_stall_counter_enables_eviction_after_drain(make_tracker: MakeTracker) -> None:
    tracker = make_tracker(8, "strict")
    fill(tracker, 100)
    assert len(tracker.drain_stalled(20 * 100, 100)) == 8
    assert tracker.statistics().stall_emitted_count == 8
    assert tracker.record(beat(9999, 1), 20 * 100, 100, KERNEL) is Update.INSERTED
    assert tracker.statistics().stall_emitted_count == 7


def test_stall_counter_decrements_on_refresh(make_tracker: MakeTracker) -> None:
    tracker = make_tracker(4, "strict")
    assert tracker.record(beat(1, 1), 0, 100, KERNEL) is Update.INSERTED
    tracker.drain_stalled(200, 100)
    assert tracker.statistics().stall_emitted_count == 1
    assert tracker.record(beat(1, 2), 300, 100, KERNEL) is Update.REFRESHED
    assert tracker.statistics().stall_emitted_count == 0


def test_find_evictable_slot_scan_is_bounded_to_window(make_tracker: MakeTracker) -> None:
    tracker = make_tracker(MAX_CAPACITY, "strict")
    fill(tracker, 100)
    tracker.drain_stalled(2000, 100)
    assert tracker.statistics().stall_emitted_count == MAX_CAPACITY
    assert tracker.record(beat(50_001, 1), 2000, 100, KERNEL) is Update.INSERTED
    assert 0 < tracker.statistics().eviction_scan_cursor <= tracker.statistics().eviction_scan_window == 256


def test_eviction_scan_window_is_plumbed_through(make_tracker: MakeTracker) -> None:
    tracker = make_tracker(16, "strict", 4)
    assert tracker.statistics().eviction_scan_window == 4
    fill(tracker, 100)
    tracker.drain_stalled(2000, 100)
    assert tracker.statistics().stall_emitted_count == 16
    assert tracker.record(beat(9999, 1), 2000, 100, KERNEL) is Update.INSERTED
    assert 0 < tracker.statistics().eviction_scan_cursor <= 4


@pytest.mark.parametrize("window", [1, 3, 4, 256])
def test_scan_window_cursor_wraps_correctly(make_tracker: MakeTracker, window: int) -> None:
    tracker = make_tracker(4, "strict", window)
    fill(tracker, 100)
    # Stalled, so that there is a search, and not silent for long enough, so that it is in vain.
    tracker.drain_stalled(100, 100)
    for turn in range(1, 11):
        assert tracker.record(beat(1000 + turn, 1), 150, 100, KERNEL) is Update.CAPACITY_EXCEEDED
        assert tracker.statistics().eviction_scan_cursor == turn * min(window, 4) % 4


def test_stall_emitted_count_invariant_holds_across_random_ops(make_tracker: MakeTracker) -> None:
    tracker = make_tracker(32, "balanced")
    numbers = xorshift64(0xC0FFEE)
    now_ns = 0
    for _ in range(2000):
        operation = next(numbers) % 4
        now_ns += 20
        if operation == 0:
            pid = next(numbers) % 64 + 1
            tracker.record(beat(pid, now_ns), now_ns, 100, KERNEL)
        elif operation == 1:
            now_ns += 200
            tracker.drain_stalled(now_ns, 100)
        assert tracker.statistics().stall_emitted_count == sum(row.stalled for row in tracker.rows())
    assert tracker.statistics().evictions > 0


def test_scan_truncated_counter_increments_on_dry_scan(make_tracker: MakeTracker) -> None:
    tracker = make_tracker(32, "strict")
    fill(tracker, 100)
    tracker.record(beat(99_999, 1), 100 * 100, 100, KERNEL)
    assert tracker.take("eviction_scan_truncated") == 1
    assert tracker.take("eviction_scan_truncated") == 0


def test_origin_conflict_first_origin_wins(make_tracker: MakeTracker) -> None:
    tracker = make_tracker(8, "strict")
    assert tracker.record(beat(7, 1), 10, 100, KERNEL) is Update.INSERTED
    assert tracker.record(beat(7, 2), 20, 100, NETWORK) is Update.ORIGIN_CONFLICT
    row = known(tracker, 7)
    assert (row.last_ns, row.nonce, row.origin) == (10, 1, KERNEL)
    assert tracker.last_ns_of(7) == 10
    assert tracker.take("origin_conflicts") == 1
    assert tracker.take("origin_conflicts") == 0
    assert tracker.record(beat(7, 3), 30, 100, KERNEL) is Update.REFRESHED


def test_record_probe_exhaustion_surfaces_capacity_exceeded(make_tracker: MakeTracker) -> None:
    tracker = make_tracker(32, "balanced")
    for pid in range(1, 4097):
        tracker.record(beat(pid, 1), pid, 100, KERNEL)
    assert tracker.take("probe_exhausted") == 0
    assert len(tracker) == 32


def test_invariant_violations_stays_zero_under_random_ops(make_tracker: MakeTracker) -> None:
    tracker = make_tracker(32, "balanced")
    numbers = xorshift64(0xDEADBEEF)
    now_ns = 0
    for _ in range(4000):
        operation = next(numbers) % 4
        now_ns += 20
        if operation == 0:
            pid = next(numbers) % 96 + 1
            tracker.record(beat(pid, now_ns), now_ns, 100, KERNEL)
        elif operation == 1:
            now_ns += 200
            tracker.drain_stalled(now_ns, 100)
        elif operation == 2:
            pid = next(numbers) % 96 + 1
            row = tracker.get(pid)
            assert tracker.last_ns_of(pid) == (None if row is None else row.last_ns)
    assert tracker.take("invariant_violations") == 0
    assert tracker.take("probe_exhausted") == 0


def test_drain_stalled_slots_emits_pinned_origin(make_tracker: MakeTracker) -> None:
    tracker = make_tracker(4, "strict")
    assert tracker.record(beat(11, 1), 0, 100, KERNEL) is Update.INSERTED
    assert tracker.record(beat(22, 1), 0, 100, NETWORK) is Update.INSERTED
    assert tracker.record(beat(33, 1), 0, 100, Origin.HYPERVISOR_ATTESTED) is Update.INSERTED
    assert sorted((stall.pid, stall.origin) for stall in tracker.drain_stalled(200, 100)) == [
        (11, KERNEL),
        (22, NETWORK),
        (33, Origin.HYPERVISOR_ATTESTED),
    ]


def test_namespace_conflict_blocks_rebind(make_tracker: MakeTracker) -> None:
    tracker = make_tracker(8, "strict")
    assert tracker.record(beat(7, 1), 0, 100, KERNEL, 4026531836) is Update.INSERTED
    assert tracker.record(beat(7, 2), 10, 100, KERNEL, 4026531840) is Update.NAMESPACE_CONFLICT
    assert known(tracker, 7).pid_ns_inode == 4026531836
    assert known(tracker, 7).nonce == 1
    assert tracker.take("namespace_conflicts") == 1
    assert tracker.take("namespace_conflicts") == 0


def test_namespace_match_passes_through(make_tracker: MakeTracker) -> None:
    tracker = make_tracker(8, "strict")
    tracker.record(beat(7, 1), 0, 100, KERNEL, 123)
    assert tracker.record(beat(7, 2), 10, 100, KERNEL, 123) is Update.REFRESHED
    assert tracker.take("namespace_conflicts") == 0


def test_namespace_some_to_none_is_conflict(make_tracker: MakeTracker) -> None:
    tracker = make_tracker(8, "strict")
    tracker.record(beat(7, 1), 0, 100, KERNEL, 123)
    assert tracker.record(beat(7, 2), 10, 100, KERNEL, None) is Update.NAMESPACE_CONFLICT
    assert tracker.take("namespace_conflicts") == 1


def test_namespace_none_to_some_upgrades_in_place(make_tracker: MakeTracker) -> None:
    tracker = make_tracker(8, "strict")
    tracker.record(beat(7, 1), 0, 100, KERNEL, None)
    assert known(tracker, 7).pid_ns_inode is None
    assert tracker.record(beat(7, 2), 10, 100, KERNEL, 999) is Update.REFRESHED
    assert known(tracker, 7).pid_ns_inode == 999
    assert tracker.take("namespace_conflicts") == 0
    # The way leads up only.
    assert tracker.record(beat(7, 3), 20, 100, KERNEL, None) is Update.NAMESPACE_CONFLICT


def test_namespace_both_none_is_match(make_tracker: MakeTracker) -> None:
    tracker = make_tracker(8, "strict")
    tracker.record(beat(7, 1), 0, 100, KERNEL, None)
    assert tracker.record(beat(7, 2), 10, 100, KERNEL, None) is Update.REFRESHED
    assert tracker.take("namespace_conflicts") == 0
