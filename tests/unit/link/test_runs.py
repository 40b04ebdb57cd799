"""Finding runs: by name, by path, the only one; stale ones are said to be stale."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ktstr_tui.link.runs import RunRecord, choose_run, list_runs, look_at_run
from ktstr_tui.model.errors import UsageError


class Runs:
    """A runtime directory with made-up runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listening: list[socket.socket] = []

    def add(self, name: str, *, pid: int | None = None, listen: bool = True, record: bool = True) -> Path:
        place = self.path / name
        place.mkdir()
        if record:
            run = RunRecord(
                name=name, pid=os.getpid() if pid is None else pid, kernel="7.2.12", scheduler="demo:fifo"
            )
            (place / "run.json").write_bytes(msgspec.json.encode(run))
        for socket_name in ("events.sock", "control.sock"):
            listening = socket.socket(socket.AF_UNIX)
            listening.bind(str(place / socket_name))
            self._listening.append(listening)
            if listen:
                listening.listen()
        return place

    def close(self) -> None:
        for listening in self._listening:
            listening.close()


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    made = Runs(tmp_path)
    yield made
    made.close()


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_none(runs: Runs) -> None:
    assert list_runs(runs.path) == []
    assert list_runs(runs.path / "missing") == []
    with pytest.raises(UsageError, match="no run is in progress") as caught:
        choose_run(None, runs.path)
    assert "ktstr-tui run" in caught.value.hint


def test_the_only_run_needs_no_name(runs: Runs) -> None:
    place = runs.add("tour")
    runs.add("dead", listen=False)
    assert choose_run(None, runs.path) == place
    assert choose_run("tour", runs.path) == place


def test_several_must_be_named(runs: Runs) -> None:
    runs.add("one")
    runs.add("two")
    with pytest.raises(UsageError, match="2 runs are in progress") as caught:
        choose_run(None, runs.path)
    assert "one: 7.2.12, demo:fifo" in caught.value.hint
    assert "two: 7.2.12, demo:fifo" in caught.value.hint
    assert choose_run("two", runs.path) == runs.path / "two"


def test_stale_runs_say_why(runs: Runs) -> None:
    pid = dead_pid()
    runs.add("gone", pid=pid)
    runs.add("deaf", listen=False)
    runs.add("bare", record=False)
    (runs.add("junk") / "run.json").write_text("{")
    runs.add("zlive")
    found = {run.name: run.stale for run in list_runs(runs.path)}
    assert found == {
        "zlive": "",
        "bare": "no readable run.json",
        "junk": "no readable run.json",
        "deaf": "no response on its socket",
        "gone": f"its process {pid} is gone",
    }
    assert next(iter(found)) == "zlive"
    with pytest.raises(UsageError, match="run deaf is not in progress: no response"):
        choose_run("deaf", runs.path)


def test_dead_runs_are_in_no_hint(runs: Runs, tmp_path: Path) -> None:
    for number in range(9):
        runs.add(f"dead-{number}", listen=False)
    for wanted in (None, "lvie"):
        with pytest.raises(UsageError) as caught:
            choose_run(wanted, runs.path)
        assert caught.value.hint == "start one with: ktstr-tui run"
    for name, day in (("older", 1), ("newest", 2)):
        data = tmp_path / "data" / name
        data.mkdir(parents=True)
        (data / "recording.ktstr").touch()
        record = RunRecord(name=name, pid=dead_pid(), data_dir=str(data), started_wall=f"2026-11-0{day}")
        (runs.add(name, listen=False) / "run.json").write_bytes(msgspec.json.encode(record))
    with pytest.raises(UsageError, match="no run is in progress") as caught:
        choose_run(None, runs.path)
    assert "dead-" not in caught.value.hint
    assert "/older" not in caught.value.hint
    assert f"ktstr-tui replay {tmp_path}/data/newest/recording.ktstr" in caught.value.hint
    assert "the last one, newest, was killed or crashed (its process " in caught.value.hint
    runs.add("live")
    with pytest.raises(UsageError, match="no run named lvie") as caught:
        choose_run("lvie", runs.path)
    assert caught.value.hint == "runs here:\n  live: 7.2.12, demo:fifo"


def test_a_run_without_a_process_id_is_known_by_its_socket(runs: Runs) -> None:
    assert look_at_run(runs.add("forwarded", pid=0)).alive


def test_an_unknown_name_lists_the_known_ones(runs: Runs) -> None:
    runs.add("tour")
    with pytest.raises(UsageError, match="no run named tuor") as caught:
        choose_run("tuor", runs.path)
    assert "tour" in caught.value.hint


@pytest.mark.parametrize("name", ["", "a b", "x" * 41, "ü", "a\n", "$HOME"])
def test_names_are_checked(runs: Runs, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a run's name"):
        choose_run(name, runs.path)


def test_paths_of_forwarded_sockets(runs: Runs, tmp_path: Path) -> None:
    place = runs.add("far", record=False)
    assert choose_run(str(place), tmp_path / "none") == place
    assert choose_run(str(place / "events.sock"), tmp_path / "none") == place / "events.sock"


def test_a_directory_here_needs_no_slash(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = runs.add("fwd", record=False)
    monkeypatch.chdir(tmp_path)
    assert choose_run("fwd", tmp_path / "none") == place


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("./nothing", "there is no file or directory nothing"),
        ("..", "is not the directory of a run"),
        ("/", "is not the directory of a run"),
    ],
)
def test_a_path_without_sockets(runs: Runs, path: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        choose_run(path, runs.path)


def test_a_run_that_was_killed_names_its_recording(runs: Runs, tmp_path: Path) -> None:
    place = runs.add("killed", pid=dead_pid())
    data = tmp_path / "data of it"
    record = RunRecord(name="killed", pid=dead_pid(), data_dir=str(data))
    (place / "run.json").write_bytes(msgspec.json.encode(record))
    with pytest.raises(UsageError) as nothing:
        choose_run("killed", tmp_path)
    assert "recording.ktstr" not in nothing.value.hint, "there is none"
    data.mkdir()
    (data / "recording.ktstr").write_bytes(b"")
    for wanted in ("killed", None):
        with pytest.raises(UsageError) as error:
            choose_run(wanted, tmp_path)
        assert str(data / "recording.ktstr") in error.value.hint
