"""The directories of a run and the lock on its name."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from ktstr_tui.backend.dir_watch import watch_directories
from ktstr_tui.backend.run_dirs import leave_nothing, take_place, use_again
from ktstr_tui.model.errors import HostError, UsageError


@pytest.fixture(autouse=True)
def _private_dirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_a_place_is_private_and_its_sockets_go_at_the_end() -> None:
    with take_place("one", "x") as place:
        assert place.socket_dir.stat().st_mode & 0o777 == 0o700
        assert place.data_dir.stat().st_mode & 0o777 == 0o700
        place.describe({"name": "one"})
        assert json.loads((place.socket_dir / "run.json").read_text()) == {"name": "one"}
    assert not place.socket_dir.exists()
    assert place.data_dir.is_dir()


def test_a_second_run_of_the_same_name_is_refused_and_loses_nothing() -> None:
    with take_place("one", "x") as place:
        place.describe({"name": "one"})
        with pytest.raises(UsageError, match="a run named one is in progress"), take_place("one", "x"):
            pass
        assert (place.socket_dir / "run.json").exists()


def test_without_a_name_a_number_is_added() -> None:
    with take_place(None, "tour") as first, take_place(None, "tour") as second:
        assert (first.name, second.name) == ("tour", "tour-2")


def test_a_scenario_file_gives_its_stem() -> None:
    with take_place(None, "/somewhere/my scenario.toml") as place:
        assert place.name == "my-scenario"


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x", "a" * 41, "a b"])
def test_a_malformed_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a run's name"), take_place(name, "x"):
        pass


def test_what_a_killed_run_left_is_cleared(tmp_path: Path) -> None:
    code = (
        "import os, signal, socket\n"
        "from ktstr_tui.backend.run_dirs import take_place\n"
        "with take_place('one', 'x') as place:\n"
        "    place.describe({})\n"
        "    socket.socket(socket.AF_UNIX).bind(str(place.socket_dir / 'events.sock'))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    left = Path(os.environ["XDG_RUNTIME_DIR"]) / "ktstr" / "one"
    assert (left / "events.sock").is_socket()
    with take_place("one", "x") as place:
        assert list(place.socket_dir.iterdir()) == []


_RACER = """
import fcntl, os, sys, time
from collections import Counter
from ktstr_tui.backend.run_dirs import take_place
from ktstr_tui.model.errors import UsageError
held = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
counts = Counter()
end = time.monotonic() + 60
while counts["held"] < 60 and time.monotonic() < end:
    try:
        with take_place("race", "race") as place:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                counts["two hold the name"] += 1
                continue
            place.describe({})
            os.sched_yield()
            counts["held"] += 1
            counts["directory lost"] += not (place.socket_dir / "run.json").exists()
            fcntl.flock(held, fcntl.LOCK_UN)
            place.data_dir.rmdir()
    except UsageError:
        counts["refused"] += 1
