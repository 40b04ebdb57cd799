"""Locks of files that end with the process that holds them, however it ends (``flock``)."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def try_lock(handle: int) -> bool:
    """Lock what a descriptor has open, for as long as it is open; False when somebody else holds a lock on it.

    Raises:
        OSError: It cannot be locked at all.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def lock_of(path: Path) -> Iterator[bool]:
    """Take the lock that a file stands for, which is made where there is none; whether it was free.

    Raises:
        OSError: The file cannot be made or opened.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield try_lock(handle)
    finally:
        os.close(handle)
