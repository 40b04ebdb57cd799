"""The commands that open the screen: on a run of our own, on one that goes on, on a recording."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from ktstr_tui.backend.screen_signals import SCREEN_END, SCREEN_LEFT
from ktstr_tui.cli.collector import note_opening, opens_screen
from ktstr_tui.link.runs import RECORDING_FILE
from ktstr_tui.model.commands import Failure
from ktstr_tui.model.errors import EXIT_OK, HostError, InternalError, UsageError
from ktstr_tui.model.state import RunState
from ktstr_tui.text.farewell import farewell
from ktstr_tui.text.output import DUMB, RunExit, say
from ktstr_tui.text.plain import clean

if TYPE_CHECKING:
    from ktstr_tui.backend.config import RunConfig
    from ktstr_tui.link.still import Still
    from ktstr_tui.link.viewer import Viewer
    from ktstr_tui.tui.app import KtstrApp
    from ktstr_tui.tui.going_back import GoBack
    from ktstr_tui.tui.leaving import Leaving
    from ktstr_tui.tui.look import Look


BEGINNING_LOOK_S = 1.0
"""Seconds between looks whether a run has ended before it was seen."""
CLOSE_S = 5
"""Seconds that a screen may take to close after a signal."""


INSTEAD: Final = {
    "run": "use --headless, and attach from a terminal",
    "attach": "use the commands status and events",
    "replay": "use the commands events and recording",
    "snapshot": "use the commands snapshot and drgn",
}
"""What does without a screen, by command."""


def require_terminal(command: str) -> None:
    """Refuse to open the screen where nobody could see it; Textual draws on standard error.

    rich takes 80x25 for the size of a terminal that says it is dumb, whatever its size, and Textual then resizes its
    screen to and fro for ever. Of another both ask ``COLUMNS`` and ``LINES`` first, which a shell may have exported
    before the window was resized; the terminal itself knows better.

    Args:
        command: A key of `INSTEAD`.

    Raises:
        UsageError: One of the three standard streams is not a terminal, or it is one that shows no screen.
    """
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise UsageError(
            "the screen needs a terminal on standard input, output and error",
            INSTEAD[command],
        )
    term = os.environ.get("TERM", "")
    if term.lower() in DUMB:
        raise UsageError(
            f"this terminal says that it cannot show a screen (TERM={clean(term)})",
            f"if it can: TERM=xterm-256color ktstr-tui …; else {INSTEAD[command]}",
        )
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)


class StartedRun(NamedTuple):
    """A run of our own."""

    process: subprocess.Popen[bytes]
    reports: IO[str]
    """What its backend reports: after it is ready only the end."""
    ready: dict[str, Any]
    """Its ``name``, ``socket_dir`` and ``data_dir``."""


def start_backend(config: RunConfig) -> StartedRun:
    """Start a backend in a session of its own and wait until its stream is open.

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
    reports = os.fdopen(reading, "r", encoding="utf-8")
    try:
        return StartedRun(process, reports, _await_ready(reports, process))
    except BaseException:
        reports.close()
        raise


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
                raise msgspec.convert(message["error"], Failure).to_error()
    except KeyboardInterrupt:
        process.terminate()
        raise
    code = process.wait()
    raise InternalError(
        f"the backend ended with exit code {code} before it was ready", "run with --headless to see why"
    )


