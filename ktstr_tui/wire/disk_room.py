"""Room on disk: of what may take so much and no more, that which was used longest ago goes until the rest fits.

What may not go stays whatever it takes, and counts: the others make room for it. When something was used last its owner
knows, and hands over everything in that order; for most it is the time of a file, which `by_last_use` sorts by.

Disk is counted in blocks, as ``du`` does: a file with holes takes less than its length.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

_BLOCK_BYTES = 512
_T = TypeVar("_T")


def make_room(
    entries: Iterable[tuple[_T, int]],
    limit_bytes: int,
    remove: Callable[[_T], bool],
    stays: Callable[[_T], bool] = lambda _: False,
) -> tuple[list[_T], int]:
    """Remove what was used longest ago, until the rest fits.

    Args:
        entries: Each with the disk that it takes in bytes; what was used longest ago first.
        limit_bytes: Disk that all of them may take.
        remove: Removes one; False when it has to stay after all. Not called for more than necessary.
        stays: Whether one may not go.

    Returns:
        What went, in that order, and what the rest takes in bytes.
    """
    known = list(entries)
    left_bytes = sum(size_bytes for _, size_bytes in known)
    removed: list[_T] = []
    for entry, size_bytes in known:
        if left_bytes <= limit_bytes:
            break
        if not stays(entry) and remove(entry):
            removed.append(entry)
            left_bytes -= size_bytes
    return removed, left_bytes


def by_last_use(paths: Iterable[Path]) -> list[Path]:
    """Sort files by the time that each of them has, the earliest first; without those that are gone meanwhile."""
    dated = []
    for path in paths:
        with suppress(OSError):
            dated.append((path.stat().st_mtime_ns, path))
    return [path for _, path in sorted(dated)]


def disk_bytes(path: Path) -> int:
    """Disk that the files below a directory take; those with several names count once, links are not followed."""
    total, seen = 0, set()
    for base, _, files in os.walk(path):
        for name in files:
            with suppress(OSError):
                status = os.lstat(os.path.join(base, name))
                key = (status.st_dev, status.st_ino)
                if stat.S_ISREG(status.st_mode) and key not in seen:
                    seen.add(key)
                    total += status.st_blocks * _BLOCK_BYTES
    return total


def remove_tree(directory: Path) -> bool:
    """Remove a directory with what is in it, for `make_room`. What cannot be removed is left."""
    shutil.rmtree(directory, ignore_errors=True)
    return True
