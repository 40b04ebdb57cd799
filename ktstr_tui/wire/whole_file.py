"""Write files that are complete or not there, whatever happens meanwhile.

A file is written under another name and renamed. One that must outlast a crash of the host is flushed to the disk
before that, and its directory after it, without which a crash could still undo the rename.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_whole(path: Path, data: bytes, *, lasting: bool = True) -> None:
    """Write a file that is complete or not there, readable by its owner only. Blocks; raises ``OSError``.

    Args:
        path: Its place. The directory is made when there is none.
        data: What it holds.
        lasting: Whether it is on disk when this returns. False for what can be worked out again, and is checked when
            it is read: nobody waits for the disk then, and after a crash of the host it may be empty.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # mkstemp makes the file 0600.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            if lasting:
                os.fsync(file.fileno())
        Path(temporary).rename(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if lasting:
        sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Return when the names in a directory are on disk. Blocks; raises ``OSError``."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
