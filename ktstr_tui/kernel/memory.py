"""Guest RAM as the host sees it: physical addresses to bytes.

The RAM file is mapped, so a read costs a copy and needs neither the guest's help nor a pause. On q35 the RAM
above the PCI hole continues at 4 GiB, so there are two segments over one file. The hard thing is that a
*hole* of a shared memfd allocates a page when it is read through a mapping: a scan must ask the file
system where data is (``data_ranges``), or the scan inflates the guest to its full size.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from ktstr_tui.model.errors import GuestError

PAGE_BYTES = 4096
_SCAN_BYTES = 1 << 20


class MemoryReadError(GuestError):
    """An address has no memory behind it: it is garbage, or the kernel changed it while it was read.

    Args:
        address: The address that could not be read.
    """

    def __init__(self, message: str, address: int) -> None:
        super().__init__(message)
        self.address = address


class OutOfRange(MemoryReadError):
    """A guest-physical address outside RAM."""


class Segment(NamedTuple):
    """A run of guest RAM that is contiguous in the file."""

    guest_phys: int
    length: int
    fd: int
    file_offset: int
    view: mmap.mmap


class PhysicalMemory(Protocol):
    """What a typed view needs of memory: live RAM, a snapshot and a test's dictionary all offer it."""

    def read(self, phys: int, n: int) -> bytes:
        """``n`` bytes at guest-physical ``phys``; raises ``OutOfRange``."""
        ...

    def u64(self, phys: int) -> int:
        """The little-endian word at ``phys``; raises ``OutOfRange``."""
        ...

    @property
    def end(self) -> int:
        """The first guest-physical address behind all RAM."""
        ...

    def data_ranges(self) -> Iterator[tuple[int, int]]:
        """Runs of ``(guest_phys, length)`` that may hold data."""
        ...


class RamImage(PhysicalMemory, Protocol):
    """Memory that can be searched besides, as whoever looks for the kernel in it must."""

    def page_heads(self, phys: int, length: int) -> Iterator[tuple[int, bytes]]:
        """The first byte of each page of a run from ``data_ranges``, in pieces of ``(guest_phys, bytes)``."""
        ...


class GuestRam:
    """Guest RAM over mapped files. Safe to read from any thread; nothing in it changes after construction.

    Args:
        segments: Disjoint runs of RAM in any order.
    """

    def __init__(self, segments: Iterable[Segment]) -> None:
        self._segments = sorted(segments)
        if not self._segments:
            raise ValueError("guest RAM needs at least one segment")
        first = self._segments[0]
        self._view, self._base, self._limit = first.view, first.guest_phys, first.guest_phys + first.length
        self.end = self._segments[-1].guest_phys + self._segments[-1].length

    @classmethod
    def from_fds(cls, parts: Iterable[tuple[int, int, int, int]]) -> GuestRam:
        """Map RAM from open files.

        Args:
            parts: ``(fd, file_offset, guest_phys, length)`` each; offsets are multiples of the page size. The
                descriptors are duplicated, so the caller may close its own.
        """
        segments = []
        for fd, file_offset, guest_phys, length in parts:
            own = os.dup(fd)
            view = mmap.mmap(own, length, mmap.MAP_SHARED, mmap.PROT_READ, offset=file_offset)
            segments.append(Segment(guest_phys, length, own, file_offset, view))
        return cls(segments)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], guest_phys: int = 0) -> GuestRam:
        """Map a whole file as one segment that starts at ``guest_phys``."""
        fd = os.open(Path(path), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return cls.from_fds([(fd, 0, guest_phys, os.fstat(fd).st_size)])
        finally:
            os.close(fd)

    def read(self, phys: int, n: int) -> bytes:
        """``n`` bytes at guest-physical ``phys``, which may span adjacent segments.

        Raises:
            OutOfRange: If any of them lies outside RAM. Never returns zeros in place of absent memory.
        """
        if self._base <= phys and phys + n <= self._limit and n >= 0:
            at = phys - self._base
            return self._view[at : at + n]
        return self._read_slow(phys, n)

    def u64(self, phys: int) -> int:
        """The little-endian word at ``phys``."""
        if self._base <= phys and phys + 8 <= self._limit:
            (value,) = _U64.unpack_from(self._view, phys - self._base)
        else:
            (value,) = _U64.unpack(self._read_slow(phys, 8))
        return int(value)

    def _read_slow(self, phys: int, n: int) -> bytes:
        if n < 0:
            raise ValueError(f"negative length {n}")
        parts = []
        at, end = phys, phys + n
        for segment in self._segments:
            if segment.guest_phys <= at < segment.guest_phys + segment.length and at < end:
                offset = at - segment.guest_phys
                part = segment.view[offset : min(offset + end - at, segment.length)]
                parts.append(part)
                at += len(part)
        if at != end:
            raise OutOfRange(f"guest-physical {at:#x} is outside RAM (read of {n} bytes at {phys:#x})", at)
        return b"".join(parts)

    def data_ranges(self) -> Iterator[tuple[int, int]]:
        """Runs of RAM that the guest has touched, as ``(guest_phys, length)``."""
        for segment in self._segments:
            at, end = segment.file_offset, segment.file_offset + segment.length
            while at < end:
                try:
                    start = os.lseek(segment.fd, at, os.SEEK_DATA)
                except OSError:
                    break
                stop = min(os.lseek(segment.fd, start, os.SEEK_HOLE), end)
                if start < stop:
                    yield segment.guest_phys + start - segment.file_offset, stop - start
                at = max(stop, start + 1)

    def page_heads(self, phys: int, length: int) -> Iterator[tuple[int, bytes]]:
        """Read the first byte of each page of a run from ``data_ranges``, in pieces of ``(guest_phys, bytes)``.

        Copies through one small buffer instead of touching the mapping: a first touch of a mapped page costs
        a page fault, which for a scan is many times the price of the copy.
        """
        segment = next((s for s in self._segments if s.guest_phys <= phys < s.guest_phys + s.length), None)
        if segment is None or phys + length > segment.guest_phys + segment.length:
            raise OutOfRange(f"no segment holds {length} bytes at {phys:#x}", phys)
        buffer = bytearray(min(length, _SCAN_BYTES))
        at = phys
        while at < phys + length:
            offset = segment.file_offset + at - segment.guest_phys
            got = os.preadv(segment.fd, [memoryview(buffer)[: min(phys + length - at, _SCAN_BYTES)]], offset)
            if got <= 0:
                return
            yield at, bytes(buffer[:got:PAGE_BYTES])
            at += got

    def close(self) -> None:
        """Unmap and close; reads raise ``ValueError`` afterwards."""
        for segment in self._segments:
            segment.view.close()
            os.close(segment.fd)


_U64 = struct.Struct("<Q")
