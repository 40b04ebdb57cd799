"""Starting the real program as a user does, for the tests that do so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = (sys.executable, "-m", "ktstr_tui.cli.main")
SIZES = {"COLUMNS", "LINES"}
"""Where they are set, as tests that run side by side have them, they overrule the size of a test's terminal."""
LOADS = 2
"""Loops that take all CPU time they get."""
TIMEOUT_S = 400
"""Generous, because it only matters when something is broken."""


def private_environment(tmp_path: Path) -> dict[str, str]:
    """The environment with runtime and state directories of the test's own; the cache (kernels) is shared."""
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700, exist_ok=True)
    inherited = {name: value for name, value in os.environ.items() if name not in SIZES}
    return {**inherited, "XDG_RUNTIME_DIR": str(runtime), "XDG_STATE_HOME": str(tmp_path / "state")}


def call(
    *arguments: str, env: Mapping[str, str], timeout_s: float = TIMEOUT_S
) -> subprocess.CompletedProcess[str]:
    """Run ``ktstr-tui ARGUMENTS`` to its end."""
    return subprocess.run(
        [*PROGRAM, *arguments], env=env, capture_output=True, text=True, timeout=timeout_s, check=False
    )


def call_json(*arguments: str, env: Mapping[str, str], timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """Run ``ktstr-tui ARGUMENTS --json`` and decode what it prints."""
    done = call(*arguments, "--json", env=env, timeout_s=timeout_s)
    assert done.stdout, f"nothing on standard output; standard error was:\n{done.stderr}"
    decoded: dict[str, Any] = json.loads(done.stdout)
    return decoded


class HeadlessRun:
    """A run that goes on in the background."""

    def __init__(self, process: subprocess.Popen[str], name: str, env: Mapping[str, str]) -> None:
        self.process = process
        self.name = name
        self.env = env

    @property
    def socket_dir(self) -> Path:
        """Where its sockets are."""
        return Path(self.env["XDG_RUNTIME_DIR"]) / "ktstr" / self.name

    def events(self, *kinds: str) -> Iterator[dict[str, Any]]:
        """Follow its events of some types, as ``ktstr-tui events --follow --json`` prints them."""
        follower = subprocess.Popen(
            [*PROGRAM, "events", self.name, "--follow", "--json"],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert follower.stdout is not None
        try:
            for line in follower.stdout:
                event = json.loads(line)
                if not kinds or event["type"] in kinds:
                    yield event
        finally:
            follower.kill()
            follower.wait()
            follower.stdout.close()

    def wait_for(self, *kinds: str) -> dict[str, Any]:
        """The first event of one of these types, from the run's beginning."""
        events = self.events(*kinds)
        try:
            return next(events)
        finally:
            events.close()  # type: ignore[attr-defined]

    def qemu_pids(self) -> list[int]:
        """Processes of QEMU that belong to this run."""
        pids = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                is_qemu = b"qemu-system" in command.split(b"\0")[0]
                if is_qemu and str(self.socket_dir).encode() in command:
                    pids.append(int(entry.name))
        return pids

    def end(self, timeout_s: float = TIMEOUT_S) -> tuple[int, dict[str, Any], str]:
        """Wait for the end; exit code, the JSON object, standard error."""
        out, err = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, json.loads(out) if out else {}, err


@contextmanager
def headless_run(
    tmp_path: Path, *arguments: str, name: str = "test", command: str = "run"
) -> Iterator[HeadlessRun]:
    """Start ``run --headless --json`` and wait until it can be attached to; it is gone afterwards."""
    env = private_environment(tmp_path)
    process = subprocess.Popen(
        [*PROGRAM, command, "--headless", "--json", "--name", name, *arguments],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    run = HeadlessRun(process, name, env)
    assert process.stderr is not None
    told = []
    for line in process.stderr:
        told.append(line)
        if line.startswith("captures and recording:"):
            break
    else:
        process.wait()
        raise AssertionError(f"the run did not begin:\n{''.join(told)}")
    try:
        yield run
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@contextmanager
def busy_host() -> Iterator[None]:
    """Two loops that take all CPU time they get."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(LOADS)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
