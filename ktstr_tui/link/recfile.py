"""The recording file: what its bytes are, how they are written, how they are read after an accident.

A header, then chunks, nothing else; a file is only ever appended to. ::

    header  "KTSTRREC" | u16 version | u16 length | u32 crc | run_id (length bytes)
    chunk   "CHNK" | u32 crc | u32 stored | u32 raw | u32 count | u64 first_seq | u64 last_seq
            | u64 first_ns | u64 last_ns | payload (stored bytes)

All numbers are little-endian. The payload is zstd of ``count`` events, each a u32 length and its encoding.
The header's CRC covers version, length and run_id; version 2 had none, and is read too. (3 was skipped: one flipped
bit would have made it 2.) A chunk's CRC covers the rest of its head and the payload. Each chunk is compressed by
itself, so whatever happens to one leaves the others readable, and a reader that looks for a time can hop from head to
head without decompressing.

A backend that is killed leaves a torn last chunk and no event ``run-ended``, a full disk a hole in the numbers of
events, a failing disk a flipped bit. The reader gives every event
of every sound chunk, searches for the next one behind a damaged one, and says in `Damage` what it found.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import msgspec
import zstandard

from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.model.events import Event, RunEnded
from ktstr_tui.model.text import counted
from ktstr_tui.wire.codec import MAX_EVENT_BYTES, CodecError, decode_event
from ktstr_tui.wire.user_file import open_user_file

MAGIC = b"KTSTRREC"
FORMAT_VERSION = 4
UNCHECKED_VERSION = 2
"""The format before, whose header has no CRC."""
CHUNK_MAGIC = b"CHNK"
MAX_CHUNK_BYTES = MAX_EVENT_BYTES + (4 << 20)
"""Of a chunk's raw payload; the writer starts another chunk before this."""
CHUNK_GOAL_BYTES = 1 << 20
"""The writer closes a chunk at this size, so that hopping by time stays useful."""

_HEADER = struct.Struct("<8sHH")
_HEADER_CRC = struct.Struct("<I")
_CHUNK = struct.Struct("<4sIIIIQQQQ")
HEAD_BYTES = _CHUNK.size
"""Of a chunk."""
_CRC_COVERS_FROM = 8
_LENGTH = struct.Struct("<I")
_SCAN_BYTES = 1 << 20


class RecordedEvent(msgspec.Struct, frozen=True):
    """An event on its way into a file."""

    seq: int
    mono_ns: int
    data: bytes


class ChunkHead(msgspec.Struct, frozen=True):
    """What the head of a chunk says."""

    crc: int
    stored: int
    raw: int
    count: int
    first_seq: int
    last_seq: int
    first_ns: int
    last_ns: int


class Damage(msgspec.Struct, kw_only=True):
    """What was wrong with a file; filled while it is read."""

    truncated: bool = False
    """The file ends inside a chunk: the backend was killed, or the file is still being written."""
    bad_chunks: int = 0
    """Chunks passed over because their CRC or their content is wrong."""
    undecodable: int = 0
    """Events of sound chunks that this version cannot read."""
    lost_bytes: int = 0
    """Bytes at the end that could not be understood."""
    missing: int = 0
    """Events that are not in the file, by the holes in the numbers of those that are."""
    unfinished: bool = False
    """The file does not have the end of its run: the backend was killed, or the run is still in progress."""
    bad_header: bool = False
    """The header is damaged, so nobody knows for certain which run this is."""

    @property
    def in_words(self) -> str:
        """The damage for people; empty when there is none."""
        parts = []
        if self.truncated:
            parts.append(f"the end is cut off ({counted(self.lost_bytes, 'byte')} of an unfinished chunk)")
        if self.bad_chunks:
            parts.append(counted(self.bad_chunks, "damaged chunk"))
        if self.undecodable:
            parts.append(counted(self.undecodable, "event") + " of another version")
        if self.missing:
            parts.append(counted(self.missing, "event") + " missing")
        if self.unfinished:
            parts.append("the end of the run is not in it")
        if self.bad_header:
            parts.append("the header is damaged, the run's id with it")
        return ", ".join(parts)


def header(run_id: str) -> bytes:
    """The first bytes of a recording."""
    name = run_id.encode()
    fixed = _HEADER.pack(MAGIC, FORMAT_VERSION, len(name))
    return fixed + _HEADER_CRC.pack(_header_crc(fixed, name)) + name


def _header_crc(fixed: bytes, name: bytes) -> int:
    return zlib.crc32(name, zlib.crc32(fixed[len(MAGIC) :]))


