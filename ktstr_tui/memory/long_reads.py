"""Long stretches of a snapshot's memory that were read before, unpacked: the tables in which a kernel describes itself.

Its types, its symbols and its unwind tables are 13 MiB that never change while it is up, and are the same at every boot
of that kernel. Whoever reads a snapshot by type needs all of them first; unpacking and checking their 3,200 pages is
more work than all the rest of that, and from another machine they would have to travel.

A stretch is named by the digests of its pages, so it belongs to that content and no other, and was checked when it was
made. Its checksum is compared when it is read; one that is damaged is removed.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from contextlib import suppress
from pathlib import Path

from ktstr_tui.guest.paths import cache_dir
from ktstr_tui.wire.disk_room import by_last_use, make_room
from ktstr_tui.wire.whole_file import write_whole

LONG_BYTES = 256 << 10
"""Reads from this length on are kept."""
LIMIT_BYTES = 128 << 20
"""Disk that all of them may take, about ten kernels; what was not used for the longest time goes first."""
_CRC_BYTES = 4


class LongReads:
    """The stretches of this user.

    Args:
        directory: Where they are; None for their place in the user's cache.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or cache_dir() / "tables"

    def get(self, digests: bytes) -> bytes | None:
        """What pages of these digests hold, one behind the other; None when that is not kept."""
        path = self.directory / _name(digests)
        with suppress(OSError):
            data = path.read_bytes()
            crc, content = data[:_CRC_BYTES], data[_CRC_BYTES:]
            if content and int.from_bytes(crc, "little") == zlib.crc32(content):
                os.utime(path)
                return content
            path.unlink()
        return None

    def keep(self, digests: bytes, data: bytes) -> None:
        """Keep what such pages hold. That it cannot be kept is no failure of the read."""
        with suppress(OSError):
            crc = zlib.crc32(data).to_bytes(_CRC_BYTES, "little")
            write_whole(self.directory / _name(digests), crc + data)
            files = [(it, it.stat().st_size) for it in by_last_use(self.directory.iterdir())]
            make_room(files, LIMIT_BYTES, _remove)


def _name(digests: bytes) -> str:
    return hashlib.blake2b(digests, digest_size=20).hexdigest()


def _remove(path: Path) -> bool:
    path.unlink(missing_ok=True)
    return True
