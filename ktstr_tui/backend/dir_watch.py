"""Notice that a directory of the run was removed while the run is in progress.

The run itself goes on: its sockets stay bound, its recording stays open. But nobody can find or attach to it any
more, and files written from now on are lost with the directory, so it is said once, with what to do.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from ktstr_tui.backend.run_dirs import RunDirs
from ktstr_tui.model.events import Event, Logged

LOOK_EVERY_S = 2.0
"""Seconds between two looks."""


async def watch_directories(dirs: RunDirs, emit: Callable[[Event], object]) -> None:
    """Look at the directories of a run until both are gone or the task is cancelled.

    Args:
        dirs: The directories.
        emit: Takes one `Logged` event for each directory that is gone.
    """
    watched: list[tuple[str, Callable[[], bool]]] = [
        (
            f"the run's socket directory {dirs.socket_dir} was removed: "
            "viewers can no longer attach to this run; end it here",
            dirs.is_intact,
        ),
        (
            f"the run's data directory {dirs.data_dir} was removed: its recording and captures are lost",
            dirs.data_dir.is_dir,
        ),
    ]
    while watched:
        await trio.sleep(LOOK_EVERY_S)
        for text, is_there in list(watched):
            if not is_there():
                watched.remove((text, is_there))
                emit(Logged(severity="error", source="backend", text=text))
