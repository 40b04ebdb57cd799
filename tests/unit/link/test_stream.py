"""The stream: numbers without gaps, one clock, one state, a bounded memory of what was sent."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.link.stream import Stream
from ktstr_tui.model import events as ev
from ktstr_tui.model.fold import fold
from ktstr_tui.model.report import CaptureReport, MapEntry, MapReport
from ktstr_tui.model.state import RunState
from ktstr_tui.wire import codec
from ktstr_tui.wire.codec import decode_event
from tests.unit.link.strategies import any_event


def ticking() -> Stream:
    clock = itertools.count(100)
    return Stream(clock=lambda: next(clock), run_id="r")


def log(text: str = "x") -> ev.Logged:
    return ev.Logged(severity="info", source="test", text=text)


def test_events_get_numbers_and_times() -> None:
    stream = ticking()
    first = stream.emit(log())
    kept = stream.emit(msgspec.structs.replace(log(), mono_ns=7, seq=99))
    last = stream.emit(log())
    assert [(event.seq, event.mono_ns) for event in (first, kept, last)] == [(1, 100), (2, 7), (3, 101)]


def test_two_streams_are_two_runs() -> None:
    assert Stream().run_id != Stream().run_id


@given(st.lists(any_event(), max_size=10))
def test_the_state_is_the_fold_of_what_the_sinks_saw(events: list[ev.Event]) -> None:
    stream, state = ticking(), RunState()

    def sink(event: ev.Event, data: bytes) -> None:
        assert decode_event(data) == event
        fold(state, event)

    stream.add_sink(sink)
    for event in events:
        stream.emit(event)
    assert state == stream.state


def test_a_removed_sink_hears_nothing_more() -> None:
    stream = ticking()
    heard: list[int] = []

    def sink(event: ev.Event, data: bytes) -> None:
        heard.append(event.seq)

    stream.add_sink(sink)
    stream.emit(log())
    stream.remove_sink(sink)
    stream.remove_sink(sink)
    stream.emit(log())
    assert heard == [1]


def test_a_sink_must_not_emit() -> None:
    stream = ticking()

    def sink(event: ev.Event, data: bytes) -> None:
        stream.emit(log())

    stream.add_sink(sink)
    with pytest.raises(RuntimeError, match="inside emit"):
        stream.emit(log())


def numbers(found: list[bytes]) -> list[int]:
    return [decode_event(data).seq for data in found]


def test_recent_events_are_kept_within_bounds() -> None:
    stream = Stream(recent_events=5)
    for _ in range(8):
        stream.emit(log())
    assert numbers(stream.recent(1, 100, max_events=100, max_bytes=10**6)) == [4, 5, 6, 7, 8]
    assert numbers(stream.recent(5, 6, max_events=100, max_bytes=10**6)) == [5, 6]
    assert numbers(stream.recent(5, 8, max_events=2, max_bytes=10**6)) == [5, 6]
    assert numbers(stream.recent(1, 2, max_events=100, max_bytes=10**6)) == []
    assert numbers(stream.recent(9, 12, max_events=100, max_bytes=10**6)) == []
    assert numbers(stream.recent(5, 8, max_events=100, max_bytes=1)) == [5]
    statistics = stream.statistics()
    assert (statistics.emitted, statistics.recent_events, statistics.recent_first_seq) == (8, 5, 4)


def test_recent_bytes_are_bounded_but_the_newest_stays() -> None:
    stream = Stream(recent_bytes=1000)
    for _ in range(30):
        stream.emit(log("y" * 200))
    assert stream.statistics().recent_bytes <= 1000
    stream.emit(log("z" * 5000))
    assert stream.statistics().recent_events == 1
    assert Stream().statistics().recent_first_seq is None


@pytest.mark.parametrize("value", [2**70, "\ud800", "x" * codec.MAX_EVENT_BYTES])
def test_what_cannot_be_sent_leaves_a_line_and_no_gap(value: object) -> None:
    stream = ticking()
    maps = (MapReport(id=1, name="m", map_type="hash", entries=(MapEntry(key=1, value=value),)),)
    sent = stream.emit(ev.CaptureTaken(report=CaptureReport(tag="key-001", trigger="on-demand", maps=maps)))
    assert isinstance(sent, ev.Logged)
    assert (sent.seq, sent.severity) == (1, "error")
    assert sent.text.startswith("capture key-001 could not be put on the stream")
    assert stream.statistics().unencodable == 1
    assert stream.emit(log()).seq == 2
