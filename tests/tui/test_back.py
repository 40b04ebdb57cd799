"""Going back on the screen: where from, how long before, and what a run lacks for it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from textual.pilot import Pilot

from ktstr_tui.model import events as ev
from ktstr_tui.model.state import RunState
from ktstr_tui.model.stored import IDENTITY_FILE
from ktstr_tui.text.progress import held_progress
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.leaving import Leaving
from tests.tui.fakes import FakeSource, drive, press, rows
from tests.tui.story import Story

S = 1_000_000_000


def seeded(data_dir: Path, *, seed: int | None = 7, held_at_ns: int | None = None) -> FakeSource:
    """A run that can be had again."""
    events = list(Story().until(34))
    began = events[0]
    assert isinstance(began, ev.RunStarted)
    info = msgspec.structs.replace(began.info, data_dir=str(data_dir), seed=seed, held_at_ns=held_at_ns)
    return FakeSource([msgspec.structs.replace(began, info=info), *events[1:]])


def kept(tmp_path: Path) -> Path:
    (tmp_path / IDENTITY_FILE).touch()
    return tmp_path


def test_it_goes_back_from_a_capture(tmp_path: Path) -> None:
    source = seeded(kept(tmp_path))

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> str:
        await press(app, pilot, "3", "B")
        asked = "\n".join(rows(app))
        await press(app, pilot, *["backspace"] * 5, "2", "s", "enter")
        return asked

    app, asked = drive(source, steps)
    newest = source.state.captures[-1].report
    assert f"How long before the capture {newest.tag}?" in asked
    assert "500ms" in asked
    assert app.back == (str(tmp_path), newest.mono_ns, 2 * S)
    assert app.return_value is Leaving.BACK


def test_it_goes_back_from_a_report_and_from_a_line_of_the_log(tmp_path: Path) -> None:
    for keys, what in ((("3", "enter", "B"), "the capture"), (("4", "B"), "the line at")):
        source = seeded(kept(tmp_path))

        async def steps(app: KtstrApp, pilot: Pilot[Leaving], keys: tuple[str, ...] = keys) -> str:
            await press(app, pilot, *keys)
            asked = "\n".join(rows(app))
            await press(app, pilot, "escape")
            return asked

        app, asked = drive(source, steps)
        assert f"How long before {what}" in asked
        assert app.back is None


def test_a_time_that_is_none_is_asked_for_again(tmp_path: Path) -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        await press(app, pilot, "3", "B", "x", "enter")
        return rows(app)

    app, lines = drive(seeded(kept(tmp_path)), steps)
    assert "cannot be read as a time" in "\n".join(lines)
    assert app.back is None


@pytest.mark.parametrize(
    ("seed", "keeps", "words"),
    [(None, True, "This run has no seed"), (7, False, "is not on this machine")],
)
def test_what_a_run_lacks_is_said(tmp_path: Path, seed: int | None, keeps: bool, words: str) -> None:
    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
        await press(app, pilot, "3", "B")
        return [it.message for it in app._notifications]

    app, notes = drive(seeded(kept(tmp_path) if keeps else tmp_path, seed=seed), steps)
    assert words in notes[-1]
    assert app.back is None


def test_the_way_there_is_shown_with_the_time_left(tmp_path: Path) -> None:
    state = seeded(tmp_path, held_at_ns=1).state
    start_ns = state.started_mono_ns

    def at(held_s: float) -> RunState:
        assert state.info is not None
        state.info = msgspec.structs.replace(state.info, held_at_ns=start_ns + int(held_s * S))
        return state

    done_s = (state.mono_ns - start_ns) / S
    assert held_progress(at(done_s * 2), 10.0) == f"{done_s:.1f} of {done_s * 2:.1f} s, about 10 s left"
    assert held_progress(at(done_s * 2), None) == f"{done_s:.1f} of {done_s * 2:.1f} s"
    assert held_progress(at(done_s / 2), 10.0) == ""
    state.frozen = "the run was to be held"
    assert held_progress(at(done_s * 2), 10.0) == ""
