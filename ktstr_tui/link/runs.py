"""Finding runs: each has a directory under the runtime directory, with ``run.json`` and two sockets.

A backend that was killed leaves its directory behind. So a run counts as going on only when its process
exists and somebody accepts connections on its socket; either alone can be an accident (a reused process id, a
socket forwarded from elsewhere).
"""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import msgspec

from ktstr_tui.link.framing import CONTROL_SOCKET, EVENTS_SOCKET, socket_pair
from ktstr_tui.link.run_lock import lock_holder
from ktstr_tui.model.errors import HostError, UsageError

RUN_FILE = "run.json"
MAX_PATH_BYTES = 1024
"""Of the path of a run's directory; sockets in it must be shorter still."""
RECORDING_FILE = "recording.ktstr"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,40}")
_MAX_RUN_FILE_BYTES = 64 << 10


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """``run.json``: what a run says of itself at its start."""

    name: str
    run_id: str = ""
    pid: int = 0
    started_wall: str = ""
    kernel: str = ""
    accelerator: str = ""
    scheduler: str = ""
    scenario: str = ""
    data_dir: str = ""


class FoundRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run's directory and what is known of it."""

    name: str
    socket_dir: Path
    record: RunRecord | None
    """None when ``run.json`` is missing or unreadable."""
    stale: str
    """Why it does not go on any more (or not yet); empty for a run that does."""
    held_by: int | None = None
    """The process that holds its lock although it cannot be reached: it starts, or hangs, or the host is busy."""

    @property
    def alive(self) -> bool:
        """Whether the run goes on."""
        return not self.stale

    @property
    def recording(self) -> Path | None:
        """Its recording, if the run says where its data is and the file is there."""
        if self.record is None or not self.record.data_dir:
            return None
        path = Path(self.record.data_dir) / RECORDING_FILE
        try:
            return path if path.is_file() else None
        except (OSError, ValueError):
            return None

    def describe(self) -> str:
        """One line for people, of a run that goes on."""
        if self.record is None:
            return self.name
        facts = (self.record.kernel, self.record.accelerator, self.record.scheduler, self.record.scenario)
        about = ", ".join(fact for fact in facts if fact)
        started = f", since {self.record.started_wall}" if self.record.started_wall else ""
        return f"{self.name}: {about}{started}"


def list_runs(runtime_dir: Path) -> list[FoundRun]:
    """All runs of ``runtime_dir``, those that go on first, each group by name."""
    try:
        places = sorted(
            path for path in runtime_dir.iterdir() if path.is_dir() and _NAME.fullmatch(path.name)
        )
    except OSError:
        return []
    runs = [look_at_run(path) for path in places]
    return sorted(runs, key=lambda run: (not run.alive, run.name))


def look_at_run(socket_dir: Path) -> FoundRun:
    """What is known of the run in ``socket_dir``."""
    record = _read_record(socket_dir / RUN_FILE)
    stale = _why_stale(record, socket_dir)
    held_by = lock_holder(socket_dir) if stale else None
    return FoundRun(name=socket_dir.name, socket_dir=socket_dir, record=record, stale=stale, held_by=held_by)


def is_killed(socket_dir: Path) -> bool:
    """Whether the run's process, which is one of this host, is gone; False where nobody knows."""
    record = _read_record((socket_dir if socket_dir.is_dir() else socket_dir.parent) / RUN_FILE)
    return record is not None and record.pid > 0 and not _process_exists(record.pid)


def choose_run(wanted: str | None, runtime_dir: Path) -> Path:
    """The directory of sockets of the run that is meant.

    Args:
        wanted: A run's name; a directory with ``events.sock`` and ``control.sock``, or the path of one of them
            (forwarded from another machine); or None for the only run that is in progress.
        runtime_dir: Where this user's runs are.

    Raises:
        UsageError: There is no such run, or none, or several to choose from; the hint lists those in progress.
        HostError: The run exists and cannot be reached.
    """
    if wanted is not None:
        return _named_run(wanted, runtime_dir)
    runs = list_runs(runtime_dir)
    alive = [run for run in runs if run.alive]
    if len(alive) == 1:
        return alive[0].socket_dir
    if alive:
        raise UsageError(f"{len(alive)} runs are in progress: name one", _listing(alive))
    for run in runs:
        _require_reachable(run)
    raise UsageError("no run is in progress", _listing(runs))


