"""Memory of snapshots that was restored before, unpacked: the second restore of a snapshot copies and unpacks nothing.

An image is named by the digests of all its pages, so it belongs to that memory and no other. It is made of pages that
were checked, and is used only while the host that wrote it is up, as saved boots are: what a power cut left in a file
is not worth a check of every byte at each restore.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ktstr_tui.guest.paths import cache_dir
from ktstr_tui.guest.ram import copy_data
from ktstr_tui.guest.saved_boots import host_boot
from ktstr_tui.memory.snapshot import Snapshot
from ktstr_tui.wire.disk_room import by_last_use, disk_bytes, make_room, remove_tree

LIMIT_BYTES = 1 << 30
"""Disk that all of them may take; the one that was not used for the longest time goes first."""
SPARE_BYTES = 1 << 30
"""Disk that is left to others: none is kept when there would be less."""
_NEW = ".new-"


class RawCache:
    """The images of this user.

    Args:
        directory: Where they are; None for their place in the user's cache.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or cache_dir() / "restored"

    def copy_to(self, snapshot: Snapshot, ram_fds: Sequence[int]) -> bool:
        """Fill empty RAM files from the image of a snapshot; False, with nothing filled, when there is none."""
        image = self.directory / _name(snapshot)
        try:
            sources = [
                os.open(image / f"ram{index}", os.O_RDONLY | os.O_CLOEXEC) for index in range(len(ram_fds))
            ]
        except OSError:
            return False
        try:
            for source, target in zip(sources, ram_fds, strict=True):
                copy_data(source, target)
            with suppress(OSError):
                os.utime(image)
        finally:
            for source in sources:
                os.close(source)
        return True

    def keep(self, snapshot: Snapshot, ram_fds: Sequence[int]) -> None:
        """Keep the image of RAM files that were just filled. That it cannot be kept is no failure of the restore."""
        with suppress(OSError):
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            if shutil.disk_usage(self.directory).free < LIMIT_BYTES + SPARE_BYTES:
                return
            written = Path(tempfile.mkdtemp(prefix=_NEW, dir=self.directory))
            try:
                for index, source in enumerate(ram_fds):
                    with open(written / f"ram{index}", "wb") as file:
                        copy_data(source, file.fileno())
                written.rename(self.directory / _name(snapshot))
            finally:
                shutil.rmtree(written, ignore_errors=True)  # what was finished has another name by now
            images = [(it, disk_bytes(it)) for it in by_last_use(self.directory.iterdir())]
            make_room(images, LIMIT_BYTES, remove_tree)


def _name(snapshot: Snapshot) -> str:
    digest = hashlib.blake2b(host_boot().encode(), digest_size=20)
    for blob in snapshot.memory:
        digest.update(blob.size_bytes.to_bytes(8, "little"))
        digest.update(blob.digests)
    return digest.hexdigest()
