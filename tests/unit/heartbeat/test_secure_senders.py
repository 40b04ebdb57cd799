"""What is refused as played again, and what is not."""

from __future__ import annotations

import pytest

from ktstr_tui.heartbeat.secure import Admission, SecureSenders
from ktstr_tui.wire.vlp import NONCE_TERMINAL, Beat, Status
from ktstr_tui.wire.vlp_secure import Keyring, OpenedFrame, Sealer
from tests.unit.heartbeat.either import keys_at

ACCEPTED, REPLAY, FULL = Admission.ACCEPTED, Admission.REPLAY, Admission.FULL
SECOND_NS = 10**9


def opened(prefix: int, counter: int, nonce: int, pid: int = 7) -> OpenedFrame:
    """An opened regular beat."""
    return OpenedFrame(Beat(Status.OK, pid, nonce, nonce, 0), prefix.to_bytes(8, "little"), counter)


def last_words(prefix: int, counter: int, timestamp: int) -> OpenedFrame:
    """An opened terminal beat."""
    beat = Beat(Status.CRITICAL, 7, timestamp, NONCE_TERMINAL, 0)
    return OpenedFrame(beat, prefix.to_bytes(8, "little"), counter)


def admit_all(senders: SecureSenders, beats: list[OpenedFrame], now_ns: int = 0) -> list[Admission]:
    """What becomes of each."""
    return [senders.admit(beat, now_ns) for beat in beats]


def test_within_a_prefix_the_counter_must_grow() -> None:
    senders = SecureSenders()
    beats = [opened(1, 0, 1), opened(1, 0, 1), opened(1, 5, 6), opened(1, 4, 5), opened(1, 6, 7)]
    assert admit_all(senders, beats) == [ACCEPTED, REPLAY, ACCEPTED, REPLAY, ACCEPTED]
    statistics = senders.statistics()
    assert (statistics.accepted, statistics.replays_refused, statistics.senders) == (3, 2, 1)


def test_the_prefix_before_is_remembered() -> None:
    senders = SecureSenders()
    beats = [
        opened(1, 0, 1),
        opened(1, 1, 2),
        opened(2, 0, 5),
        opened(1, 1, 2),  # seen
        opened(1, 2, 3),  # overtaken on the way
        opened(1, 2, 3),  # seen
        opened(2, 1, 6),
    ]
    assert admit_all(senders, beats) == [ACCEPTED, ACCEPTED, ACCEPTED, REPLAY, ACCEPTED, REPLAY, ACCEPTED]


def test_under_a_new_prefix_the_nonce_must_exceed_all_before() -> None:
    senders = SecureSenders()
    beats = [opened(1, 0, 10), opened(2, 0, 10), opened(2, 0, 9), opened(2, 0, 11), opened(3, 0, 12)]
    assert admit_all(senders, beats) == [ACCEPTED, REPLAY, REPLAY, ACCEPTED, ACCEPTED]
    # The first prefix is forgotten by now; its beats are too old nevertheless.
    assert admit_all(senders, [opened(1, 0, 10), opened(1, 1, 12)]) == [REPLAY, REPLAY]


def test_an_overtaken_beat_does_not_lower_the_bar() -> None:
    senders = SecureSenders()
    beats = [opened(1, 0, 1), opened(2, 0, 50), opened(1, 1, 2), opened(3, 0, 40), opened(3, 0, 51)]
    assert admit_all(senders, beats) == [ACCEPTED, ACCEPTED, ACCEPTED, REPLAY, ACCEPTED]


def test_last_words_under_a_new_prefix_are_judged_by_their_timestamp() -> None:
    senders = SecureSenders()
    beats = [
        opened(1, 0, 10),
        last_words(2, 0, 100),
        last_words(3, 0, 100),
        last_words(3, 0, 99),
        last_words(3, 0, 101),
        opened(3, 1, 11),
    ]
    assert admit_all(senders, beats) == [ACCEPTED, ACCEPTED, REPLAY, REPLAY, ACCEPTED, ACCEPTED]


def test_a_silent_pid_may_come_back_as_another_process() -> None:
    senders = SecureSenders(restart_gap_ns=5 * SECOND_NS)
    senders.admit(opened(1, 0, 1000), 0)
    assert senders.admit(opened(2, 0, 1), 5 * SECOND_NS - 1) is REPLAY
    assert senders.admit(opened(2, 0, 1), 5 * SECOND_NS) is ACCEPTED
    assert senders.admit(opened(2, 1, 2), 5 * SECOND_NS) is ACCEPTED
    assert senders.statistics().restarts == 1
    # What its predecessor sent last stays refused, however late it is played.
    assert senders.admit(opened(1, 0, 1000), 60 * SECOND_NS) is REPLAY
    assert senders.admit(opened(2, 1, 2), 60 * SECOND_NS) is REPLAY