def _named_run(wanted: str, runtime_dir: Path) -> Path:
    if len(os.fsencode(wanted)) > MAX_PATH_BYTES or "\0" in wanted:
        raise UsageError(f"{wanted[:40]!r}… is not a path: it is too long, or has a zero in it")
    if "/" in wanted or wanted in (".", ".."):
        return _forwarded(Path(wanted))
    if not _NAME.fullmatch(wanted):
        raise UsageError(
            f"{wanted!r} cannot be a run's name",
            "names have up to 40 letters, digits, dots, dashes and underscores; a path needs a slash",
        )
    run = look_at_run(runtime_dir / wanted)
    if run.alive:
        return run.socket_dir
    _require_reachable(run)
    if run.socket_dir.is_dir():
        hint = _listing(list_runs(runtime_dir))
        if run.recording is not None:
            hint = f"what it recorded: ktstr-tui replay {run.recording}"
        raise UsageError(f"run {wanted} is not in progress: {run.stale}", hint)
    if (Path.cwd() / wanted).exists():
        return _forwarded(Path(wanted))
    raise UsageError(f"no run named {wanted}", _listing(list_runs(runtime_dir)))


def _require_reachable(run: FoundRun) -> None:
    if run.held_by is not None:
        raise HostError(
            f"run {run.name} exists, its lock is held by process {run.held_by}, but it is out of reach: {run.stale}",
            "it is being started or ended, or the host gives it no CPU: try again",
        )


def _forwarded(path: Path) -> Path:
    if not os.path.lexists(path):
        raise UsageError(
            f"there is no file or directory {path}",
            "name a run (ktstr-tui status lists those in progress), or the directory that holds its sockets",
        )
    sockets = socket_pair(path)
    missing = [one.name for one in sockets if not one.is_socket()]
    if missing:
        raise UsageError(
            f"{path} is not the directory of a run: it has no socket {' and no socket '.join(missing)} there",
            f"give the directory that holds {EVENTS_SOCKET} and {CONTROL_SOCKET}, or the path of one of them",
        )
    return path.absolute()


def _listing(runs: list[FoundRun]) -> str:
    """The runs that are in progress; without one the newest that left a recording. Others left only dead sockets."""
    alive = [run for run in runs if run.alive]
    if alive:
        lines = "\n".join(f"  {run.describe()}" for run in alive)
        return f"runs here:\n{lines}"
    hint = "start one with: ktstr-tui run"
    newest = max((run for run in runs if run.recording is not None), key=_begun, default=None)
    if newest is None:
        return hint
    return (
        f"{hint}\nthe last one, {newest.name}, was killed or crashed ({newest.stale}); "
        f"what it recorded: ktstr-tui replay {newest.recording}"
    )


def _begun(run: FoundRun) -> str:
    return "" if run.record is None else run.record.started_wall


def _read_record(path: Path) -> RunRecord | None:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(_MAX_RUN_FILE_BYTES), type=RunRecord)
    except (OSError, msgspec.MsgspecError, ValueError):
        return None


def _why_stale(record: RunRecord | None, socket_dir: Path) -> str:
    if record is None:
        return f"no readable {RUN_FILE}"
    if record.pid and not _process_exists(record.pid):
        return f"its process {record.pid} is gone"
    if not accepts(socket_dir / CONTROL_SOCKET):
        return "no response on its socket"
    return ""


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def accepts(path: Path) -> bool:
    """Whether somebody takes connections on a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(str(path))
        except BlockingIOError:
            # Its backlog is full, so somebody listens.
            return True
        except OSError:
            return False
    return True
