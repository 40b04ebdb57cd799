"""The memory of a snapshot as a typed view reads it: pages are loaded when they are first read.

It offers what `kernel.memory.GuestRam` offers over live memory, so everything that looks at a running guest looks at a
snapshot too. A question touches some hundred pages of the thirty thousand, so a snapshot opens at once wherever its
pages are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from ktstr_tui.guest import topology_args
from ktstr_tui.kernel.memory import OutOfRange
from ktstr_tui.memory.long_reads import LONG_BYTES, LongReads
from ktstr_tui.memory.pages import DIGEST_BYTES, PAGE_BYTES, ZERO, Pages
from ktstr_tui.memory.snapshot import Blob, Snapshot

_U64 = struct.Struct("<Q")


class _Segment(NamedTuple):
    guest_phys: int
    length: int
    blob: Blob
    first_page: int
    """Of the blob."""
    image_page: int
    """The same page, counted from the first one of the first node."""


class SnapshotRam:
    """Reads the RAM of a snapshot. Not for several threads at once.

    Args:
        snapshot: The snapshot.
        pages: Its pages; must stay open as long as this object is used.
        long_reads: Long reads that were made before; None for the user's.
    """

    def __init__(self, snapshot: Snapshot, pages: Pages, long_reads: LongReads | None = None) -> None:
        self._long_reads = LongReads() if long_reads is None else long_reads
        nodes = tuple(blob.size_bytes for blob in snapshot.memory)
        self._segments = [
            _Segment(
                it.guest_phys,
                it.length,
                snapshot.memory[it.fd_index],
                it.offset // PAGE_BYTES,
                (sum(nodes[: it.fd_index]) + it.offset) // PAGE_BYTES,
            )
            for it in topology_args.segments(nodes)
        ]
        self._pages = pages
        self._loaded: dict[bytes, bytes] = {}
        self._placed: dict[int, bytes] = {}
        """Pages that were read, by their number in guest-physical memory."""
        self.end = self._segments[-1].guest_phys + self._segments[-1].length

    @property
    def pages_loaded(self) -> int:
        """Different pages that were read so far."""
        return len(self._loaded)

    def read(self, phys: int, n: int) -> bytes:
        """``n`` bytes at guest-physical ``phys``.

        Raises:
            OutOfRange: Any of them lies outside RAM.
            DamagedError: A page is not what was stored.
        """
        known, offset = self._placed.get(phys // PAGE_BYTES), phys % PAGE_BYTES
        if known is not None and 0 <= n <= PAGE_BYTES - offset:
            return known[offset : offset + n]
        if n < 0:
            raise ValueError(f"negative length {n}")
        if n >= LONG_BYTES:
            return self._read_long(phys, n)
        return self._read_pages(phys, n)

    def _read_long(self, phys: int, n: int) -> bytes:
        start = phys - phys % PAGE_BYTES
        digests = b"".join(self.digest(at) for at in range(start, phys + n, PAGE_BYTES))
        data = self._long_reads.get(digests)
        if data is None:
            data = self._read_pages(start, len(digests) // DIGEST_BYTES * PAGE_BYTES)
            self._long_reads.keep(digests, data)
        return data[phys - start : phys - start + n]

    def _read_pages(self, phys: int, n: int) -> bytes:
        parts: list[bytes] = []
        at, end = phys, phys + n
        if n > PAGE_BYTES:
            self._load(at, end)
        while at < end:
            page = self._page(at)
            offset = at % PAGE_BYTES
            parts.append(page[offset : offset + end - at])
            at += len(parts[-1])
        return b"".join(parts)

    def u64(self, phys: int) -> int:
        """The little-endian word at ``phys``."""
        (value,) = _U64.unpack(self.read(phys, 8))
        return int(value)

    def segments(self) -> list[tuple[int, int]]:
        """Where RAM is, as ``(guest_phys, length)``, ascending."""
        return [(it.guest_phys, it.length) for it in self._segments]

    def data_ranges(self) -> Iterator[tuple[int, int]]:
        """Runs of pages that are not all zeros, as ``(guest_phys, length)``."""
        for segment in self._segments:
            start: int | None = None
            pages = segment.length // PAGE_BYTES
            for page in range(pages + 1):
                held = page < pages and segment.blob.digest(segment.first_page + page) != ZERO
                if held and start is None:
                    start = page
                elif not held and start is not None:
                    yield segment.guest_phys + start * PAGE_BYTES, (page - start) * PAGE_BYTES
                    start = None

    def page_heads(self, phys: int, length: int) -> Iterator[tuple[int, bytes]]:
        """The first byte of each page of a run from ``data_ranges``, as ``(guest_phys, bytes)``."""
        for at in range(phys, phys + length, PAGE_BYTES):
            yield at, self._page(at)[:1]

    def _load(self, start: int, end: int) -> None:
        """Load the pages of a range together, which matters where each would have to be asked for."""
        wanted = dict.fromkeys(self.digest(at) for at in range(start - start % PAGE_BYTES, end, PAGE_BYTES))
        missing = [digest for digest in wanted if digest != ZERO and digest not in self._loaded]
        self._loaded.update(zip(missing, self._pages.get_many(missing), strict=True))

    def _page(self, phys: int) -> bytes:
        digest = self.digest(phys)
        page = self._loaded.get(digest)
        if page is None:
            page = self._loaded[digest] = self._pages.get(digest)
        self._placed[phys // PAGE_BYTES] = page
        return page

    def digest(self, phys: int) -> bytes:
        """What names the page at ``phys``.

        Raises:
            OutOfRange: It lies outside RAM.
        """
        for segment in self._segments:
            if segment.guest_phys <= phys < segment.guest_phys + segment.length:
                return segment.blob.digest(segment.first_page + (phys - segment.guest_phys) // PAGE_BYTES)
        raise OutOfRange(f"guest-physical {phys:#x} is outside RAM", phys)

    def page_number(self, phys: int) -> int:
        """Which page of the image, one NUMA node behind the other, is at ``phys``.

        Raises:
            OutOfRange: It lies outside RAM.
        """
        for segment in self._segments:
            if segment.guest_phys <= phys < segment.guest_phys + segment.length:
                return segment.image_page + (phys - segment.guest_phys) // PAGE_BYTES
        raise OutOfRange(f"guest-physical {phys:#x} is outside RAM", phys)