@opens_screen
def run_with_screen(config: RunConfig, *, explain: bool = True, theme: str | None = None) -> int:
    """Start a run and the screen on it; the run's exit code, or 0 when it was left running.

    Args:
        config: What is asked of the run.
        explain: Whether the screen explains steps that say what they are about, and waits for a key before each.
        theme: Name of the theme; None for what the configuration file or the last choice says.

    Raises:
        KtstrError: The run could not begin, or there is no terminal.
    """
    from ktstr_tui.cli.look import look_for

    require_terminal("run")
    look = look_for(theme)
    run = start_backend(msgspec.structs.replace(config, owner_pid=os.getpid()))
    process, ready = run.process, run.ready
    try:
        shown = _show(Path(ready["socket_dir"]), look, owner=True, explain=explain, process=process)
    except BaseException:
        process.terminate()
        raise
    from ktstr_tui.tui.leaving import Leaving

    wish, state = shown.wish, shown.state
    if shown.back is not None:
        if process.poll() is None:
            process.send_signal(SCREEN_END if state.ended is not None else SCREEN_LEFT)
        return go_back(shown.back, theme)
    if wish is Leaving.GONE and process.poll() is None:
        # The backend sees this process end, and does what --on-exit says.
        say(_left_alone(ready["name"], config))
        return EXIT_OK
    if wish is Leaving.LEAVE and process.poll() is None:
        process.send_signal(SCREEN_LEFT)
        say(f"run {ready['name']} is still in progress; attach with: ktstr-tui attach {ready['name']}")
        return EXIT_OK
    if process.poll() is None:
        process.send_signal(SCREEN_END)
    reason = _end_of(run.reports) or (state.ended.reason if state.ended is not None else "no word of its end")
    code = process.wait()
    code = code if code >= 0 else 128 - code
    recording = Path(config.record) if config.record else Path(ready["data_dir"]) / RECORDING_FILE
    say(farewell(ready["name"], reason, code, str(recording)))
    return code


def _left_alone(name: str, config: RunConfig) -> str:
    if config.on_exit == "end":
        return f"run {name} ends: its screen is gone (--on-exit end)"
    return f"run {name} continues unseen; attach with: ktstr-tui attach {name}"


def _end_of(reports: IO[str]) -> str:
    """Wait for the backend's report of the end and return the reason; empty when it ended without one."""
    for line in reports:
        message = json.loads(line)
        if "ended" in message:
            return str(message["ended"]["reason"])
    return ""


@opens_screen
def attach_command(run_name: str | None, read_only: bool = False, theme: str | None = None) -> None:
    """Open the screen on a run that goes on."""
    from ktstr_tui.cli.attach import pick_run
    from ktstr_tui.cli.look import look_for

    picked = pick_run(run_name)
    require_terminal("attach")
    shown = _show(picked, look_for(theme), owner=False, read_only=read_only)
    if shown.back is not None:
        raise RunExit(go_back(shown.back, theme))
    state, lost = shown.state, shown.lost
    info, ended = state.info, state.ended
    if info is not None and ended is not None:
        recording = str(Path(info.data_dir) / RECORDING_FILE)
        say(farewell(info.name, ended.reason, ended.exit_code, recording))
    elif info is not None and lost:
        path = shlex.quote(str(Path(info.data_dir) / RECORDING_FILE))
        say(clean(f"run {info.name} is gone: {lost}; what was recorded: ktstr-tui replay {path}"))
    elif info is not None:
        say(f"run {info.name} is still in progress; attach with: ktstr-tui attach {info.name}")


@opens_screen
def still_command(source: Still, memory: Path, theme: str | None) -> None:
    """Open the screen on one instant.

    Args:
        source: The instant.
        memory: The snapshot that it shows, for drgn's prompt.
        theme: As for `run_with_screen`.
    """
    from ktstr_tui.cli.look import look_for
    from ktstr_tui.tui.app import KtstrApp

    require_terminal("snapshot")
    app = KtstrApp(source, owner=False, look=look_for(theme))
    app.view.memory = memory
    asyncio.run(until_left(app))


@opens_screen
def replay_command(recording: Path, speed: float, theme: str | None = None) -> None:
    """Open the screen on a recording.

    Raises:
        HostError: The recording is damaged, has a hole, or lacks the end of its run; raised when the screen is closed.
    """
    from ktstr_tui.cli.look import look_for
    from ktstr_tui.link.replay import Replay
    from ktstr_tui.tui.app import KtstrApp

    source = Replay(recording, speed, stays=True)
    require_terminal("replay")
    app = KtstrApp(source, owner=False, look=look_for(theme))
    asyncio.run(until_left(app))
    if app.back is not None:
        raise RunExit(go_back(app.back, theme))
    info, ended = source.state.info, source.run_end
    if ended is not None:
        name = recording.stem if info is None else info.name
        say(farewell(name, ended.reason, ended.exit_code, str(recording)))
    if source.connection_reason:
        raise HostError(f"{recording} is not whole: {source.connection_reason}")


