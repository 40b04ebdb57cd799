"""The words for the recording of a run that is over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

from ktstr_tui.cli.kept_runs import find_kept
from ktstr_tui.cli.main import app
from ktstr_tui.cli.runs import app as runs_app
from ktstr_tui.cli.stored_recording import complete_run, recording_of
from ktstr_tui.link.runs import RECORDING_FILE
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.stored import RunEnding


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    runs = tmp_path / "state" / "ktstr-tui" / "runs"
    for name in ("tour-20260101-100000", "tour-20260102-100000", "steady-20260103-100000"):
        (runs / name).mkdir(parents=True)
        (runs / name / RECORDING_FILE).write_bytes(b"x")
    return runs


def test_a_name_means_the_newest_run_of_it(runs: Path) -> None:
    newest = runs / "tour-20260102-100000" / RECORDING_FILE
    assert recording_of("tour") == newest
    assert recording_of(newest.parent.name) == newest
    assert recording_of(str(newest.parent)) == newest
    assert recording_of(str(newest)) == newest


def test_a_directory_without_a_recording_is_no_run_to_replay(runs: Path) -> None:
    for name in ("tour-20260104-100000", "none-20260105-100000"):
        (runs / name).mkdir()
    assert recording_of("tour") == runs / "tour-20260102-100000" / RECORDING_FILE
    for word in ("none", str(runs / "none-20260105-100000")):
        with pytest.raises(UsageError, match=r"there is no recording in .*none-20260105-100000") as raised:
            recording_of(word)
        assert "killed before it began" in raised.value.hint
    with pytest.raises(UsageError, match=r"there is no run none$"):
        find_kept("none")


def test_a_file_comes_before_a_run_of_its_name(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tour").touch()
    assert recording_of("tour") == Path("tour")


def test_a_misspelt_name_gets_a_suggestion(runs: Path) -> None:
    with pytest.raises(UsageError, match=r'no run tuor on disk\. Did you mean "tour"') as raised:
        recording_of("tuor")
    assert "ktstr-tui runs list" in raised.value.hint
    with pytest.raises(UsageError, match=r"there is no run zzz on disk$"):
        recording_of("zzz")


def test_the_list_of_runs_says_how_each_ended(runs: Path) -> None:
    (runs / "none-20260104-100000").mkdir()
    listed = json.loads(CliRunner().invoke(runs_app, ["list", "--json"], catch_exceptions=False).stdout)
    ends = [it["end"] for it in listed["runs"]]
    assert ends == ["unreadable", "unreadable", "unreadable", "no-recording"]
    assert set(ends) < set(get_args(RunEnding))
    lines = CliRunner().invoke(runs_app, ["list"], catch_exceptions=False).stdout.splitlines()
    assert [it.split("  ")[-1].strip() for it in lines[1:5]] == [it.replace("-", " ") for it in ends]


def test_replay_plays_the_run_of_a_name(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played: list[object] = []
    monkeypatch.setattr("ktstr_tui.cli.screen.replay_command", lambda *given: played.append(given))
    CliRunner().invoke(app, ["replay", "steady", "--speed", "2"], catch_exceptions=False)
    assert played == [(runs / "steady-20260103-100000" / RECORDING_FILE, 2.0, None)]


def test_the_shell_completes_names_and_directories_of_runs(runs: Path) -> None:
    assert complete_run("to") == ["tour", "tour-20260101-100000", "tour-20260102-100000"]
    assert complete_run("x") == []
    environment = {
        "_KTSTR_TUI_COMPLETE": "complete_bash",
        "COMP_WORDS": "ktstr-tui replay st",
        "COMP_CWORD": "2",
    }
    done = CliRunner().invoke(app, [], prog_name="ktstr-tui", env=environment)
    assert done.stdout.split() == ["steady", "steady-20260103-100000"]