print(counts["held"], counts["refused"], counts["two hold the name"], counts["directory lost"])
"""


def test_a_name_is_never_held_twice_by_starters_that_race(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _RACER, str(tmp_path / "held")]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    totals = [0, 0, 0, 0]
    for racer in racers:
        output, _ = racer.communicate(timeout=120)
        totals = [total + int(count) for total, count in zip(totals, output.split(), strict=True)]
    held, refused, twice, lost = totals
    assert held >= 60
    assert refused > 0
    assert (twice, lost) == (0, 0)


def test_a_directory_made_by_another_is_left_alone_at_the_end() -> None:
    with take_place("one", "x") as place:
        assert place.is_intact()
        place.socket_dir.rename(place.socket_dir.with_name("moved"))
        place.socket_dir.mkdir(mode=0o700)
        (place.socket_dir / "events.sock").touch()
        assert not place.is_intact()
    assert (place.socket_dir / "events.sock").exists()


def test_a_directory_with_foreign_files_is_refused_and_left_alone() -> None:
    foreign = Path(os.environ["XDG_RUNTIME_DIR"]) / "ktstr" / "one"
    foreign.mkdir(parents=True, mode=0o700)
    foreign.parent.chmod(0o700)
    (foreign / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="which does not belong to a run"), take_place("one", "x"):
        pass
    assert (foreign / "thesis.txt").read_text() == "years of work"


def test_a_directory_that_others_can_enter_is_refused() -> None:
    foreign = Path(os.environ["XDG_RUNTIME_DIR"]) / "ktstr" / "one"
    foreign.mkdir(parents=True, mode=0o700)
    foreign.parent.chmod(0o700)
    foreign.chmod(0o755)
    with pytest.raises(HostError, match="others can look in"), take_place("one", "x"):
        pass


def test_a_runtime_directory_too_long_for_a_socket_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 90)
    deep.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    with pytest.raises(HostError, match="unix sockets allow 107"), take_place("one", "x"):
        pass
    with pytest.raises(OSError, match="too long"), socket.socket(socket.AF_UNIX) as test:
        test.bind(str(deep / "ktstr" / "one" / "control.sock"))


async def test_a_directory_removed_under_a_run_is_said_once(autojump_clock: MockClock) -> None:
    said: list[str] = []
    with take_place("one", "x") as place:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_directories, place, lambda event: said.append(event.text))
            await trio.sleep(10)
            assert said == []
            place.socket_dir.rmdir()
            await trio.sleep(10)
            place.data_dir.rmdir()
            place.data_dir.mkdir()  # as a capture does
            await trio.sleep(10)
            nursery.cancel_scope.cancel()
    assert [str(place.socket_dir) in said[0], str(place.data_dir) in said[1], len(said)] == [True, True, 2]


def test_a_start_that_fails_leaves_no_data_directory() -> None:
    with pytest.raises(HostError), take_place("failing", "x") as failed:
        raise HostError("nothing was written yet")
    assert not failed.data_dir.exists()


def test_a_start_that_wrote_something_leaves_it() -> None:
    def begin() -> None:
        with take_place("failing", "x") as place:
            begun.append(place.data_dir)
            (place.data_dir / "console.log").write_text("a word")
            raise HostError("later")

    begun: list[Path] = []
    with pytest.raises(HostError):
        begin()
    assert (begun[0] / "console.log").is_file()


def test_the_directory_of_a_run_is_used_again_and_nothing_in_it_is_lost(tmp_path: Path) -> None:
    with take_place("one", "x") as first:
        for name in ("recording.ktstr", "audit.jsonl", "console.log"):
            (first.data_dir / name).write_text("first")
        with pytest.raises(UsageError, match="in progress"), take_place("two", "x", first.data_dir):
            pass
    for number in (1, 2):
        with take_place("one", "x", first.data_dir) as again:
            assert again.data_dir == first.data_dir
            left = {it.name for it in first.data_dir.iterdir()}
            assert left == {"audit.jsonl", *(f"start-{it}" for it in range(1, number + 1))}
            (again.data_dir / "recording.ktstr").write_text("again")
    assert (first.data_dir / "start-1" / "console.log").read_text() == "first"
    assert (first.data_dir / "audit.jsonl").read_text() == "first"
    (tmp_path / "empty").mkdir()
    for wrong in (tmp_path / "empty", tmp_path / "missing"):
        with pytest.raises(UsageError), take_place("one", "x", wrong):
            pass
    assert (tmp_path / "empty").is_dir(), "it was not made by the start that failed"


def test_a_start_that_failed_gives_the_directory_of_an_earlier_run_back(tmp_path: Path) -> None:
    place = tmp_path / "one-20260101-120000"
    (place / "captures").mkdir(parents=True)
    for name in ("recording.ktstr", "audit.jsonl", "captures/one.json"):
        (place / name).write_text("first")
    before = sorted(place.rglob("*"))
    use_again(place)
    (place / "snapshots").mkdir()
    (place / "recording.ktstr").write_text("of the start that failed")
    leave_nothing(place, place)
    assert sorted(place.rglob("*")) == before
    assert (place / "recording.ktstr").read_text() == "first"
    leave_nothing(place, None)
    assert not place.exists()