def pack_chunk(events: Sequence[RecordedEvent]) -> bytes:
    """One chunk with all of ``events``, of which there must be at least one."""
    raw = b"".join(_LENGTH.pack(len(event.data)) + event.data for event in events)
    payload = zstandard.ZstdCompressor(level=3).compress(raw)
    times = [event.mono_ns for event in events]
    fields = (len(payload), len(raw), len(events), events[0].seq, events[-1].seq, min(times), max(times))
    covered = _pack_head(ChunkHead(0, *fields))[_CRC_COVERS_FROM:]
    crc = zlib.crc32(payload, zlib.crc32(covered))
    return _pack_head(ChunkHead(crc, *fields)) + payload


def split_chunks(events: Sequence[RecordedEvent]) -> Iterator[Sequence[RecordedEvent]]:
    """Cut ``events`` into runs that are each small enough for one chunk."""
    start = size = 0
    for index, event in enumerate(events):
        grown = size + len(event.data) + _LENGTH.size
        if index > start and grown > CHUNK_GOAL_BYTES:
            yield events[start:index]
            start, grown = index, len(event.data) + _LENGTH.size
        size = grown
    if start < len(events):
        yield events[start:]


class RecordingReader:
    """Reads a recording chunk by chunk; for use by one thread at a time.

    Attributes:
        run_id: The run that was recorded.
        damage: What is wrong with the file, as far as it has been read.

    Raises:
        UsageError: There is no such file, or it is no recording of this version.
    """

    def __init__(self, path: Path) -> None:
        self.damage = Damage()
        self.run_end: RunEnded | None = None
        self._path = path
        self._in_sync = True
        self._last_seq = 0
        self._saw_end = False
        self._file: BinaryIO = open_user_file(path, "recording")
        with suppress(OSError):
            # For as long as it is read, nobody removes its run (see `stored_runs`).
            fcntl.flock(self._file.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB)
        try:
            self.run_id = self._read_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> RecordingReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def position(self) -> int:
        """Where the next chunk begins, in bytes."""
        return self._file.tell()

    def go_to(self, position: int, seq: int) -> None:
        """Read on elsewhere.

        Args:
            position: Where a chunk begins.
            seq: Number of the last event before it.
        """
        self._file.seek(position)
        self._in_sync, self._last_seq = True, seq

    def span_ns(self) -> tuple[int, int] | None:
        """First and last time in the recording, from the heads of its chunks alone; None when it has none."""
        here = self._file.tell()
        first_ns: int | None = None
        last_ns = 0
        while (head := _parse_head(self._file.read(_CHUNK.size))) is not None:
            first_ns = head.first_ns if first_ns is None else min(first_ns, head.first_ns)
            last_ns = max(last_ns, head.last_ns)
            self._file.seek(head.stored, os.SEEK_CUR)
        self._file.seek(here)
        return None if first_ns is None else (first_ns, last_ns)

    def survey(self) -> Damage:
        """Return what is wrong with the whole file as far as the heads of its chunks and the last chunk say.

        The last chunk also has the end of the run, which is in ``run_end`` then. Call it before the first `read_chunk`.

        Raises:
            HostError: The disk fails.
        """
        found = Damage(bad_header=self.damage.bad_header)
        here = last = self._file.tell()
        last_seq = 0
        while (head := _parse_head(self._file.read(_CHUNK.size))) is not None:
            found.missing += max(0, head.first_seq - last_seq - 1)
            last_seq = max(last_seq, head.last_seq)
            last = self._file.tell() - _CHUNK.size
            self._file.seek(head.stored, os.SEEK_CUR)
        with RecordingReader(self._path) as other:
            other._file.seek(last)
            while (events := other.read_chunk()) is not None:
                self.run_end = next((it for it in events if isinstance(it, RunEnded)), self.run_end)
            tail = other.damage
        found.unfinished, found.truncated = tail.unfinished, tail.truncated
        found.lost_bytes, found.bad_chunks = tail.lost_bytes, tail.bad_chunks
        self._file.seek(here)
        return found

    def read_chunk(self) -> list[Event] | None:
        """The events of the next sound chunk; None at the end of what can be read.

        Raises:
            HostError: The disk fails.
        """
        events = self._next_chunk()
        for event in events or ():
            self.damage.missing += max(0, event.seq - self._last_seq - 1)
            self._last_seq = max(self._last_seq, event.seq)
            self._saw_end |= isinstance(event, RunEnded)
        self.damage.unfinished = not self._saw_end
        return events

    def _next_chunk(self) -> list[Event] | None:
        try:
            while True:
                start = self._file.tell()
                data = self._file.read(_CHUNK.size)
                if not data:
                    return None
                head = _parse_head(data)
                payload = self._file.read(head.stored) if head else b""
                events = self._unpack(head, payload) if head else None
                if events is not None:
                    self._in_sync = True
                    return events
                torn = len(data) < _CHUNK.size or (head is not None and len(payload) < head.stored)
                if not self._find_next(start, torn=torn):
                    return None
        except OSError as error:
            raise HostError(f"cannot read {self._path}: {error.strerror}") from error

    def _read_header(self) -> str:
        try:
            data = self._file.read(_HEADER.size)
        except OSError as error:
            raise UsageError(f"cannot read {self._path}: {error.strerror}") from error
        if len(data) < _HEADER.size or not data.startswith(MAGIC):
            raise UsageError(
                f"{self._path} is not a recording", "the recordings of runs are called recording.ktstr"
            )
        _, version, length = _HEADER.unpack(data)
        if version == UNCHECKED_VERSION:
            return self._file.read(length).decode("utf-8", "replace")
        if version != FORMAT_VERSION:
            raise UsageError(
                f"{self._path} is in version {version} of the format; this program reads {FORMAT_VERSION}",
                "play it with the version of ktstr-tui that made it",
            )
        crc, name = self._file.read(_HEADER_CRC.size), self._file.read(length)
        if crc != _HEADER_CRC.pack(_header_crc(data, name)):
            # The length may be what is wrong: the first chunk is searched for.
            self.damage.bad_header, self._in_sync = True, False
            self._file.seek(_HEADER.size)
        return name.decode("utf-8", "replace")

    def _find_next(self, start: int, *, torn: bool) -> bool:
        """Go to the next thing that may be a chunk after the bad one at ``start``; whether there is one."""
        position = start + 1
        while True:
            self._file.seek(position)
            block = self._file.read(_SCAN_BYTES)
            found = block.find(CHUNK_MAGIC)
            if found >= 0:
                self._file.seek(position + found)
                self._note_bad()
                return True
            if len(block) < _SCAN_BYTES:
                break
            position += _SCAN_BYTES - len(CHUNK_MAGIC) + 1
        if torn:
            self.damage.truncated = True
        else:
            self._note_bad()
        self.damage.lost_bytes += self._file.seek(0, os.SEEK_END) - start
        return False

    def _note_bad(self) -> None:
        """Count a damaged stretch once, however many places in it look like a chunk."""
        if self._in_sync:
            self.damage.bad_chunks += 1
        self._in_sync = False

    def _unpack(self, head: ChunkHead, payload: bytes) -> list[Event] | None:
        covered = _pack_head(head)[_CRC_COVERS_FROM:]
        if len(payload) < head.stored or zlib.crc32(payload, zlib.crc32(covered)) != head.crc:
            return None
        try:
            if zstandard.frame_content_size(payload) != head.raw:
                return None
            raw = zstandard.ZstdDecompressor().decompress(payload)
        except zstandard.ZstdError:
            return None
        events: list[Event] = []
        position = 0
        while position + _LENGTH.size <= len(raw):
            (length,) = _LENGTH.unpack_from(raw, position)
            position += _LENGTH.size
            try:
                events.append(decode_event(memoryview(raw)[position : position + length]))
            except CodecError:
                self.damage.undecodable += 1
            position += length
        return events


