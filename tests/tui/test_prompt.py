"""drgn's prompt from the screen: whose memory it gets, and what is said where there is none.

That the terminal changes hands and comes back is tested in a real one (`tests/guest/test_screen.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import msgspec
import pytest
from textual.pilot import Pilot

from ktstr_tui.link.runs import RUN_FILE
from ktstr_tui.link.source import Connection
from ktstr_tui.model import events as ev
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.leaving import Leaving
from ktstr_tui.tui.memory_shown import memory_of_run
from ktstr_tui.tui.prompt import PromptApp
from tests.tui.fakes import FakeSource, drive, press, rows
from tests.tui.story import Story


def source_of(data_dir: Path, connection: Connection = "live", until: float = 34) -> FakeSource:
    """A run with a capture."""
    events = list(Story().until(until))
    began = events[0]
    assert isinstance(began, ev.RunStarted)
    info = msgspec.structs.replace(began.info, data_dir=str(data_dir))
    return FakeSource([msgspec.structs.replace(began, info=info), *events[1:]], connection)


def stored(source: FakeSource, data_dir: Path) -> Path:
    """A snapshot of the newest capture."""
    tag = source.state.captures[-1].report.tag
    source.feed([ev.SnapshotStored(tag=tag, name=f"{tag}-memory")])
    path = data_dir / "snapshots" / f"{tag}-memory.snap"
    path.parent.mkdir()
    path.touch()
    return path


@contextmanager
def programs() -> Iterator[list[list[str]]]:
    """What was given the terminal."""
    given: list[list[str]] = []

    async def give(self: PromptApp, words: list[str]) -> None:
        assert self.prompting
        given.append(words)

    with patch.object(PromptApp, "_give_terminal", give):
        yield given


def pressed(source: FakeSource, *keys: str, memory: Path | None) -> tuple[list[list[str]], list[str], str]:
    """Programs that keys started, notices, and the footer."""

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[list[str], str]:
        app.view.memory = memory
        await press(app, pilot, *keys[:-1])
        footer = rows(app)[-1]
        await press(app, pilot, keys[-1])
        assert not app.prompting
        return [it.message for it in app._notifications], footer

    with programs() as given:
        _, (notices, footer) = drive(source, steps, (200, 60))
    return given, notices, footer


def test_it_opens_on_the_memory_of_the_run(tmp_path: Path) -> None:
    given, _, footer = pressed(source_of(tmp_path, until=20), "4", "d", memory=tmp_path)
    assert [it[-2:] for it in given] == [["drgn", str(tmp_path)]]
    assert "d drgn" in footer


def test_in_a_report_it_opens_on_the_memory_of_that_instant(tmp_path: Path) -> None:
    source = source_of(tmp_path)
    path = stored(source, tmp_path)
    given, _, footer = pressed(source, "3", "enter", "d", memory=None)
    assert [it[-2:] for it in given] == [["drgn", str(path)]]
    assert "d drgn" in footer


def test_a_snapshot_that_is_shown_is_asked_like_a_run(tmp_path: Path) -> None:
    path = tmp_path / "frozen-001.snap"
    source = source_of(tmp_path, "live", until=20)
    given, _, _ = pressed(source, "4", "d", memory=path)
    assert [it[-2:] for it in given] == [["drgn", str(path)]]


@pytest.mark.parametrize(
    ("connection", "until", "words"),
    [
        ("live", 20, "on another machine"),
        ("connecting", 20, "Not connected yet"),
        ("gone", 20, "The guest is gone"),
        ("ended", 20, "The guest is gone"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, connection: Connection, until: float, words: str) -> None:
    memory = None if words == "on another machine" else tmp_path
    given, notices, footer = pressed(source_of(tmp_path, connection, until), "4", "d", memory=memory)
    assert given == []
    assert words in notices[-1]
    assert "drgn" not in footer


def test_only_a_run_of_this_machine_has_its_memory_here(tmp_path: Path) -> None:
    assert memory_of_run(tmp_path) is None
    (tmp_path / RUN_FILE).touch()
    assert memory_of_run(tmp_path) == tmp_path
    assert memory_of_run(tmp_path / "control.sock") == tmp_path
