"""The RAM of a guest whose pages are still being loaded, as a typed view reads it.

A page that is there is read from the guest's memory. One that is missing holds what the snapshot holds, for nobody has
touched it yet, so it is read from there: looking loads nothing into the guest, waits for nobody, and above all never
reads a hole of a RAM file through a mapping, of which the kernel would make a page of zeros, for the guest, too.

How exact is this? Between a page's arrival and the bit that tells of it pass microseconds, in which a write of the
running guest to that page is not seen. While the guest is stopped nothing arrives.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from typing import Protocol

from ktstr_tui.kernel.memory import GuestRam
from ktstr_tui.memory.long_reads import LONG_BYTES
from ktstr_tui.memory.pages import PAGE_BYTES
from ktstr_tui.memory.stored_ram import SnapshotRam

_U64 = struct.Struct("<Q")


class Arrivals(Protocol):
    """Knows which pages are there."""

    @property
    def resident(self) -> bool:
        """Whether all are."""
        ...

    def is_there(self, page: int) -> bool:
        """Whether a page of the image is, by number."""
        ...


class LazyRam:
    """Reads RAM that is being loaded. Safe to read from any thread.

    Args:
        live: The RAM files.
        stored: The snapshot that they are loaded from.
        arrivals: Tells what is there.
    """

    def __init__(self, live: GuestRam, stored: SnapshotRam, arrivals: Arrivals) -> None:
        self._live, self._stored, self._arrivals = live, stored, arrivals
        self._lock = threading.Lock()
        # By guest-physical page: its number in the image, and what the snapshot holds of it.
        self._numbers: dict[int, int] = {}
        self._held: dict[int, bytes] = {}
        self.end = live.end

    def read(self, phys: int, n: int) -> bytes:
        """``n`` bytes at guest-physical ``phys``.

        Raises:
            OutOfRange: Any of them lies outside RAM.
            DamagedError: A page that is still in the snapshot is not what was stored.
        """
        if n < 0 or self._arrivals.resident:
            return self._live.read(phys, n)
        if phys % PAGE_BYTES + n <= PAGE_BYTES:
            return self._read_in_page(phys, n)
        if n >= LONG_BYTES:
            return self._read_long(phys, n)
        parts: list[bytes] = []
        at, end = phys, phys + n
        while at < end:
            stop = min(end, at - at % PAGE_BYTES + PAGE_BYTES)
            parts.append(self._read_in_page(at, stop - at))
            at = stop
        return b"".join(parts)

    def u64(self, phys: int) -> int:
        """The little-endian word at ``phys``."""
        if self._arrivals.resident:
            return self._live.u64(phys)
        (value,) = _U64.unpack(self.read(phys, 8))
        return int(value)

    def data_ranges(self) -> Iterator[tuple[int, int]]:
        """Runs of pages that may hold data: those of the snapshot, until all of them are loaded."""
        return self._live.data_ranges() if self._arrivals.resident else self._stored.data_ranges()

    def page_heads(self, phys: int, length: int) -> Iterator[tuple[int, bytes]]:
        """The first byte of each page of a run from ``data_ranges``, as ``(guest_phys, bytes)``."""
        for at in range(phys, phys + length, PAGE_BYTES):
            yield at, self.read(at, 1)

    def _read_long(self, phys: int, n: int) -> bytes:
        """Read what the snapshot holds at once, and in its place what is there."""
        with self._lock:
            data = bytearray(self._stored.read(phys, n))
        at, end = phys, phys + n
        while at < end:
            stop = min(end, at - at % PAGE_BYTES + PAGE_BYTES)
            if self._arrivals.is_there(self._stored.page_number(at)):
                data[at - phys : stop - phys] = self._live.read(at, stop - at)
            at = stop
        return bytes(data)

    def _read_in_page(self, phys: int, n: int) -> bytes:
        number = phys // PAGE_BYTES
        image_page = self._numbers.get(number)
        if image_page is None:
            image_page = self._numbers[number] = self._stored.page_number(phys)
        if self._arrivals.is_there(image_page):
            return self._live.read(phys, n)
        page = self._held.get(number)
        if page is None:
            with self._lock:
                page = self._held[number] = self._stored.read(number * PAGE_BYTES, PAGE_BYTES)
        return page[phys % PAGE_BYTES : phys % PAGE_BYTES + n]
