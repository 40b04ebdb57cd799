"""A run whose lock is held is there, whether it answers or not; and who asks takes no lock."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ktstr_tui.link.run_lock import lock_file, lock_holder
from ktstr_tui.link.runs import choose_run
from ktstr_tui.link.viewer import Viewer
from ktstr_tui.model.errors import HostError, UsageError


@contextmanager
def held(place: Path) -> Iterator[int]:
    """Another process that holds the lock of a run, and sleeps until its standard input is closed."""
    take = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX)"
    command = [sys.executable, "-c", f"{take}; print('held', flush=True); input()", str(lock_file(place))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield process.pid
        finally:
            process.communicate(b"\n")


def test_a_run_that_holds_its_lock_is_never_said_to_be_none(tmp_path: Path) -> None:
    place = tmp_path / "begins"
    place.mkdir()
    with pytest.raises(UsageError, match="no run is in progress"):
        choose_run(None, tmp_path)
    with held(place) as pid:
        assert lock_holder(place) == pid
        for wanted in (None, "begins"):
            with pytest.raises(HostError) as caught:
                choose_run(wanted, tmp_path)
            lines = "run begins exists, its lock is held by process"
            assert caught.value.message == f"{lines} {pid}, but it is out of reach: no readable run.json"
    assert lock_holder(place) is None
    with pytest.raises(UsageError, match="run begins is not in progress: no readable"):
        choose_run("begins", tmp_path)


def test_to_ask_who_holds_a_lock_does_not_take_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "free"
    lock_file(place).touch()
    monkeypatch.setattr(fcntl, "flock", lambda *_: pytest.fail("a run that starts now would find it taken"))
    assert lock_holder(place) is None
    assert lock_holder(tmp_path / "none") is None


def test_one_that_has_not_answered_yet_is_not_said_to_be_none(tmp_path: Path) -> None:
    async def ask(place: Path) -> str:
        async with Viewer(place) as viewer:
            with pytest.raises(HostError) as caught:
                await viewer.connect(timeout_s=0.05)
        return caught.value.message

    async def scenario() -> None:
        place = tmp_path / "run"
        place.mkdir()
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(place / "control.sock"))
            silent.listen()
            assert await ask(place) == f"something listens at {place}, but it has not answered within 0.05 s"
            with lock_file(place).open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                who = f"a run exists, its lock is held by process {os.getpid()}"
                assert await ask(place) == f"{who} at {place}, but it has not answered within 0.05 s"

    asyncio.run(scenario())
