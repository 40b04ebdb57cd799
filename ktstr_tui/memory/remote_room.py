"""Room for what came of snapshots on other machines: the runs that were looked at longest ago go first.

All of it can come again, so there is a limit and no mark that protects it. What another process looks at right now, and
what was just opened, stays whatever it takes. Who opens a snapshot is told what went for it.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ktstr_tui.memory.remote_pages import LOCK_FILE, REMOTE_FILE, remote_of
from ktstr_tui.memory.store import DIRECTORY
from ktstr_tui.model.errors import HostError
from ktstr_tui.wire import disk_room
from ktstr_tui.wire.disk_room import disk_bytes
from ktstr_tui.wire.file_lock import lock_of

LIMIT_BYTES = 4 << 30
"""Disk that all of it may take."""


class Removed(NamedTuple):
    """What came of one run and is here no more."""

    run: str
    size_bytes: int

    def words(self) -> str:
        """Say so."""
        mib = self.size_bytes / (1 << 20)
        return f"removed {mib:.1f} MiB that had come of {self.run}, to stay within {LIMIT_BYTES >> 30} GiB"


def make_room(home: Path, opened: Path) -> tuple[Removed, ...]:
    """Remove what was looked at longest ago, until the rest fits.

    Args:
        home: Where there is a directory for each run.
        opened: The one that is being used now, whose time is set.
    """
    removed: list[Removed] = []
    sizes: dict[Path, int] = {}

    def remove(directory: Path) -> bool:
        run = _remove(directory)
        if run is not None:
            removed.append(Removed(run, sizes[directory]))
        return run is not None

    with suppress(OSError):
        os.utime(opened / DIRECTORY / REMOTE_FILE)
        used = sorted((_used_ns(it), it) for it in home.iterdir() if it.is_dir())
        sizes = {it: disk_bytes(it) for _, it in used}
        disk_room.make_room(sizes.items(), LIMIT_BYTES, remove, stays=lambda it: it == opened)
    return tuple(removed)


def _used_ns(directory: Path) -> int:
    with suppress(OSError):
        return (directory / DIRECTORY / REMOTE_FILE).stat().st_mtime_ns
    return 0


def _remove(directory: Path) -> str | None:
    """Remove what came of a run; its name, or None when it is in use."""
    lock = directory / DIRECTORY / LOCK_FILE
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock_of(lock) as unused:
        if not unused:
            return None
        try:
            remote = remote_of(directory / DIRECTORY)
        except HostError:
            remote = None
        shutil.rmtree(directory)
        return directory.name if remote is None else remote.run