def go_back(back: GoBack, theme: str | None) -> int:
    """Run a run again to an instant and show it there; the exit code of that.

    Raises:
        KtstrError: It cannot be had again.
    """
    from ktstr_tui.backend.again import config_again, read_kept
    from ktstr_tui.backend.instants import without_freezes
    from ktstr_tui.cli.kept_runs import events_of

    directory = Path(back.data_dir)
    at_ns = without_freezes(events_of(directory), back.at_ns) - back.before_ns
    config = msgspec.structs.replace(
        config_again(read_kept(directory)),
        freeze_limit_s=0.0,
        again=str(directory),
        freeze_at_ns=max(at_ns, 1),
    )
    return run_with_screen(config, explain=False, theme=theme)


class Shown(NamedTuple):
    """How a screen was left."""

    wish: Leaving
    state: RunState
    """The last that was known of the run."""
    lost: str
    """Why the run was no longer seen; empty when it was."""
    back: GoBack | None
    """Where to go, when that was asked for."""


def _show(
    sockets: Path,
    look: Look,
    *,
    owner: bool,
    read_only: bool = False,
    explain: bool = False,
    process: subprocess.Popen[bytes] | None = None,
) -> Shown:
    from ktstr_tui.cli.attach import own_key
    from ktstr_tui.link.viewer import Viewer
    from ktstr_tui.tui.app import KtstrApp
    from ktstr_tui.tui.memory_shown import memory_of_run

    # The screen that a run was started with keeps the trace all the time, so that it is there when the run has ended.
    source = Viewer(sockets, read_only=read_only, signer=own_key(), trace=owner)
    app = KtstrApp(source, owner=owner, explain=explain, look=look)
    app.view.memory = memory_of_run(sockets)

    async def show() -> Leaving:
        watching = asyncio.create_task(_watch_beginning(app, source, process))
        try:
            return await until_left(app)
        finally:
            watching.cancel()

    wish = asyncio.run(show())
    lost = source.connection_reason if source.connection == "gone" else ""
    return Shown(wish, source.state, lost, app.back)


async def _watch_beginning(app: KtstrApp, source: Viewer, process: subprocess.Popen[bytes] | None) -> None:
    """Close the screen of a run that ended before anything of it was seen; its reason is then printed."""
    from ktstr_tui.tui.leaving import Leaving

    while process is not None and source.state.seq == 0:
        over = process.poll() is not None
        await asyncio.sleep(BEGINNING_LOOK_S)
        if over and source.state.seq == 0:
            app.exit(Leaving.DETACH)
            return


async def until_left(app: KtstrApp, *, headless: bool = False) -> Leaving:
    """Show the screen until it is left; a signal closes it as a key does, so the terminal is restored.

    Without its terminal the screen cannot always be closed: a thread of Textual's that writes to it ends with the first
    error, and its queue is then waited for. So there is a limit, after which the kernel ends this process.
    """
    from ktstr_tui.tui.leaving import Leaving

    def leave() -> None:
        signal.signal(signal.SIGCONT, signal.SIG_IGN)  # a hangup sends it too, and Textual would draw again
        signal.alarm(CLOSE_S)
        app.exit(Leaving.GONE)

    def interrupt() -> None:
        if not app.prompting:  # else the prompt got it, too, and it was meant for that
            leave()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, leave)
    loop.add_signal_handler(signal.SIGINT, interrupt)
    opening = note_opening()
    try:
        wish = await app.run_async(headless=headless) or Leaving.DETACH
    finally:
        opening.cancel()
    signal.alarm(0)
    return wish
