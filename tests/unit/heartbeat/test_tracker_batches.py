"""Batches of datagrams: decoded and entered, and only what is notable comes back."""

from __future__ import annotations

import pytest

from ktstr_tui.heartbeat.tracker import (
    AUTH_FAILURE,
    Datagram,
    DatagramArray,
    Origin,
    Outcome,
    Tracker,
    Update,
)
from ktstr_tui.model.errors import InternalError
from ktstr_tui.wire.vlp import Beat, Status, encode
from tests.oracles.tracker import PyTracker
from tests.unit.heartbeat.either import (
    KERNEL,
    NETWORK,
    MakeTracker,
    beat,
    datagram,
)


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
    assert tracker.take("invariant_violations") == 1
    assert tracker.record(beat(8, 1), 0, 100, KERNEL) is Update.INSERTED
