"""The file that says that the observer lives, and the thread that ends a wedged process."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

from ktstr_tui.heartbeat.watchdog import CHECKS, HeartbeatFile, SelfWatchdog

WEDGED = """
import threading
from ktstr_tui.heartbeat.watchdog import SelfWatchdog
count = [0]
with SelfWatchdog(lambda: count[0], 0.4):
    for _ in range(20):
        count[0] += 1
        threading.Event().wait(0.01)
    threading.Event().wait(60)
"""


PATIENCE_S = 120
"""Generous, because it only matters when something is broken."""


class Counter:
    """What the watchdog reads, until it has done so for many deadlines."""

    def __init__(self, *, moving: bool) -> None:
        self.often = threading.Event()
        self._moving = moving
        self._read = 0

    def __call__(self) -> int:
        self._read += 1
        if self._read > 10 * CHECKS:
            self.often.set()
        return self._read if self._moving else 0


def test_the_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat"
    file = HeartbeatFile(path)
    file.write(1, 1000)
    first = path.stat().st_ino
    file.write(2, 51_000_000)
    assert path.read_text() == "2 51000000\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_ino != first
    assert [it.name for it in tmp_path.iterdir()] == ["heartbeat"]
    file.remove()
    assert not path.exists()


def test_a_file_that_cannot_be_written_is_counted(tmp_path: Path) -> None:
    file = HeartbeatFile(tmp_path / "gone" / "heartbeat")
    file.write(1, 1)
    assert file.failures == 1


def test_a_wedged_process_dies_with_its_stacks() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WEDGED], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == -signal.SIGABRT
    assert "File" in done.stderr
    assert "self-watchdog" in done.stderr or "Thread" in done.stderr


def test_nothing_is_demanded_before_the_first_look() -> None:
    bitten, counter = threading.Event(), Counter(moving=False)
    with SelfWatchdog(counter, 0.01, bitten.set):
        assert counter.often.wait(PATIENCE_S)
    assert not bitten.is_set()


def test_a_loop_that_goes_on_is_left_alone() -> None:
    bitten, counter = threading.Event(), Counter(moving=True)
    with SelfWatchdog(counter, 0.01, bitten.set):
        assert counter.often.wait(PATIENCE_S)
    assert not bitten.is_set()
