"""A snapshot as a value, and as a file that is whole or refused.

One file names everything of one instant: the pages of RAM and of the devices' state (both by digest), the capture of
the same stop, and what the machine was started with. Because they are in one file, which one rename names,
there is no state of one instant beside memory of another.
"""

from __future__ import annotations

import hashlib
import struct
from operator import or_
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import zstandard

from ktstr_tui.memory.pages import DIGEST_BYTES, PAGE_BYTES, DamagedError
from ktstr_tui.wire.user_file import read_user_file

MAGIC = b"KTSNAP01"
SUFFIX = ".snap"
MAX_FILE_BYTES = 256 << 20
MAX_PAYLOAD_BYTES = 1 << 30
"""Decoded: 16 bytes for each page of RAM, and the capture."""
_LENGTH = struct.Struct("<Q")
_CHECK_BYTES = 32

Digests = Annotated[bytes, msgspec.Meta(max_length=MAX_PAYLOAD_BYTES)]


class Blob(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that are kept as pages; the last one is filled up with zeros."""

    size_bytes: Annotated[int, msgspec.Meta(ge=0, le=1 << 46)]
    digests: Digests
    """One behind the other, `DIGEST_BYTES` each."""

    def __post_init__(self) -> None:
        pages = -(-self.size_bytes // PAGE_BYTES)
        if len(self.digests) != pages * DIGEST_BYTES:
            raise ValueError(f"{len(self.digests)} bytes of digests for {pages} pages")

    @property
    def pages(self) -> int:
        """How many there are, those of zeros included."""
        return len(self.digests) // DIGEST_BYTES

    @property
    def zero_pages(self) -> int:
        """How many of them are all zeros."""
        # A digest is two words, and `ZERO` is two of 0.
        words = memoryview(self.digests).cast("Q")
        return list(map(or_, words[::2], words[1::2])).count(0)

    def digest(self, page: int) -> bytes:
        """The digest of a page, counted from 0."""
        return self.digests[page * DIGEST_BYTES : (page + 1) * DIGEST_BYTES]


class SnapshotMachine(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine was started with, which a restored one must equal."""

    kernel_path: str
    kernel_sha256: str
    kernel: str
    """Its release."""
    topology: str
    memory_bytes: int
    accelerator: Literal["kvm", "tcg"]
    append: str
    qemu: str
    """Its version."""


class SnapshotInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a snapshot in a list."""

    name: str
    run: str
    run_id: str
    tag: str
    """Of the capture that was taken at the same stop."""
    taken_wall: str
    """ISO 8601 with the host's offset."""
    mono_ns: int
    reason: str
    machine: SnapshotMachine
    scenario: str
    scheduler: str
    pause_us: float
    """How long the guest was stopped for it."""
    new_pages: int
    """Pages that no snapshot of the run had held before."""
    again_at_ns: int | None = None
    """Of a run with a seed, when it was taken, on the run's clock without what a person froze: its machine is not kept,
    for the run can be had again up to there. None where the machine is kept."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One instant of a guest."""

    schema: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1
    info: SnapshotInfo
    memory: tuple[Blob, ...]
    """RAM, one for each NUMA node."""
    state: Blob
    """CPUs and devices, as QEMU migrates them; empty in a run with a seed."""
    initrd: Blob
    report: Blob
    """The capture, as JSON."""
    plan: Blob
    """The scenario, as JSON."""
    config: Blob
    """What the run had been asked to be, as JSON."""
    run_files: Blob | None = None
    """The archive that QEMU offers to a guest whose boot may be saved; None for another machine."""
    elapsed_ns: int | None = None
    """The scenario's time; None before it began."""
    step: int | None = None
    """Index of the scenario's step; None before the first."""
    waiting: tuple[Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)], ...] = ()
    """Requests of the guest that had no answer yet, by number: a scenario's own capture is one."""
    vmcoreinfo: Annotated[bytes, msgspec.Meta(max_length=1 << 16)] = b""
    """The kernel's note for crash dumps, which spares the search for it; empty when the kernel was not typed."""

    def blobs(self) -> tuple[Blob, ...]:
        """Everything that is kept as pages."""
        files = () if self.run_files is None else (self.run_files,)
        return (*self.memory, self.state, self.initrd, self.report, self.plan, self.config, *files)

    def wanted(self) -> set[bytes]:
        """The digests of all of its pages."""
        return {blob.digest(page) for blob in self.blobs() for page in range(blob.pages)}


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The file of a snapshot."""
    payload = zstandard.ZstdCompressor(level=3).compress(msgspec.msgpack.encode(snapshot))
    body = MAGIC + _LENGTH.pack(len(payload)) + payload
    return body + hashlib.blake2b(body, digest_size=_CHECK_BYTES).digest()


def decode_snapshot(data: bytes, path: Path) -> Snapshot:
    """Read the file of a snapshot.

    Raises:
        DamagedError: It is not whole, or no snapshot of this version.
    """
    head = len(MAGIC) + _LENGTH.size
    if data[: len(MAGIC)] != MAGIC or len(data) < head + _CHECK_BYTES:
        raise DamagedError(f"{path} is not a snapshot", "name a file that ends in .snap")
    body, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
    (length,) = _LENGTH.unpack_from(data, len(MAGIC))
    if length != len(body) - head or hashlib.blake2b(body, digest_size=_CHECK_BYTES).digest() != check:
        raise DamagedError(
            f"{path} is damaged: it is not what was written", "ktstr-tui snapshot rm removes it"
        )
    try:
        payload = zstandard.ZstdDecompressor().decompress(body[head:], max_output_size=MAX_PAYLOAD_BYTES)
        return msgspec.msgpack.decode(payload, type=Snapshot)
    except (zstandard.ZstdError, msgspec.MsgspecError, MemoryError) as error:
        raise DamagedError(
            f"{path} is not understood: {error}", "use the version of ktstr-tui that wrote it"
        ) from error


def read_snapshot(path: Path) -> Snapshot:
    """Read a snapshot.

    Raises:
        DamagedError: It is not whole.
        UsageError: It cannot be read.
    """
    data = read_user_file(path, "snapshot", "ktstr-tui snapshot list names them", max_bytes=MAX_FILE_BYTES)
    return decode_snapshot(data, path)
