"""The Clone pattern: whatever is lost, repeated or cut on the way, the viewer ends with the backend's state."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.link.follower import Follower, Offer
from ktstr_tui.link.stream import Stream
from ktstr_tui.model import events as ev
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import RunState
from ktstr_tui.wire.codec import decode_event, decode_state, encode_state
from tests.unit.link.strategies import any_event, streams


def log(seq: int) -> ev.Logged:
    return ev.Logged(severity="info", source="t", text=str(seq), seq=seq, mono_ns=seq)


def state_after(events: list[ev.Event]) -> RunState:
    state = RunState()
    for event in events:
        fold(state, event)
    return state


@given(streams(), st.data())
def test_snapshot_and_deltas_are_all_events(events: list[ev.Event], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(events)))
    overlap = data.draw(st.integers(0, cut))
    follower = Follower()
    follower.adopt("r", decode_state(encode_state(state_after(events[:cut]))))
    for event in events[overlap:]:
        follower.offer("r", event)
    assert follower.state == state_after(events)
    assert follower.statistics().duplicates == cut - overlap
    assert follower.statistics().gaps == 0


@given(st.lists(any_event(), min_size=1, max_size=40), st.integers(), st.integers(1, 50))
def test_a_lossy_way_ends_in_the_same_state(events: list[ev.Event], seed: int, kept: int) -> None:
    """A viewer that joins at any moment, loses, repeats and reorders at random, healed as the viewer does it."""
    chance = random.Random(seed)
    stream = Stream(clock=lambda: 1, run_id="r", recent_events=kept)
    follower = Follower()
    lost = 0

    def heal(last: int) -> None:
        found = stream.recent(follower.state.seq + 1, last, max_events=3, max_bytes=10**6)
        while found and follower.offer("r", decode_event(found[0])) is Offer.FOLDED:
            for data in found[1:]:
                follower.offer("r", decode_event(data))
            found = stream.recent(follower.state.seq + 1, last, max_events=3, max_bytes=10**6)
        if follower.state.seq < last:
            follower.adopt("r", decode_state(encode_state(stream.state)))

    joined = False
    for event in events:
        sent = stream.emit(event)
        if not joined:
            joined = chance.random() < 0.3
            if joined:
                follower.adopt("r", decode_state(encode_state(stream.state)))
            continue
        if chance.random() < 0.4:
            lost += 1
            continue
        for _ in range(chance.choice([1, 1, 2])):
            if follower.offer("r", sent) is Offer.GAP:
                heal(sent.seq - 1)
                follower.offer("r", sent)
    if not joined:
        follower.adopt("r", decode_state(encode_state(stream.state)))
    heal(stream.state.seq)
    assert follower.state == stream.state
    assert follower.statistics().missing <= lost


def test_a_gap_is_counted_once_and_holds_everything_up() -> None:
    follower = Follower()
    follower.adopt("r", RunState())
    assert follower.offer("r", log(1)) is Offer.FOLDED
    assert follower.offer("r", log(4)) is Offer.GAP
    assert follower.offer("r", log(4)) is Offer.GAP
    assert follower.state.seq == 1
    statistics = follower.statistics()
    assert (statistics.gaps, statistics.missing) == (1, 2)
    assert follower.offer("r", log(6)) is Offer.GAP
    assert follower.statistics().missing == 4
    assert follower.offer("r", log(1)) is Offer.DUPLICATE


def test_another_run_is_noticed_and_the_former_one_forgotten() -> None:
    follower = Follower()
    follower.adopt("one", RunState())
    follower.offer("one", log(1))
    follower.offer("one", log(9))
    assert follower.statistics().missing == 7
    assert follower.offer("two", log(2)) is Offer.FOREIGN
    assert follower.state.seq == 1
    follower.adopt("two", RunState())
    assert follower.offer("one", log(1)) is Offer.FORMER
    assert follower.offer("two", log(1)) is Offer.FOLDED
    assert follower.run_id == "two"
    assert not follower.is_foreign("one")
    assert follower.is_foreign("three")
    assert follower.statistics().foreign == 2
    follower.offer("two", log(3))
    assert follower.statistics().missing == 8
