"""The real screen in a real terminal (tmux), on a real run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.guest.runs import PROGRAM, call_json, private_environment
from tests.guest.terminal import PATIENCE_S, POLL_S, Terminal


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {**private_environment(tmp_path), "TERM": "xterm-256color", "LANG": "C.UTF-8"}


@pytest.fixture
def steady(env: dict[str, str], tmp_path: Path) -> Iterator[Terminal]:
    arguments = ["run", "--scenario", "steady", "--scheduler", "demo:fifo", "--name", "seen"]
    terminal = Terminal(env, tmp_path, arguments, (120, 40))
    yield terminal
    terminal.close()
    subprocess.run([*PROGRAM, "end", "seen"], env=env, capture_output=True, check=False)


def test_c_captures_and_enter_opens_the_report(steady: Terminal) -> None:
    shown = steady.wait_for(r"fifo\s+● enabled")
    assert "TCG" in shown or "KVM" in shown
    steady.press("c")
    steady.wait_for(r"on-demand-001\s")
    steady.press("3")
    steady.press("Enter")
    report = steady.wait_for(r"fifo\s+enabled\s+exit_kind=NONE")
    assert "on-demand-001" in report


def test_f_freezes_d_asks_drgn_and_f_thaws(steady: Terminal, env: dict[str, str]) -> None:
    steady.wait_for(r"fifo\s+● enabled")
    steady.press("f")
    steady.wait_for("(?i)frozen")
    assert call_json("status", "seen", env=env)["frozen"]
    steady.press("d")
    steady.wait_for(r"wrong here\.\s+>>>\s*$")
    # Each key waits until the one before was answered. Python's prompt looks for a ctrl+c only where select() returns
    # without a key. A ctrl+c just before select() is told at the next line; a line just behind a ctrl+c is dropped.
    (prompt,) = _processes(b"ktstr_tui\0drgn\0", env)
    _wait_until_asleep(prompt)
    # Interrupts what is typed, and neither the prompt nor the screen; so does ctrl+z, where there is no shell to go to.
    steady.press("C-c")
    steady.wait_for(r"KeyboardInterrupt\s+>>>\s*$")
    steady.press("C-z", 'prog["init_task"].comm', "Enter")
    # Between two lines the terminal is not the prompt's: a ctrl+d would be no key of it.
    steady.wait_for(r"swapper/0\S*\s+>>>\s*$")
    steady.press("C-d")
    steady.wait_for(r"fifo(.|\n)*d drgn(.|\n)*\^q Quit")
    steady.press("f")
    steady.wait_for(r"Guest thawed")
    assert not call_json("status", "seen", env=env)["frozen"]


def test_leaving_can_leave_the_run_going_and_attach_comes_back(
    steady: Terminal, env: dict[str, str], tmp_path: Path
) -> None:
    steady.wait_for(r"fifo\s+● enabled")
    steady.press("C-q")
    steady.wait_for("(?i)leave it running")
    steady.press("l")
    steady.wait_for("LEFT WITH 0")
    assert call_json("status", "seen", env=env)["phase"] == "running"
    directory = tmp_path / "second"
    directory.mkdir()
    again = Terminal(env, directory, ["attach", "seen"], (80, 24))
    try:
        again.wait_for("fifo")
        again.press("C-q")
        again.wait_for("LEFT WITH 0")
        assert call_json("status", "seen", env=env)["phase"] == "running"
    finally:
        again.close()


def test_a_killed_backend_is_told_and_the_screen_stays_usable(steady: Terminal, env: dict[str, str]) -> None:
    steady.wait_for(r"fifo\s+● enabled")
    run = call_json("status", "seen", env=env)
    socket_dir = str(Path(env["XDG_RUNTIME_DIR"]) / "ktstr" / "seen")
    (backend,) = _processes(b"ktstr_tui.backend", env)
    os.kill(backend, signal.SIGKILL)
    steady.wait_for("(?i)backend (is )?gone|gone")
    steady.press("?")
    steady.wait_for("(?i)capture")
    steady.press("Escape")
    steady.press("C-q")
    assert run["phase"] == "running"
    assert Path(socket_dir).exists()


def test_a_screen_that_is_killed_while_it_waits_for_a_key_leaves_no_frozen_guest(
    env: dict[str, str], tmp_path: Path
) -> None:
    terminal = Terminal(env, tmp_path, ["run", "--name", "killed"], (120, 40))
    try:
        terminal.wait_for("Step 1 of")
        assert "waits for a key" in (call_json("status", "killed", env=env)["frozen"] or "")
        (backend,) = _processes(b"ktstr_tui.backend", env)
        screens = set(_processes(b"--name\0killed", env)) - {backend}
        for screen in screens:
            os.kill(screen, signal.SIGKILL)
        # Meanwhile another one looks, who has not frozen anything.
        follow = [*PROGRAM, "events", "killed", "--follow", "--json"]
        with subprocess.Popen(follow, env=env, stdout=subprocess.PIPE, text=True) as events:
            assert events.stdout is not None
            thawed = next(event for event in map(json.loads, events.stdout) if event["type"] == "thawed")
            events.kill()
        assert thawed["reason"].endswith("(the scenario waits for a key), who is gone")
        assert not call_json("status", "killed", env=env)["frozen"]
    finally:
        terminal.close()
        subprocess.run([*PROGRAM, "end", "killed"], env=env, capture_output=True, check=False)


def _wait_until_asleep(pid: int) -> None:
    """Wait until a process has nothing to do but to wait."""
    deadline = time.monotonic() + PATIENCE_S
    # The state is the first field after the name, which is in brackets.
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
        assert time.monotonic() < deadline, f"process {pid} never waits"
        signal.sigtimedwait([], POLL_S)


def _processes(word: bytes, env: Mapping[str, str]) -> list[int]:
    """Processes with ``word`` in their command line and the test's runtime directory in their environment."""
    mark = f"XDG_RUNTIME_DIR={env['XDG_RUNTIME_DIR']}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if word in (entry / "cmdline").read_bytes() and mark in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found
