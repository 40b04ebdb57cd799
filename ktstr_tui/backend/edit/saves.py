"""Which files are watched, and when one of them is saved.

Editors do not write a file: they write another one and rename it. So directories are watched, not files, and what
happens to other files in them is left out. The library watches with inotify; it gathers what happens within
milliseconds, so that a save of several files is one. It has a thread that nobody counts among those at work: a run with
a seed waits at each station until all of those are done (`come_to_rest`), and this one never is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import trio
from watchfiles import watch

from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.model.text import counted

SOURCES = ("*.c", "*.h", "*.rs", "*.toml", "Makefile", "makefile", "GNUmakefile", "*.mk")
"""What is watched beside the object, when nothing else is said."""
MAX_FILES = 1000
QUIET_MS = 50
"""After a save, for so long nothing else may happen before it is taken for one."""


def sources_beside(scheduler: Path) -> tuple[Path, ...]:
    """The sources in the directory of an object.

    Raises:
        UsageError: There is none.
    """
    directory = scheduler.absolute().parent
    found = sorted({path for pattern in SOURCES for path in directory.glob(pattern) if path.is_file()})
    if not found:
        raise UsageError(
            f"there are no sources ({', '.join(SOURCES)}) beside {scheduler}",
            "name the files to watch with --watch-file",
        )
    return tuple(found[:MAX_FILES])


def files_to_watch(given: Sequence[str], scheduler: Path) -> tuple[Path, ...]:
    """The files that were named, or the sources beside the object.

    Raises:
        UsageError: One is not there, or nothing was named and there are no sources.
    """
    if not given:
        return sources_beside(scheduler)
    paths = tuple(Path(it).expanduser().absolute() for it in given)
    for path in paths:
        if not path.parent.is_dir():
            raise UsageError(
                f"cannot watch {path}: there is no directory {path.parent}", "check --watch-file"
            )
    return paths


async def watch_saves(files: Sequence[Path], saved: Callable[[Sequence[Path]], object]) -> None:
    """Call ``saved`` with the files of each save, until cancelled.

    Raises:
        HostError: The host cannot watch them.
    """
    wanted = {str(path) for path in files}
    directories = sorted({path.parent for path in files})
    stop = threading.Event()

    def look() -> None:
        for changes in watch(
            *directories,
            watch_filter=lambda change, path: path in wanted,
            step=QUIET_MS,
            debounce=10 * QUIET_MS,
            stop_event=stop,
            recursive=False,
        ):
            trio.from_thread.run_sync(saved, sorted({Path(path) for _change, path in changes}))

    try:
        await trio.to_thread.run_sync(look, limiter=trio.CapacityLimiter(1), abandon_on_cancel=True)
    except OSError as error:
        raise HostError(
            f"cannot watch {counted(len(wanted), 'file')}: {error.strerror or error}",
            "raise fs.inotify.max_user_watches, or build with the key r",
        ) from error
    finally:
        stop.set()
