"""The two directories of a run, and the lock that makes a name mean one run.

``<runtime>/<name>/`` holds the sockets and ``run.json``; it is removed when the run ends.
``<state>/runs/<name>-<time>/`` holds the recording, the captures and the console log; it stays. A run holds
``flock`` on ``<runtime>/.<name>.lock`` for as long as it lives, so a name whose lock can be taken belongs to
nobody, however its last owner died.

The lock file is beside the directory, not in it, and is never removed. A lock file that goes with its directory
lets two runs hold one name: one has opened the file and waits, the owner removes it and ends, a third makes a
new file of the same name, and both locks are granted, on two files. For the same reason `_locked` compares the
file it has locked with the one that the path names now, and a run removes its directory only while that is
still the one it made.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from ktstr_tui.control.audit_chain import AUDIT_FILE, TORN_FILE
from ktstr_tui.guest import paths
from ktstr_tui.link.run_lock import lock_file
from ktstr_tui.link.runs import RECORDING_FILE
from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.wire.file_lock import try_lock

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_OURS = ("lock", "run.json", "run.json.new", "heartbeat", "heartbeat.new", "metrics.token")


class RunDirs(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run lives."""

    name: str
    socket_dir: Path
    data_dir: Path
    socket_dir_id: tuple[int, int] | None = None
    """Device and inode of ``socket_dir`` as it was made."""

    def is_intact(self) -> bool:
        """Whether ``socket_dir`` is still the directory that this run made."""
        return self.socket_dir_id is not None and identity(self.socket_dir) == self.socket_dir_id

    def describe(self, facts: dict[str, Any]) -> None:
        """Write ``run.json``, by which other programs find the run."""
        new = self.socket_dir / "run.json.new"
        new.write_text(json.dumps(facts, indent=2))
        new.rename(self.socket_dir / "run.json")


@contextmanager
def take_place(name: str | None, fallback: str, again: Path | None = None) -> Iterator[RunDirs]:
    """Take a name and make its directories; the sockets' directory is removed at the end.

    Args:
        name: The name asked for, or None.
        fallback: The name to use, with a number added when it is taken, if none was asked for.
        again: The data directory of an earlier run, to be used again.

    Raises:
        UsageError: The name is malformed, a run of that name is going on, or its directory holds files that
            are not of this program.
        HostError: A directory cannot be made or is not ours.
    """
    if name is not None:
        wanted = [name]
    else:
        base = _sanitized(fallback)
        wanted = [base] + [f"{base}-{number}" for number in range(2, 100)]
    last: UsageError | None = None
    for candidate in wanted:
        try:
            lock, socket_dir = _lock(candidate)
        except UsageError as error:
            last = error
            continue
        break
    else:
        raise last or UsageError("no free run name")
    try:
        dirs = RunDirs(
            name=candidate,
            socket_dir=socket_dir,
            data_dir=_data_dir(candidate) if again is None else again,
            socket_dir_id=identity(socket_dir),
        )
        held = None
        try:
            held = _held(dirs.data_dir)
            if again is not None:
                use_again(again)
            yield dirs
        except BaseException:
            # A directory that holds something stays, and so does one that was there before.
            if again is None:
                with suppress(OSError):
                    dirs.data_dir.rmdir()
            raise
        finally:
            if held is not None:
                os.close(held)
            if dirs.is_intact():
                shutil.rmtree(socket_dir, ignore_errors=True)
    finally:
        os.close(lock)


def leave_nothing(data_dir: Path, again: Path | None) -> None:
    """Undo what a start that failed did to the data directory of its run, as far as that can be done.

    Args:
        data_dir: The directory; one that was made for this run goes with all that is in it.
        again: The same when an earlier run had it, whose files then have their places again; else None.
    """
    with suppress(OSError):
        if again is None:
            shutil.rmtree(data_dir)
            return
        for path in data_dir.iterdir():
            if not _stays(path):
                path.unlink() if path.is_symlink() or path.is_file() else shutil.rmtree(path)
        kept = data_dir / f"start-{_next_start(data_dir) - 1}"
        for path in kept.iterdir():
            path.rename(data_dir / path.name)
        kept.rmdir()


def use_again(data_dir: Path) -> None:
    """Make room in the directory of an earlier run: all files but the audit go into ``start-N``.

    Raises:
        UsageError: It is not the directory of a run.
        HostError: Its files cannot be moved.
    """
    if not (data_dir / RECORDING_FILE).is_file():
        raise UsageError(
            f"{data_dir} is not the directory of a run: it has no {RECORDING_FILE}", "ktstr-tui locate"
        )
    try:
        kept = data_dir / f"start-{_next_start(data_dir)}"
        kept.mkdir(mode=0o700)
        for path in sorted(data_dir.iterdir()):
            if not _stays(path):
                path.rename(kept / path.name)
    except OSError as error:
        raise HostError(
            f"cannot use {data_dir} again: {error.strerror}", "choose another directory"
        ) from error


def _next_start(data_dir: Path) -> int:
    return next(it for it in range(1, 1000) if not (data_dir / f"start-{it}").exists())


def _stays(path: Path) -> bool:
    """Whether a file is that of all starts in a directory, or of an earlier one."""
    return path.name in (AUDIT_FILE, TORN_FILE) or path.name.startswith("start-")


def _held(data_dir: Path) -> int:
    """Lock a data directory, for as long as the descriptor that is returned is open."""
    try:
        handle = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"cannot open {data_dir}: {error.strerror}", "ktstr-tui locate") from error
    if not try_lock(handle):
        os.close(handle)
        raise UsageError(f"the run of {data_dir} is in progress", "end it first: ktstr-tui end")
    return handle


def identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of a path; None when nothing is there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _sanitized(text: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]", "-", Path(text).stem).strip("-.")[:32]
    return name if _NAME.fullmatch(name) else "run"


def _lock(name: str) -> tuple[int, Path]:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a run's name", "use up to 40 letters, digits, dots, dashes and underscores"
        )
    paths.check_socket_path(paths.runtime_dir() / name / "control.sock")
    lock = _locked(lock_file(paths.private_dir(paths.runtime_dir()) / name), name)
    try:
        socket_dir = paths.private_dir(paths.runtime_dir() / name)
        _clear(socket_dir, name)
    except BaseException:
        os.close(lock)
        raise
    return lock, socket_dir


def _locked(path: Path, name: str) -> int:
    """Lock the file that ``path`` names; returns its descriptor."""
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if not try_lock(lock):
            os.close(lock)
            raise UsageError(
                f"a run named {name} is in progress",
                f"watch it with: ktstr-tui attach {name}; or choose another --name",
            )
        status = os.fstat(lock)
        if identity(path) == (status.st_dev, status.st_ino):
            return lock
        os.close(lock)


def _clear(socket_dir: Path, name: str) -> None:
    """Remove what a dead run left; refuse when anything else is there."""
    for path in socket_dir.iterdir():
        if path.name == "lock":
            continue
        if path.is_socket() or path.name in _OURS:
            path.unlink()
        else:
            raise UsageError(
                f"{socket_dir} holds {path.name}, which does not belong to a run",
                f"move it away, or choose another --name than {name}",
            )


def _data_dir(name: str) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    base = paths.state_dir() / "runs"
    for suffix in ("", *(f".{number}" for number in range(1, 1000))):
        path = base / f"{name}-{stamp}{suffix}"
        try:
            path.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise HostError(
                f"cannot make the run's directory {path}: {error.strerror}",
                "free some space, or set XDG_STATE_HOME to a writable directory",
            ) from error
        return path
    raise HostError(f"no free directory name under {base}", "remove old runs there")
