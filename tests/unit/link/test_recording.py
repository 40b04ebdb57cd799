"""The recording file: what was recorded comes back, after accidents too; the recorder never hurts the run."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ktstr_tui.link.recfile import (
    Damage,
    RecordedEvent,
    RecordingReader,
    header,
    pack_chunk,
    read_recording,
    split_chunks,
)
from ktstr_tui.link.recording import WRITES_TO_CLEAR, Recorder
from ktstr_tui.link.stream import Stream
from ktstr_tui.model import events as ev
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import RunState
from ktstr_tui.wire.codec import encode_event
from tests.unit.link.backend import logs
from tests.unit.link.strategies import streams

LOGS = logs(*[f"line {number}" for number in range(40)])


def recorded(events: list[ev.Event]) -> list[RecordedEvent]:
    return [RecordedEvent(event.seq, event.mono_ns, encode_event(event)) for event in events]


def written(path: Path, chunks: list[list[ev.Event]]) -> Path:
    path.write_bytes(header("run-1") + b"".join(pack_chunk(recorded(chunk)) for chunk in chunks if chunk))
    return path


def numbered(count: int) -> list[ev.Event]:
    stream = Stream(clock=lambda: 5)
    return [stream.emit(event) for event in logs(*[str(number) for number in range(count)])]


def read(path: Path) -> tuple[list[int], Damage]:
    damages: list[Damage] = []
    seqs = [event.seq for event in read_recording(path, damages.append)]
    return seqs, damages[0] if damages else Damage()


@pytest.fixture
def jumping_clock(monkeypatch: pytest.MonkeyPatch) -> trio.testing.MockClock:
    """A clock that jumps, with plain calls in place of threads: to such a clock a thread takes for ever."""

    async def run_sync(function: Callable[..., object], *args: object) -> object:
        await trio.lowlevel.checkpoint()
        return function(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
    return trio.testing.MockClock(autojump_threshold=0)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110
        await trio.sleep(0.1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(streams(), st.integers(1, 7))
def test_what_was_recorded_comes_back(tmp_path: Path, events: list[ev.Event], size: int) -> None:
    chunks = [events[start : start + size] for start in range(0, len(events), size)]
    path = written(tmp_path / "r", chunks)
    assert list(read_recording(path)) == events


def test_a_recording_of_a_run_is_the_run(tmp_path: Path, jumping_clock: trio.testing.MockClock) -> None:
    async def record() -> Stream:
        stream = Stream()
        recorder = Recorder(stream, tmp_path / "r")
        async with trio.open_nursery() as nursery:
            await nursery.start(recorder.run)
            for event in LOGS[:20]:
                stream.emit(event)
            await until(lambda: recorder.statistics().events == 20)
            for event in LOGS[20:]:
                stream.emit(event)
            nursery.cancel_scope.cancel()
        statistics = recorder.statistics()
        assert (statistics.events, statistics.chunks, statistics.dropped) == (40, 2, {})
        assert statistics.bytes == (tmp_path / "r").stat().st_size
        return stream

    stream = trio.run(record, clock=jumping_clock)
    state = RunState()
    for event in read_recording(tmp_path / "r"):
        fold(state, event)
    assert state == stream.state
    with RecordingReader(tmp_path / "r") as reader:
        assert reader.run_id == stream.run_id


async def test_a_killed_backend_loses_less_than_a_second(
    tmp_path: Path, jumping_clock: trio.testing.MockClock
) -> None:
    stream = Stream()
    recorder = Recorder(stream, tmp_path / "r")
    async with trio.open_nursery() as nursery:
        await nursery.start(recorder.run)
        for event in LOGS:
            stream.emit(event)
            await trio.sleep(0.1)
            # What a kill at this moment would leave in the file.
            assert event is LOGS[0] or len(read(tmp_path / "r")[0]) >= stream.state.seq - 10
        nursery.cancel_scope.cancel()


@given(cut=st.integers(0, 2**20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_torn_tail_costs_only_the_last_chunk(tmp_path: Path, cut: int) -> None:
    events = numbered(12)
    whole = written(tmp_path / "whole", [events[:4], events[4:8], events[8:]]).read_bytes()
    start = len(header("run-1"))
    position = start + cut % (len(whole) - start + 1)
    (tmp_path / "torn").write_bytes(whole[:position])
    seqs, damage = read(tmp_path / "torn")
    assert seqs in ([], [1, 2, 3, 4], list(range(1, 9)), list(range(1, 13)))
    sizes = [0, *[len(pack_chunk(recorded(part))) for part in (events[:4], events[4:8], events[8:])]]
    ends = [start + sum(sizes[: count + 1]) for count in range(4)]
    assert len(seqs) == 4 * (sum(end <= position for end in ends) - 1)
    assert damage.truncated == (position not in ends)
    assert damage.bad_chunks == 0


@given(position=st.integers(0, 2**20), bit=st.integers(0, 7))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_costs_one_chunk_and_is_told(tmp_path: Path, position: int, bit: int) -> None:
    events = numbered(12)
    data = bytearray(written(tmp_path / "whole", [events[:4], events[4:8], events[8:]]).read_bytes())
    start = len(header("run-1"))
    place = start + position % (len(data) - start)
    data[place] ^= 1 << bit
    (tmp_path / "flipped").write_bytes(data)
    seqs, damage = read(tmp_path / "flipped")
    assert len(seqs) == 8
    assert set(seqs) < set(range(1, 13))
    assert damage.in_words
    assert damage.bad_chunks + damage.truncated == 1


@given(junk=st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_junk_after_the_header_is_no_reason_to_fail(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "r").write_bytes(header("run-1") + junk)
    seqs, damage = read(tmp_path / "r")
    assert seqs == []
    assert damage.unfinished
    assert bool(junk) == (damage.truncated or damage.bad_chunks > 0)


def test_damage_in_words() -> None:
    damage = Damage(truncated=True, bad_chunks=2, undecodable=1, lost_bytes=9)
    assert damage.in_words == (
        "the end is cut off (9 bytes of an unfinished chunk), 2 damaged chunks, 1 event of another version"
    )
    assert Damage().in_words == ""


def ended(count: int) -> list[ev.Event]:
    stream = Stream(clock=lambda: 5)
    events: list[ev.Event] = [*logs(*[str(number) for number in range(count - 1)])]
    return [stream.emit(event) for event in [*events, ev.RunEnded(exit_code=0, reason="over")]]


@pytest.mark.parametrize(
    ("without", "words"),
    [
        ((), ""),
        ((1,), "1 event missing"),
        ((3, 4, 7), "3 events missing"),
        ((10,), "the end of the run is not in it"),
        ((2, 9, 10), "1 event missing, the end of the run is not in it"),
    ],
)
def test_holes_and_a_missing_end_are_told_at_once_and_at_the_end(
    tmp_path: Path, without: tuple[int, ...], words: str
) -> None:
    kept = [event for event in ended(10) if event.seq not in without]
    chunks: list[list[ev.Event]] = []
    for event in kept:
        if not chunks or event.seq != chunks[-1][-1].seq + 1:
            chunks.append([])
        chunks[-1].append(event)
    path = written(tmp_path / "r", chunks)
    assert read(path)[1].in_words == words
    with RecordingReader(path) as reader:
        assert reader.survey().in_words == words
        assert reader.read_chunk() == chunks[0], "the survey leaves the reader where it was"


def test_a_torn_tail_is_seen_by_the_survey(tmp_path: Path) -> None:
    path = written(tmp_path / "r", [ended(4)[:3], ended(4)[3:]])
    path.write_bytes(path.read_bytes()[:-1])
    with RecordingReader(path) as reader:
        survey = reader.survey()
    assert survey == read(path)[1]
    assert survey.truncated
    assert survey.unfinished


@pytest.mark.parametrize("position", range(8, 16 + len("run-1")))
@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_of_the_header_is_never_another_run(tmp_path: Path, position: int, bit: int) -> None:
    path = written(tmp_path / "r", [ended(4)])
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)
    if position < 10:
        with pytest.raises(UsageError, match="version"):
            RecordingReader(path)
        return
    with RecordingReader(path) as reader:
        assert reader.survey().bad_header
    seqs, damage = read(path)
    assert seqs == [1, 2, 3, 4], "the events are all there"
    assert damage == Damage(bad_header=True)


def test_a_recording_from_before_the_checksum_of_headers_is_read(tmp_path: Path) -> None:
    path = written(tmp_path / "r", [ended(4)])
    old = b"KTSTRREC\x02\x00\x05\x00run-1"
    path.write_bytes(old + path.read_bytes()[len(header("run-1")) :])
    assert read(path) == ([1, 2, 3, 4], Damage())
    with RecordingReader(path) as reader:
        assert reader.run_id == "run-1"


@pytest.mark.parametrize("content", [b"", b"KTSTR", b"\x7fELF" + b"x" * 100, b"KTSTRREC\xff\xff\x00\x00"])
def test_a_wrong_file_is_the_users_error_at_once(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "r").write_bytes(content)
    with pytest.raises(UsageError):
        read_recording(tmp_path / "r")


def test_no_file_and_no_file_at_all(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(UsageError):
            read_recording(path)


def test_span_without_reading(tmp_path: Path) -> None:
    events: list[ev.Event] = [ev.BackendBeat(seq=seq, mono_ns=seq * 10) for seq in range(1, 9)]
    reader = RecordingReader(written(tmp_path / "r", [events[:3], events[3:]]))
    assert reader.span_ns() == (10, 80)
    assert len(reader.read_chunk() or ()) == 3
    reader.close()
    with RecordingReader(written(tmp_path / "empty", [])) as reader:
        assert reader.span_ns() is None


def test_chunks_stay_small_and_lose_nothing() -> None:
    events = [RecordedEvent(seq, 0, b"x" * 300_000) for seq in range(1, 12)]
    chunks = list(split_chunks(events))
    assert [event for chunk in chunks for event in chunk] == events
    assert max(len(chunk) for chunk in chunks) == 3
    huge = [RecordedEvent(1, 0, b"x" * (5 << 20)), RecordedEvent(2, 0, b"y")]
    assert [len(chunk) for chunk in split_chunks(huge)] == [1, 1]


def test_no_recording_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("precious")
    with pytest.raises(UsageError, match="exists already"):
        Recorder(Stream(), tmp_path / "r")
    assert (tmp_path / "r").read_text() == "precious"
    with pytest.raises(UsageError, match="cannot make"):
        Recorder(Stream(), tmp_path / "no" / "r")


async def test_a_full_disk_costs_events_and_nothing_else(
    tmp_path: Path, jumping_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream()
    recorder = Recorder(stream, tmp_path / "r")
    full = False
    real_write = os.write

    def write(fd: int, data: bytes) -> int:
        if not full:
            return real_write(fd, data)
        if len(data) > 20:
            return real_write(fd, data[:20])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", write)
    async with trio.open_nursery() as nursery:
        await nursery.start(recorder.run)
        stream.emit(LOGS[0])
        await until(lambda: recorder.statistics().events == 1)
        full = True
        stream.emit(LOGS[1])
        await until(lambda: recorder.statistics().errors > 0)
        assert "No space left" in stream.state.alerts["recording"].text
        full = False
        for _ in range(WRITES_TO_CLEAR):
            assert stream.state.alerts, "the disk may be full again at once"
            stream.emit(LOGS[2])
            await until(lambda: recorder.statistics().queued == 0)
        await until(lambda: not stream.state.alerts)
        nursery.cancel_scope.cancel()
    seqs, damage = read(tmp_path / "r")
    assert damage.in_words == "1 event missing, the end of the run is not in it"
    assert seqs[0] == 1
    assert seqs[-1] == stream.state.seq
    statistics = recorder.statistics()
    assert statistics.dropped == {"No space left on device": stream.state.seq - len(seqs)}
    assert statistics.last_error == "No space left on device"
    assert 2 not in seqs


async def test_a_recording_that_has_its_size_takes_the_end_of_the_run_and_nothing_before(
    tmp_path: Path, jumping_clock: trio.testing.MockClock
) -> None:
    stream = Stream()
    recorder = Recorder(stream, tmp_path / "r", max_file_bytes=1)
    async with trio.open_nursery() as nursery:
        await nursery.start(recorder.run)
        stream.emit(LOGS[0])
        await until(lambda: recorder.statistics().errors > 0)
        assert "full at 1 bytes" in stream.state.alerts["recording"].text
        stream.emit(LOGS[1])
        last = stream.state.seq
        nursery.cancel_scope.cancel()
    seqs, damage = read(tmp_path / "r")
    assert damage.in_words == "1 event missing, the end of the run is not in it"
    assert seqs[-1] == last
    assert 1 not in seqs
    assert sum(recorder.statistics().dropped.values()) == last - len(seqs)


async def test_a_slow_disk_costs_counted_events_and_no_memory(
    tmp_path: Path, jumping_clock: trio.testing.MockClock
) -> None:
    stream = Stream()
    recorder = Recorder(stream, tmp_path / "r", max_queue_bytes=500)
    for event in LOGS:
        stream.emit(event)
    statistics = recorder.statistics()
    assert statistics.queued_bytes <= 500
    assert statistics.queued + statistics.dropped["queue full"] == 40
    async with trio.open_nursery() as nursery:
        await nursery.start(recorder.run)
        nursery.cancel_scope.cancel()
    assert recorder.statistics().queued == 0
    assert len(read(tmp_path / "r")[0]) == statistics.queued