def test_last_words_never_restart_a_sender() -> None:
    senders = SecureSenders(restart_gap_ns=5 * SECOND_NS)
    assert senders.admit(last_words(1, 0, 100), 0) is ACCEPTED
    assert senders.admit(last_words(2, 0, 50), 100 * SECOND_NS) is REPLAY
    assert senders.statistics().restarts == 0


def test_after_a_restart_the_clock_of_last_words_begins_anew() -> None:
    senders = SecureSenders()
    senders.admit(opened(1, 0, 1000), 0)
    senders.admit(last_words(1, 1, 900), 0)
    assert senders.admit(opened(2, 0, 1), 10 * SECOND_NS) is ACCEPTED
    assert senders.admit(last_words(3, 0, 5), 10 * SECOND_NS) is ACCEPTED
    assert senders.admit(last_words(4, 0, 5), 10 * SECOND_NS) is REPLAY


def test_what_is_refused_changes_nothing() -> None:
    senders = SecureSenders()
    senders.admit(opened(1, 5, 10), 0)
    for _ in range(3):
        assert senders.admit(opened(2, 9, 10), 4 * SECOND_NS) is REPLAY
        assert senders.admit(opened(1, 5, 11), 4 * SECOND_NS) is REPLAY
    # The silence goes on from the last beat that was accepted.
    assert senders.admit(opened(2, 0, 1), 5 * SECOND_NS) is ACCEPTED


def test_senders_do_not_disturb_each_other() -> None:
    senders = SecureSenders()
    assert {senders.admit(opened(1, 0, 1, pid), 0) for pid in range(2, 100)} == {ACCEPTED}
    assert {senders.admit(opened(1, 0, 1, pid), 0) for pid in range(2, 100)} == {REPLAY}
    assert len(senders) == 98


def test_a_full_table_refuses_the_unknown_and_serves_the_known() -> None:
    senders = SecureSenders(capacity=1024)
    for pid in range(2, 1026):
        assert senders.admit(opened(1, 0, 1, pid), 0) is ACCEPTED
    assert senders.admit(opened(1, 0, 1, 5000), 0) is FULL
    assert senders.admit(opened(1, 1, 2, 2), 0) is ACCEPTED
    assert senders.statistics().state_full == 1
    assert len(senders) == 1024


def test_stale_senders_make_room() -> None:
    senders = SecureSenders(capacity=4)
    for pid in (2, 3, 4, 5):
        senders.admit(opened(1, 0, 1, pid), 0)
    senders.admit(opened(1, 1, 2, 3), 300 * SECOND_NS)
    assert senders.admit(opened(1, 0, 1, 9), 599 * SECOND_NS) is FULL
    # Due for the next sweep, which finds those silent for 600 s.
    assert senders.admit(opened(1, 0, 1, 9), 659 * SECOND_NS) is ACCEPTED
    assert senders.statistics().swept == 3
    assert len(senders) == 2
    assert senders.admit(opened(1, 1, 2, 3), 659 * SECOND_NS) is REPLAY
    assert senders.admit(opened(1, 2, 3, 3), 659 * SECOND_NS) is ACCEPTED


def test_sweeps_are_not_made_more_often_than_due() -> None:
    senders = SecureSenders(capacity=1, ttl_ns=10, sweep_ns=60)
    senders.admit(opened(1, 0, 1, 2), 0)
    assert senders.admit(opened(1, 0, 1, 3), 59) is FULL
    assert senders.admit(opened(1, 0, 1, 3), 60) is ACCEPTED
    assert senders.admit(opened(1, 0, 1, 4), 119) is FULL
    assert senders.admit(opened(1, 0, 1, 4), 120) is ACCEPTED


def test_pids_that_crowd_in_the_index_fail_closed() -> None:
    senders = SecureSenders(capacity=1024)
    pids = keys_at(9, 2048, 65)
    assert {senders.admit(opened(1, 0, 1, pid), 0) for pid in pids[:64]} == {ACCEPTED}
    assert senders.admit(opened(1, 0, 1, pids[64]), 0) is FULL
    assert senders.admit(opened(1, 1, 2, pids[0]), 0) is ACCEPTED


@pytest.mark.parametrize("rotate_after", [1, 3, 1 << 32])
def test_a_real_session_passes_and_its_recording_does_not(rotate_after: int) -> None:
    key = bytes(range(32))
    sealer = Sealer(key, counters_per_prefix=rotate_after)
    keyring, senders = Keyring(shared=(key,)), SecureSenders()
    recording = [sealer.seal(Beat(Status.OK, 7, nonce, nonce, 0)) for nonce in range(1, 21)]
    live = [senders.admit(keyring.open(data), at * SECOND_NS) for at, data in enumerate(recording)]
    assert live == [ACCEPTED] * 20
    again = {senders.admit(keyring.open(data), 21 * SECOND_NS) for data in recording}
    assert again == {REPLAY}
