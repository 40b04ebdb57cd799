"""Notice that a directory of the run was removed while the run is in progress.

The run itself goes on: its sockets stay bound, its recording stays open. But nobody can find or attach to it any
more, and files written from now on are lost with the directory, so it is an alert, with what to do.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import trio

from ktstr_tui.backend.run_dirs import RunDirs, identity
from ktstr_tui.model.events import AlertRaised, Event

LOOK_EVERY_S = 2.0
"""Seconds between two looks."""


async def watch_directories(dirs: RunDirs, emit: Callable[[Event], object]) -> None:
    """Look at the directories of a run until both are gone or the task is cancelled.

    A data directory that a capture made again is another one: what was in the first is lost.

    Args:
        dirs: The directories.
        emit: Takes one `AlertRaised` event for each directory that is gone; it stays raised.
    """
    # While it is open, no directory that is made in its place can have its inode.
    handle = os.open(dirs.data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        await _watch(dirs, identity(dirs.data_dir), emit)
    finally:
        os.close(handle)


async def _watch(dirs: RunDirs, data_dir_id: tuple[int, int] | None, emit: Callable[[Event], object]) -> None:
    watched: list[tuple[str, str, Callable[[], bool]]] = [
        (
            "socket-directory",
            f"the run's socket directory {dirs.socket_dir} was removed: "
            "viewers can no longer attach to this run; end it here",
            dirs.is_intact,
        ),
        (
            "data-directory",
            f"the run's data directory {dirs.data_dir} was removed: its recording and captures are lost",
            lambda: identity(dirs.data_dir) == data_dir_id,
        ),
    ]
    while watched:
        await trio.sleep(LOOK_EVERY_S)
        for key, text, is_there in list(watched):
            if not is_there():
                watched.remove((key, text, is_there))
                emit(AlertRaised(key=key, kind="recording", severity="error", text=text))