def _parse_head(data: bytes) -> ChunkHead | None:
    if len(data) < _CHUNK.size:
        return None
    magic, *fields = _CHUNK.unpack(data)
    head = ChunkHead(*fields)
    sane = magic == CHUNK_MAGIC and head.stored <= MAX_CHUNK_BYTES and head.raw <= MAX_CHUNK_BYTES
    return head if sane else None


def chunk_bytes(head: bytes) -> int | None:
    """Return how long a chunk is by its first `HEAD_BYTES`; None when they are no head."""
    parsed = _parse_head(head)
    return None if parsed is None else HEAD_BYTES + parsed.stored


def _pack_head(head: ChunkHead) -> bytes:
    return _CHUNK.pack(CHUNK_MAGIC, *msgspec.structs.astuple(head))


def read_recording(path: Path, on_damage: Callable[[Damage], None] | None = None) -> Iterator[Event]:
    """All events of a recording, oldest first.

    Args:
        path: The file; it may still be growing, and its end may be torn.
        on_damage: Called at the end with what was wrong with the file, if anything was.

    Raises:
        UsageError: There is no such file, or it is no recording; raised at the call, not at the first event.
        HostError: The disk fails.
    """
    RecordingReader(path).close()
    return _events(path, on_damage)


def _events(path: Path, on_damage: Callable[[Damage], None] | None) -> Iterator[Event]:
    with RecordingReader(path) as reader:
        while (chunk := reader.read_chunk()) is not None:
            yield from chunk
    if on_damage is not None and reader.damage.in_words:
        on_damage(reader.damage)
