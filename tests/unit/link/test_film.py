"""A recording that is played like a film: every moment is the state that follows from all events before it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ktstr_tui.link import film as film_room
from ktstr_tui.link.film import Film
from ktstr_tui.link.recfile import RecordedEvent, header, pack_chunk
from ktstr_tui.link.replay import Replay
from ktstr_tui.model import events as ev
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import RunState
from ktstr_tui.wire.codec import encode_event
from tests.tui.story import Story
from tests.unit.link.test_replay import Time

EVENTS = Story().until(33)
BEGIN = EVENTS[0].mono_ns


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "r.ktstr"
    packed = [RecordedEvent(it.seq, it.mono_ns, encode_event(it)) for it in EVENTS]
    chunks = [packed[at : at + 7] for at in range(0, len(packed), 7)]
    path.write_bytes(header("x") + b"".join(pack_chunk(chunk) for chunk in chunks))
    return path


def straight(keeps: Callable[[ev.Event], bool]) -> RunState:
    state = RunState()
    for event in EVENTS:
        if not keeps(event):
            break
        fold(state, event)
    return state


def indexed(path: Path) -> Film:
    film = Film(path)
    while film.read_on():
        pass
    return film


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(at=st.integers(0, 34_000), seq=st.integers(0, len(EVENTS) + 3), apart=st.sampled_from([5, 40, 1000]))
def test_the_state_of_any_moment_is_that_of_all_events_before_it(
    recording: Path, at: int, seq: int, apart: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(film_room, "EVENTS_APART", apart)
        film = indexed(recording)
    time_ns = BEGIN + at * 1_000_000
    found = film.at_time(time_ns)
    assert found.state == straight(lambda event: event.mono_ns <= time_ns)
    later = [event.seq for event in EVENTS if event.seq > found.state.seq]
    assert [event.seq for event in found.rest] == later[: len(found.rest)]
    assert film.at_event(seq).state == straight(lambda event: event.seq <= seq)
    assert film.at_event(seq).state == film.at_event(seq).state, "what is kept is not changed by who looks"
    film.close()


def test_moments_are_those_of_the_state(recording: Path) -> None:
    film = indexed(recording)
    assert film.moments == straight(lambda _: True).moments
    assert {it.kind for it in film.moments} >= {"step", "capture", "scheduler"}
    film.close()


async def until(done: Callable[[], bool]) -> None:
    while not done():  # noqa: ASYNC110 - the replay rings no bell
        await asyncio.sleep(0.001)


def test_a_replay_is_paused_sought_and_stepped_also_after_its_end(recording: Path) -> None:
    async def main() -> None:
        clock = Time()
        replay = Replay(recording, 16.0, stays=True, clock=clock.clock, sleep=clock.sleep)
        playing = asyncio.create_task(replay.run(lambda batch: None))
        await until(lambda: replay.connection == "ended")
        assert replay.state == straight(lambda _: True)
        replay.pause()
        replay.seek_ms(12_000.0)
        await until(lambda: replay.connection == "replay")
        assert replay.state == straight(lambda event: event.mono_ns <= BEGIN + 12_000_000_000)
        assert replay.position_ms == pytest.approx(12_000.0)
        here = replay.state.seq
        for seq in (here + 1, here + 2, here + 1):
            replay.seek_event(seq)
            await until(lambda seq=seq: replay.state.seq == seq)  # type: ignore[misc]
        assert replay.film is not None
        await until(lambda: replay.film is not None and replay.film.whole)
        ahead = [it.seq for it in replay.film.moments if it.seq > here + 1]
        assert replay.seek_moment(1)
        await until(lambda: replay.state.seq == ahead[0])
        assert replay.seek_moment(-1)
        await until(lambda: replay.state.seq < ahead[0])
        replay.seek_event(0)
        await until(lambda: replay.state.seq == 0)
        assert not replay.seek_moment(-1)
        replay.resume()
        await until(lambda: replay.connection == "ended")
        assert replay.state == straight(lambda _: True)
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)

    asyncio.run(asyncio.wait_for(main(), 120))


def test_steps_of_time_add_up_before_the_first_of_them_is_shown(recording: Path) -> None:
    async def main() -> None:
        replay = Replay(recording, stays=True)
        replay.pause()
        replay.seek_ms(20_000.0)
        for _ in range(2):
            replay.seek_ms(replay.position_ms - 5_000.0)
        playing = asyncio.create_task(replay.run(lambda batch: None))
        await until(lambda: replay.state.seq > 0)
        assert replay.state == straight(lambda event: event.mono_ns <= BEGIN + 10_000_000_000)
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)

    asyncio.run(asyncio.wait_for(main(), 120))
