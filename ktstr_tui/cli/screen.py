"""The commands that open the screen: on a run of our own, on one that goes on, on a recording."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.signals import SCREEN_END, SCREEN_LEFT
from ktstr_tui.model.commands import FAULTS
from ktstr_tui.model.errors import EXIT_OK, HostError, InternalError, UsageError
from ktstr_tui.text.output import say

if TYPE_CHECKING:
    from ktstr_tui.tui.app import KtstrApp
    from ktstr_tui.tui.leaving import Leaving


def require_terminal() -> None:
    """Refuse to open the screen where nobody could see it; Textual draws on standard error.

    Raises:
        UsageError: One of the three standard streams is not a terminal.
    """
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise UsageError(
            "the screen needs a terminal on standard input, output and error",
            "use --headless, or the commands status and events",
        )


def start_backend(config: RunConfig) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """Start a backend in a session of its own and wait until its stream is open.

    Returns:
        The process, and its ``name``, ``socket_dir`` and ``data_dir``.

    Raises:
        KtstrError: The backend could not begin; the class says whose fault it is.
    """
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "ktstr_tui.backend", str(writing)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(writing,),
        start_new_session=True,
    )
    os.close(writing)
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(config))
    process.stdin.close()
    with os.fdopen(reading, "r", encoding="utf-8") as lines:
        return process, _await_ready(lines, process)


def _await_ready(lines: IO[str], process: subprocess.Popen[bytes]) -> dict[str, Any]:
    try:
        for line in lines:
            message = json.loads(line)
            if "note" in message:
                say(message["note"])
            elif "ready" in message:
                ready: dict[str, Any] = message["ready"]
                return ready
            elif "error" in message:
                error = message["error"]
                raise FAULTS.get(error["fault"], InternalError)(error["message"], error["hint"])
    except KeyboardInterrupt:
        process.terminate()
        raise
    code = process.wait()
    raise InternalError(
        f"the backend ended with exit code {code} before it was ready", "run with --headless to see why"
    )


def run_with_screen(config: RunConfig) -> int:
    """Start a run and the screen on it; the run's exit code, or 0 when it was left running.

    Raises:
        KtstrError: The run could not begin, or there is no terminal.
    """
    require_terminal()
    process, ready = start_backend(msgspec.structs.replace(config, owner_pid=os.getpid()))
    try:
        wish = _show(Path(ready["socket_dir"]), owner=True)
    except BaseException:
        process.terminate()
        raise
    from ktstr_tui.tui.leaving import Leaving

    if wish is Leaving.LEAVE and process.poll() is None:
        process.send_signal(SCREEN_LEFT)
        say(f"run {ready['name']} is still in progress; attach with: ktstr-tui attach {ready['name']}")
        return EXIT_OK
    if process.poll() is None:
        process.send_signal(SCREEN_END)
    code = process.wait()
    say(f"captures and recording: {ready['data_dir']}")
    return code if code >= 0 else 128 - code


def attach_command(run_name: str | None, read_only: bool = False) -> None:
    """Open the screen on a run that goes on."""
    from ktstr_tui.cli.attach import pick_run

    require_terminal()
    _show(pick_run(run_name), owner=False, read_only=read_only)


def replay_command(recording: Path, speed: float) -> None:
    """Open the screen on a recording.

    Raises:
        HostError: The recording is damaged, has a hole, or lacks the end of its run; raised when the screen is closed.
    """
    from ktstr_tui.link.replay import Replay
    from ktstr_tui.tui.app import KtstrApp

    source = Replay(recording, speed)
    require_terminal()
    asyncio.run(until_left(KtstrApp(source, owner=False)))
    if source.connection_reason:
        raise HostError(f"{recording} is not whole: {source.connection_reason}")


def _show(sockets: Path, *, owner: bool, read_only: bool = False) -> Leaving:
    from ktstr_tui.link.viewer import Viewer
    from ktstr_tui.tui.app import KtstrApp

    return asyncio.run(until_left(KtstrApp(Viewer(sockets, read_only=read_only), owner=owner)))


async def until_left(app: KtstrApp, *, headless: bool = False) -> Leaving:
    """Show the screen until it is left; a signal leaves it as a key does, so the terminal is restored.

    A run that this screen started is left running: whoever closes a terminal has not said that the run shall end.
    """
    from ktstr_tui.tui.leaving import Leaving

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        loop.add_signal_handler(number, app.exit, Leaving.LEAVE)
    return await app.run_async(headless=headless) or Leaving.DETACH
