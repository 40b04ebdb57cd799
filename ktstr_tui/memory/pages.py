"""Pages by their content: each is kept once, however many snapshots hold it.

The hard thing is to lose nothing to a crash. The file only grows::

    magic | record | record | ...        record = header (digest, length, kind, crc of the header) + stored bytes

A snapshot is committed (`ktstr_tui.memory.store`) only after the pages that it names are on disk, so whatever a crash
leaves behind the last whole record belongs to nobody, and is cut off by the next writer. Every page is checked against
its digest before anybody sees it, so a flipped bit is an error and never data. Pages of zeros are not kept: their
digest is `ZERO`.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec
import zstandard

from ktstr_tui._native import ffi, lib
from ktstr_tui.model.errors import HostError

PAGE_BYTES = 4096
DIGEST_BYTES = 16
ZERO = bytes(DIGEST_BYTES)
"""The digest of a page of zeros, which is not kept."""
MAGIC = b"KTPAGES1"

_HEADER = struct.Struct("<16sHHI")
"""Digest, stored length in bytes, kind, CRC-32 of the fields before it."""
_RAW, _ZSTD = 0, 1
_SIZE = struct.Struct("=Q")
_DIGEST = struct.Struct("16s")
_NOT_READ = (OSError, struct.error, zstandard.ZstdError, MemoryError)
"""What reading a damaged record ends in; one may claim to need more memory than there is."""
_COPIED_AT_ONCE = 2048
_WINDOW_BYTES = 1 << 20
"""Read at once to find records."""
_ZEROS = bytes(PAGE_BYTES)
_LEVEL = 1
"""Of zstd: memory of a kernel shrinks to a third, and the next level costs twice the time for a twentieth less."""


class DamagedError(HostError):
    """A stored file does not hold what was written to it."""


class PagesStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What a file of pages holds."""

    pages: int
    """Different ones."""
    bytes: int
    """Of the file."""
    torn_bytes: int
    """What a crash had left behind the last whole record, and was cut off."""
    damaged_at: int | None
    """Offset from which on headers are damaged; None when all are whole."""


def digest_of(page: bytes) -> bytes:
    """The digest of a page; `ZERO` for one of zeros."""
    return ZERO if page == _ZEROS else hashlib.blake2b(page, digest_size=DIGEST_BYTES).digest()


class Pages(Protocol):
    """Pages by digest, wherever they are."""

    def get(self, digest: bytes) -> bytes:
        """The page of that digest."""
        ...

    def get_many(self, digests: Sequence[bytes]) -> list[bytes]:
        """The pages of several digests, none of them `ZERO`."""
        ...


def unpacked_page(stored: bytes) -> bytes:
    """A page of what is stored of it, whose sender is not trusted; the caller compares it with its digest.

    Raises:
        ZstdError: It cannot be unpacked, or is longer than a page.
    """
    if len(stored) == PAGE_BYTES:
        return stored
    if zstandard.frame_content_size(stored) > PAGE_BYTES:
        raise zstandard.ZstdError("it is longer than a page")
    try:
        return zstandard.ZstdDecompressor().decompress(stored, max_output_size=PAGE_BYTES)
    except MemoryError as error:
        raise zstandard.ZstdError("it claims to need more memory than there is") from error


