"""A snapshot as what a machine starts from: its RAM is filled from the store, its state written for QEMU to load.

Filling is eager or lazy. Eager, every page is unpacked and checked against its digest before the guest runs, so what
is damaged is found then; or it is copied from an image that was made so (`raw_cache`). Lazy, a pager (`memory.pager`)
brings each page when it is touched, checked too; `RestoredOrigin.page_with` chooses that.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from ktstr_tui.guest.initramfs import guest_directory
from ktstr_tui.guest.origin import Paging
from ktstr_tui.guest.ram import LOADING
from ktstr_tui.kernel.memory import GuestRam, RamImage
from ktstr_tui.memory.explore import blob_bytes
from ktstr_tui.memory.lazy_ram import LazyRam
from ktstr_tui.memory.pager import Pager
from ktstr_tui.memory.pages import PAGE_BYTES, ZERO, Pages
from ktstr_tui.memory.raw_cache import RawCache
from ktstr_tui.memory.remote_pages import RemotePages, open_pages
from ktstr_tui.memory.snapshot import Blob, Snapshot, read_snapshot
from ktstr_tui.memory.stored_ram import SnapshotRam

_CHUNK_PAGES = 2048
SHIM = "ktstr-pager-shim.so"


class RestoredOrigin:
    """The instant of a snapshot, for one machine.

    Args:
        path: The snapshot's file.
        directory: Where the state is written for QEMU; the file is removed with `close`.
        cache: Memory that was unpacked before; None for the user's.

    Raises:
        KtstrError: The snapshot is damaged, or cannot be read.
        OSError: The state cannot be written.
    """

    def __init__(self, path: Path, directory: Path, cache: RawCache | None = None) -> None:
        self._cache = RawCache() if cache is None else cache
        self.snapshot: Snapshot = read_snapshot(path)
        self.filled_pages = 0
        """Of RAM, by `copy_ram`."""
        self.fill_ms = 0.0
        """How long that took."""
        self.pager: Pager | None = None
        """Loads the RAM when it is touched; None when it is filled before."""
        self.resident = False
        """Whether a pager has loaded all of it."""
        self._loading: IO[bytes] | None = None
        self._stack = ExitStack()
        self.pages = open_pages(path.parent)
        """Those of the snapshot, which may lie on another machine."""
        self._stack.callback(self.pages.close)
        self._state = directory / f".restore-{os.getpid()}-{id(self):x}"
        self._stack.callback(self._state.unlink, missing_ok=True)
        try:
            self._state.write_bytes(blob_bytes(self.pages, self.snapshot.state))
        except BaseException:
            self.close()
            raise

    @property
    def state(self) -> Path:
        """State of vCPUs and devices."""
        return self._state

    @property
    def remote(self) -> RemotePages | None:
        """The pages, when they lie on another machine."""
        return self.pages if isinstance(self.pages, RemotePages) else None

    @property
    def console(self) -> bytes:
        """Nothing: the console of before belongs to the run of before."""
        return b""

    @property
    def paging(self) -> Paging | None:
        """How QEMU has the RAM loaded when it is touched."""
        if self.pager is None:
            return None
        return Paging(guest_directory() / SHIM, self.pager.handoff.fileno())

    @property
    def pages_left(self) -> int:
        """Pages of data that are not loaded; 0 when the RAM is filled before the guest runs."""
        return 0 if self.pager is None or self.resident else self.pager.statistics().left

    def is_there(self, page: int) -> bool:
        """Whether a page of the image is in the guest's memory, by number."""
        return self.resident or self.pager is None or self.pager.is_there(page)

    def load(self, phys: int, length: int) -> None:
        """Have memory loaded before somebody writes to it. Blocks.

        Raises:
            KtstrError: It cannot be had.
        """
        if self.pager is not None and not self.resident:
            stored = SnapshotRam(self.snapshot, self.pages)
            first, last = stored.page_number(phys), stored.page_number(phys + length - 1)
            self.pager.load(first, last - first + 1)

    def page_with(self, pager: Pager) -> None:
        """Have the RAM loaded by a pager of this snapshot, in place of filling it."""
        self.pager = pager
        # Who reads the RAM files from outside would make zeros of what is missing: this keeps them away.
        self._loading = self._stack.enter_context(os.fdopen(os.memfd_create(LOADING), "rb"))

    def arrived(self) -> None:
        """All of the RAM is there."""
        self.resident = True
        if self._loading is not None:
            self._loading.close()

    def readable(self, live: GuestRam) -> RamImage:
        """The RAM as whoever looks at the guest reads it.

        Args:
            live: The RAM files.
        """
        if self.pager is None:
            return live
        return LazyRam(live, SnapshotRam(self.snapshot, self.pages), self)

    def copy_ram(self, ram_fds: Sequence[int]) -> None:
        """Fill the RAM files, unless there is a pager; zeros stay holes.

        Raises:
            DamagedError: A page is not what was stored.
            OSError: There is no memory.
        """
        if self.pager is not None:
            return
        began_s = time.monotonic()
        if self._cache.copy_to(self.snapshot, ram_fds):
            self.filled_pages = sum(blob.pages - blob.zero_pages for blob in self.snapshot.memory)
        else:
            for blob, fd in zip(self.snapshot.memory, ram_fds, strict=True):
                self.filled_pages += _fill(self.pages, blob, fd)
            self._cache.keep(self.snapshot, ram_fds)
        self.fill_ms = (time.monotonic() - began_s) * 1e3

    def close(self) -> None:
        """Remove the state's file and close the store."""
        self._stack.close()


def _fill(pages: Pages, blob: Blob, fd: int) -> int:
    filled = 0
    for first in range(0, blob.pages, _CHUNK_PAGES):
        wanted = [
            (page, digest)
            for page in range(first, min(first + _CHUNK_PAGES, blob.pages))
            if (digest := blob.digest(page)) != ZERO
        ]
        found = pages.get_many([digest for _, digest in wanted])
        at = 0
        while at < len(wanted):
            stop = at + 1
            while stop < len(wanted) and wanted[stop][0] == wanted[stop - 1][0] + 1:
                stop += 1
            os.pwrite(fd, b"".join(found[at:stop]), wanted[at][0] * PAGE_BYTES)
            at = stop
        filled += len(wanted)
    return filled
