"""Whether the tracker takes a beat: nonces, last words, generations, namespaces, and the order of the checks."""

from __future__ import annotations

import pytest

from ktstr_tui.heartbeat.tracker import (
    Stall,
    Update,
)
from ktstr_tui.wire.vlp import NONCE_TERMINAL, Beat, Status
from tests.unit.heartbeat.either import (
    KERNEL,
    NETWORK,
    MakeTracker,
    beat,
    last_words,
    row_of,
)

LAST = NONCE_TERMINAL - 1
"""The last regular nonce."""
WRAP = 1 << 20


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
    assert tracker.take("nonce_wraps") == wraps
    assert tracker.take("nonce_wraps") == 0


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
    assert tracker.take("nonce_wraps") == 0


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
    assert tracker.take("pid_recycles") == 1
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
