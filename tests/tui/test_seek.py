"""A typed time: what is asked, where it leads in a replay and in a live run, and what is no time."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from textual.pilot import Pilot

from ktstr_tui.link.recfile import RecordedEvent, header, pack_chunk
from ktstr_tui.link.replay import Replay
from ktstr_tui.link.source import Source
from ktstr_tui.model import events as ev
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.film_keys import RECORDING_FILE
from ktstr_tui.tui.leaving import Leaving
from ktstr_tui.wire.codec import encode_event
from tests.tui.fakes import FakeSource, drive, press, rows, until
from tests.tui.story import Story

EVENTS = Story().until(33)
END_MS = (EVENTS[-1].mono_ns - EVENTS[0].mono_ns) / 1e6


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / RECORDING_FILE
    packed = [RecordedEvent(it.seq, it.mono_ns, encode_event(it)) for it in EVENTS]
    path.write_bytes(header("x") + pack_chunk(packed))
    return path


def typed(source: Source, *words: str, enter: bool = True) -> tuple[KtstrApp, list[float], list[str], str]:
    """Type times one after the other; where each leads in ms, what was said, and the last screen."""
    places: list[float] = []

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> str:
        if (reel := app.view.reel) is not None:
            reel.pause()
        for word in words:
            await press(app, pilot, "T")
            app.screen.query_one("#seek-text").insert_text_at_cursor(word)  # type: ignore[attr-defined]
            await press(app, pilot, *(["enter"] if enter else []))
            if (reel := app.view.reel) is not None:
                places.append(reel.position_ms)
                due = reel.position_ms * 1e6 + EVENTS[0].mono_ns
                seq = max((it.seq for it in EVENTS if it.mono_ns <= due), default=0)
                await until(app, pilot, lambda seq=seq: app.view.state.seq == seq)  # type: ignore[misc]
        return "\n".join(rows(app))

    app, shown = drive(source, steps)
    return app, places, [it.message for it in app._notifications], shown


def test_a_replay_shows_the_time_that_was_typed(recording: Path) -> None:
    source = Replay(recording, stays=True)
    app, places, said, shown = typed(source, "12.5", "0:20", "-5 s", "0")
    assert places == pytest.approx([12_500, 20_000, 15_000, 0])
    assert said == []
    assert app.view.reel is source
    assert "+0.00 of" in shown


def test_a_time_outside_shows_the_end_or_the_start_and_says_so(recording: Path) -> None:
    _, places, said, _ = typed(Replay(recording, stays=True), "1:00:00", "-0:50")
    assert places == pytest.approx([END_MS, 0])
    assert [said[0], said[-1]] == [
        f"The recording ends at +{END_MS / 1e3:.2f} s; that is shown.",
        "That is before the recording; its start is shown.",
    ]


def live(data_dir: Path) -> FakeSource:
    began = EVENTS[0]
    assert isinstance(began, ev.RunStarted)
    info = msgspec.structs.replace(began.info, data_dir=str(data_dir))
    return FakeSource([msgspec.structs.replace(began, info=info), *EVENTS[1:]])


def test_a_live_run_is_looked_back_at_from_its_newest_moment(recording: Path) -> None:
    app, places, _, shown = typed(live(recording.parent), "-10 s", "1.5")
    assert places == pytest.approx([END_MS - 10_000, 1_500])
    assert app.view.film is not None
    assert "+1.50 of" in shown


def test_a_live_run_whose_recording_is_elsewhere_asks_nothing(tmp_path: Path) -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> int:
        await press(app, pilot, "T")
        return len(app.screen_stack)

    app, screens = drive(live(tmp_path), steps)
    assert screens == 1
    assert "not on this machine" in [it.message for it in app._notifications][-1]


def test_what_is_no_time_is_asked_for_again_and_escape_changes_nothing(recording: Path) -> None:
    shown = typed(live(recording.parent), "1:2x[b]")[3]
    assert "'1:2x[b]' cannot be read as a time; write it as 1:23.5, 83.5 s or -5 s" in shown

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> int:
        await press(app, pilot, "T", "3", "escape")
        return len(app.screen_stack)

    app, screens = drive(live(recording.parent), steps)
    assert screens == 1
    assert app.view.film is None