class PageFile:
    """A file of pages, open for reading, or by its one writer for adding.

    Args:
        path: The file; made when it is missing and ``writing``.
        writing: Whether pages may be added. The caller sees to it that there is one writer.

    Raises:
        DamagedError: It is no such file.
        HostError: It cannot be opened.
    """

    def __init__(self, path: Path, *, writing: bool = False) -> None:
        self._path = path
        self._writing = writing
        self._trimmed = 0
        self._damaged_at: int | None = None
        self._offsets: dict[bytes, int] = {}
        # The checksum is what the pager compares at a fault, where a digest takes longer than all the rest.
        self._pack = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
        self._unpack = zstandard.ZstdDecompressor()
        flags = (os.O_RDWR | os.O_CREAT) if writing else os.O_RDONLY
        try:
            self._fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise HostError(f"cannot open {path}: {error.strerror}", "is the snapshot complete?") from error
        try:
            self._end = self._index()
        except BaseException:
            os.close(self._fd)
            raise

    def add(self, pages: Iterable[bytes]) -> tuple[bytes, int]:
        """Keep pages that are not kept yet.

        Returns:
            The digests of all of them, one behind the other, and how many were new.

        Raises:
            HostError: No space is left; what was added before stays.
        """
        digests, records = bytearray(), bytearray()
        new: dict[bytes, int] = {}
        for page in pages:
            digest = digest_of(page)
            digests += digest
            if digest == ZERO or digest in self._offsets or digest in new:
                continue
            new[digest] = self._end + len(records)
            records += self._record(digest, page)
        self._append(bytes(records))
        self._offsets.update(new)
        return bytes(digests), len(new)

    def get(self, digest: bytes) -> bytes:
        """The page of that digest.

        Raises:
            DamagedError: It is not there, or is not what it was.
        """
        if digest == ZERO:
            return _ZEROS
        offset = self._offsets.get(digest)
        if offset is None:
            raise DamagedError(f"{self._path} lacks page {digest.hex()}", _LOST)
        try:
            header = os.pread(self._fd, _HEADER.size, offset)
            _, length, kind, _ = _HEADER.unpack(header)
            stored = os.pread(self._fd, length, offset + _HEADER.size)
            page = stored if kind == _RAW else self._unpack.decompress(stored, max_output_size=PAGE_BYTES)
        except _NOT_READ as error:
            raise DamagedError(
                f"page {digest.hex()} of {self._path} cannot be read: {error}", _LOST
            ) from error
        if len(page) != PAGE_BYTES or digest_of(page) != digest:
            raise DamagedError(f"page {digest.hex()} of {self._path} is not what was stored", _LOST)
        return page

    def stored(self, digest: bytes) -> bytes:
        """A page as it is stored, which `unpacked_page` unpacks; unchecked.

        Raises:
            DamagedError: It is not there.
        """
        offset = self._offsets.get(digest)
        record = b"" if offset is None else os.pread(self._fd, _HEADER.size + PAGE_BYTES, offset)
        if len(record) < _HEADER.size:
            raise DamagedError(f"{self._path} lacks page {digest.hex()}", _LOST)
        _, length, _, _ = _HEADER.unpack_from(record)
        return record[_HEADER.size : _HEADER.size + length]

    def get_many(self, digests: Sequence[bytes]) -> list[bytes]:
        """The pages of several digests, none of them `ZERO`, unpacked together without the interpreter's lock.

        Raises:
            DamagedError: One of them is not there, or is not what it was.
        """
        frames: dict[bytes, bytes] = {}
        pages: dict[bytes, bytes] = {}
        for digest in dict.fromkeys(digests):
            offset = self._offsets.get(digest)
            record = b"" if offset is None else os.pread(self._fd, _HEADER.size + PAGE_BYTES, offset)
            if len(record) < _HEADER.size:
                pages[digest] = self.get(digest)
                continue
            _, length, kind, _ = _HEADER.unpack_from(record)
            if kind == _ZSTD:
                frames[digest] = record[_HEADER.size : _HEADER.size + length]
            else:
                pages[digest] = self.get(digest)
        pages.update(self._unpacked(frames))
        return [pages[digest] for digest in digests]

    def _unpacked(self, frames: dict[bytes, bytes]) -> Iterator[tuple[bytes, bytes]]:
        if not frames:
            return
        try:
            unpacked = self._unpack.multi_decompress_to_buffer(
                list(frames.values()), decompressed_sizes=_SIZE.pack(PAGE_BYTES) * len(frames), threads=-1
            )
        except (zstandard.ZstdError, ValueError, TypeError, MemoryError):
            yield from ((digest, self.get(digest)) for digest in frames)  # which names the damaged one
            return
        for index, digest in enumerate(frames):
            page = unpacked[index].tobytes()
            yield digest, page if digest_of(page) == digest else self.get(digest)

    def has_more_than(self, wanted: Set[bytes]) -> bool:
        """Whether there are bytes that are no page of these: other pages, what a crash left, or damage."""
        whole = self._damaged_at is None and self._end == os.fstat(self._fd).st_size
        return not (whole and self._offsets.keys() <= wanted)

    def __contains__(self, digest: bytes) -> bool:
        """Whether a page is kept."""
        return digest == ZERO or digest in self._offsets

    def sync(self) -> None:
        """Return when what was added is on disk.

        Raises:
            HostError: The disk refused it.
        """
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise _no_space(self._path, error) from error

    def copy_to(self, other: PageFile, wanted: Container[bytes]) -> int:
        """Add the pages among ``wanted`` to another file, as they are stored; returns how many.

        What is damaged is left out: nobody could read it any more, and it must keep nobody from removing the rest.
        """
        digests = [digest for digest in self._offsets if digest in wanted]
        return sum(
            other._take(self._records(digests[first : first + _COPIED_AT_ONCE]))
            for first in range(0, len(digests), _COPIED_AT_ONCE)
        )

    def _records(self, digests: Sequence[bytes]) -> dict[bytes, bytes]:
        records: dict[bytes, bytes] = {}
        for digest in digests:
            with suppress(DamagedError):
                self.get(digest)
                stored = os.pread(self._fd, _HEADER.size + PAGE_BYTES, self._offsets[digest])
                records[digest] = stored[: _HEADER.size + _HEADER.unpack_from(stored)[1]]
        return records

    def _take(self, records: Mapping[bytes, bytes]) -> int:
        offsets, at = {}, self._end
        for digest, record in records.items():
            offsets[digest] = at
            at += len(record)
        self._append(b"".join(records.values()))
        self._offsets.update(offsets)
        return len(offsets)

    def statistics(self) -> PagesStatistics:
        """What the file holds."""
        return PagesStatistics(
            pages=len(self._offsets), bytes=self._end, torn_bytes=self._trimmed, damaged_at=self._damaged_at
        )

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _record(self, digest: bytes, page: bytes) -> bytes:
        packed = self._pack.compress(page)
        kind, stored = (_ZSTD, packed) if len(packed) < PAGE_BYTES else (_RAW, page)
        fields = _HEADER.pack(digest, len(stored), kind, 0)[:-4]
        return fields + struct.pack("<I", zlib.crc32(fields)) + stored

    def _append(self, records: bytes) -> None:
        at, view = self._end, memoryview(records)
        try:
            while view:
                written = os.pwrite(self._fd, view, at)
                at, view = at + written, view[written:]
        except OSError as error:
            os.ftruncate(self._fd, self._end)
            raise _no_space(self._path, error) from error
        self._end = at

    def _index(self) -> int:
        """Find the records; returns where the last whole one ends."""
        size = os.fstat(self._fd).st_size
        if size < len(MAGIC) and self._writing:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, MAGIC, 0)
            return len(MAGIC)
        if os.pread(self._fd, len(MAGIC), 0) != MAGIC:
            raise DamagedError(f"{self._path} is not a file of pages", _LOST)
        at = self._find_records(size)
        if self._damaged_at is not None:
            return size
        if self._writing and at < size:
            os.ftruncate(self._fd, at)
            self._trimmed = size - at
        return at

    def _find_records(self, size: int) -> int:
        """Enter the records, and say where the last whole one ends."""
        room = _WINDOW_BYTES // _HEADER.size
        digests, offsets = ffi.new("uint8_t[]", room * DIGEST_BYTES), ffi.new("uint64_t[]", room)
        search = ffi.new("struct ktm_search *", [len(MAGIC), size])
        while search.at + _HEADER.size <= size and not (search.damaged or search.torn):
            window, at = os.pread(self._fd, _WINDOW_BYTES, search.at), search.at
            found = lib.ktm_find_records(
                search, ffi.from_buffer("uint8_t[]", window), at, len(window), digests, offsets
            )
            names = _DIGEST.iter_unpack(ffi.buffer(digests, found * DIGEST_BYTES)[:])
            self._offsets.update(zip((name for (name,) in names), ffi.unpack(offsets, found), strict=True))
            if search.at == at:
                break
        self._damaged_at = search.at if search.damaged else None
        return int(search.at)


_LOST = "ktstr-tui snapshot verify names the snapshots that are damaged; ktstr-tui snapshot rm removes them"


def _no_space(path: Path, error: OSError) -> HostError:
    return HostError(
        f"{path} cannot be written: {error.strerror}",
        "free some space (ktstr-tui snapshot rm, ktstr-tui snapshot gc) and take it again",
    )
