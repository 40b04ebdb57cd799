"""Events that travel together come out as they went in, and nothing else comes out of anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.wire.codec import VERSION, CodecError
from ktstr_tui.wire.event_batch import join_events, split_events
from ktstr_tui.wire.layout import BATCH_FORMAT

PARTS = st.lists(st.binary(max_size=40), max_size=20)


@given(PARTS)
def test_events_come_out_as_they_went_in(events: list[bytes]) -> None:
    assert split_events(join_events(events)) == events


@given(PARTS.filter(bool), st.data())
def test_a_message_that_is_cut_gives_nothing(events: list[bytes], data: st.DataObject) -> None:
    whole = join_events(events)
    ends = {len(join_events(events[:count])) for count in range(len(events) + 1)}
    cut = data.draw(st.integers(0, len(whole)).filter(lambda at: at not in ends))
    with pytest.raises(CodecError):
        split_events(whole[:cut])


@given(st.binary(max_size=60))
def test_any_bytes_are_events_or_refused(data: bytes) -> None:
    try:
        events = split_events(data)
    except CodecError:
        return
    assert join_events(events) == data


def test_an_event_of_the_version_before_is_named() -> None:
    assert BATCH_FORMAT != VERSION
    with pytest.raises(CodecError, match="has the format 2; this program reads format 3"):
        split_events(bytes([VERSION]) + b"\x80")
