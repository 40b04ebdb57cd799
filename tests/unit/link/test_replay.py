"""A replay is the run again: the same state, the same distances in time, under a clock that the test moves."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ktstr_tui.link.recfile import RecordedEvent, header, pack_chunk
from ktstr_tui.link.replay import Replay
from ktstr_tui.link.source import Source
from ktstr_tui.link.stream import Stream
from ktstr_tui.model import events as ev
from ktstr_tui.model.commands import Capture
from ktstr_tui.model.errors import UsageError
from ktstr_tui.wire.codec import encode_event
from tests.unit.link.backend import logs

SECOND = 10**9


class Time:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now_ns = 77 * SECOND
        self.slept_s = 0.0

    def clock(self) -> int:
        return self.now_ns

    async def sleep(self, seconds: float) -> None:
        self.slept_s += seconds
        self.now_ns += max(1, round(seconds * SECOND))
        await asyncio.sleep(0)


def record(path: Path, count: int = 10, step_ns: int = SECOND, without: tuple[int, ...] = ()) -> Stream:
    times = iter(range(5 * SECOND, 5 * SECOND + count * step_ns, step_ns))
    stream = Stream(clock=lambda: next(times))
    sent = [stream.emit(event) for event in logs(*[str(number) for number in range(count)])]
    kept = [
        RecordedEvent(event.seq, event.mono_ns, encode_event(event))
        for event in sent
        if event.seq not in without
    ]
    chunks = [kept[start : start + 3] for start in range(0, len(kept), 3)]
    path.write_bytes(header(stream.run_id) + b"".join(pack_chunk(chunk) for chunk in chunks))
    return stream


def replay(path: Path, speed: float = 1.0) -> tuple[Replay, Time]:
    time = Time()
    return Replay(path, speed, clock=time.clock, sleep=time.sleep), time


def test_a_replay_ends_in_the_state_of_the_run(tmp_path: Path) -> None:
    stream = record(tmp_path / "r")
    played, _ = replay(tmp_path / "r")
    source: Source = played
    assert (source.connection, source.controllable, source.lag_ms) == ("replay", False, None)
    seen: list[ev.Event] = []
    asyncio.run(source.run(seen.extend))
    assert source.connection == "ended"
    assert source.state == stream.state
    assert [event.seq for event in seen] == list(range(1, 11))
    statistics = played.statistics()
    assert (statistics.folded, statistics.gaps, statistics.duration_ms) == (10, 0, 9000.0)
    assert statistics.position_ms >= 9000.0


@pytest.mark.parametrize("speed", [0.25, 1.0, 4.0, 16.0])
def test_events_keep_their_distances(tmp_path: Path, speed: float) -> None:
    record(tmp_path / "r")
    played, time = replay(tmp_path / "r", speed)
    started_ns = time.now_ns
    at_s: list[float] = []
    asyncio.run(played.run(lambda events: at_s.extend((time.now_ns - started_ns) / SECOND for _ in events)))
    expected = [number / speed for number in range(10)]
    assert at_s == pytest.approx(expected, abs=0.001)


def test_pause_and_speed_while_playing(tmp_path: Path) -> None:
    record(tmp_path / "r")
    played, time = replay(tmp_path / "r")
    started_ns, at_s = time.now_ns, {}

    async def scenario() -> None:
        def on_events(events: list[ev.Event]) -> None:
            for event in events:
                at_s[event.seq] = (time.now_ns - started_ns) / SECOND
                if event.seq == 3:
                    played.pause()
                    assert played.paused
                if event.seq == 5:
                    played.set_speed(2.0)

        async def go_on_later() -> None:
            while not played.paused or time.now_ns - started_ns < 20 * SECOND:  # noqa: ASYNC110
                await asyncio.sleep(0)
            assert played.position_ms == pytest.approx(2000.0, abs=1.0)
            played.resume()

        await asyncio.gather(played.run(on_events), go_on_later())

    asyncio.run(scenario())
    assert at_s[3] == pytest.approx(2.0, abs=0.001)
    assert at_s[4] - at_s[3] >= 19.0
    assert at_s[5] - at_s[4] == pytest.approx(1.0, abs=0.001)
    assert at_s[6] - at_s[5] == pytest.approx(0.5, abs=0.001)
    assert played.speed == 2.0


def test_holes_and_damage_are_told(tmp_path: Path) -> None:
    record(tmp_path / "r", without=(4, 5, 8))
    with (tmp_path / "r").open("ab") as file:
        file.write(b"CHNK torn")
    played, _ = replay(tmp_path / "r", 16.0)
    asyncio.run(played.run(lambda events: None))
    statistics = played.statistics()
    assert (statistics.folded, statistics.gaps, statistics.missing) == (7, 2, 3)
    assert statistics.truncated
    assert played.connection_reason.startswith("the end is cut off")


def test_cancelling_a_replay_closes_it(tmp_path: Path) -> None:
    record(tmp_path / "r")
    played, _ = replay(tmp_path / "r")

    async def scenario() -> None:
        started = asyncio.Event()
        playing = asyncio.create_task(played.run(lambda events: started.set()))
        await started.wait()
        playing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await playing

    asyncio.run(scenario())
    assert played.connection == "replay"


def test_commands_are_refused(tmp_path: Path) -> None:
    record(tmp_path / "r")
    played, _ = replay(tmp_path / "r")
    error = asyncio.run(played.command(Capture(tag="x"))).error
    assert error is not None
    assert "this is a replay" in error.message


@pytest.mark.parametrize("speed", [0.0, -1.0, 0.2, 17.0, float("nan"), float("inf")])
def test_speed_has_bounds(tmp_path: Path, speed: float) -> None:
    record(tmp_path / "r")
    with pytest.raises(UsageError, match="out of range"):
        Replay(tmp_path / "r", speed)


def test_a_wrong_file_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("not a recording")
    with pytest.raises(UsageError, match="not a recording"):
        Replay(tmp_path / "r")


def test_an_empty_recording_just_ends(tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(header("x"))
    played, _ = replay(tmp_path / "r")
    asyncio.run(played.run(lambda events: None))
    assert (played.connection, played.statistics().duration_ms) == ("ended", None)
