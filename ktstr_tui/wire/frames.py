"""TLV frames: a 16-byte header and a payload, assembled from whatever pieces the port delivers.

The work is done in C (``native/frames``; ``ktstr_assembler.c`` explains how the assembler finds its place again
in a damaged stream); this module makes Python values of it. The format is ktstr's own, so no library
reads it. Two promises are easy to lose: what comes out does not depend on how the bytes were cut into feeds, and every
byte is accounted for::

    bytes == 16 * frames + payload_bytes + skipped_bytes + taken_bytes + residual
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ktstr_tui._native import ffi, lib
from ktstr_tui.model.errors import InternalError
from ktstr_tui.wire.c_layout import c_struct

if TYPE_CHECKING:
    from ktstr_tui._native import CData

HEADER_BYTES = lib.KTF_HEADER_SIZE
"""Size of a frame's header."""
MAX_PAYLOAD_BYTES = lib.KTF_MAX_PAYLOAD
"""Default cap of a payload; exactly the cap is legal."""
SKIP_REASONS = ("oversized", "bad_header", "torn")
"""Why bytes are skipped, in the order of the C enumeration ``ktf_skip_reason``."""
assert len(SKIP_REASONS) == lib.KTF_SKIP_REASONS

_BATCH = 1024
_CRC_OK = lib.KTF_CRC_OK
_IN_TAIL = lib.KTF_IN_TAIL
_DESCRIPTOR = c_struct("struct ktf_frame", "offset", "msg_type", "length", "flags")


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One frame as it came over the wire."""

    msg_type: int
    """The tag as a number; `MsgType.from_wire` says whether it is known."""
    payload: bytes
    crc_ok: bool = True
    """Whether the CRC of the payload was right; never so when the length field was wrong."""


class FrameStatistics(msgspec.Struct, frozen=True):
    """Counters of one `FrameAssembler` since its creation. Sizes are in bytes."""

    frames: int
    bytes: int
    """Fed in total."""
    payload_bytes: int
    """In the payloads of ``frames``."""
    crc_bad: int
    """Frames with a wrong CRC, cut ones included."""
    cut: int
    """Frames that end before their announced length, because the next frame begins inside it."""
    pad_nonzero: int
    """Frames of a known type with a non-zero pad: accepted, but somebody should know."""
    oversized: int
    """Headers refused because they announced more than the cap."""
    resyncs: int
    """Times that the assembler had to find its place in the stream again."""
    skipped_bytes: int
    skipped_by_reason: dict[str, int]
    """``skipped_bytes`` by the damage that began the search; the keys are `SKIP_REASONS`."""
    taken_bytes: int
    """Handed out by `FrameAssembler.take_residual`."""
    residual: int
    """Kept for the next feed."""


class FrameAssembler:
    """Incremental parser of a stream of frames. Not for concurrent use.

    It keeps at most one frame's worth of bytes, and never allocates by an announced length.

    Args:
        max_payload: The longest payload accepted, in bytes; 1 to 2**30.

    Raises:
        InternalError: ``max_payload`` is out of range.
    """

    def __init__(self, max_payload: int = MAX_PAYLOAD_BYTES) -> None:
        if not 0 < max_payload <= lib.KTF_CAP_LIMIT:
            raise InternalError(f"a payload cap of {max_payload} bytes is out of range")
        handle = lib.ktf_assembler_create(max_payload)
        if handle == ffi.NULL:
            raise MemoryError("no memory for a frame assembler")
        self.max_payload = max_payload
        self._handle = ffi.gc(handle, lib.ktf_assembler_destroy)
        self._used = ffi.new("size_t *")
        self._more = ffi.new("bool *")
        self._batch = ffi.new(f"struct ktf_frame[{_BATCH}]")
        self._batch_bytes = ffi.buffer(self._batch)

    def feed(self, data: bytes | bytearray | memoryview) -> list[Frame]:
        """Take bytes in and return the frames that they complete, in order."""
        data = data if type(data) is bytes else bytes(data)
        view = ffi.from_buffer(data)
        frames: list[Frame] = []
        at = 0
        more = True
        while more:
            count = lib.ktf_assembler_feed(
                self._handle, view + at, len(data) - at, self._used, self._batch, _BATCH, self._more
            )
            if count < 0:
                raise MemoryError("no memory to keep a partial frame")
            if count:
                self._collect(frames, data, at, count)
            at += self._used[0]
            more = self._more[0]
        return frames

    def _collect(self, frames: list[Frame], data: bytes, base: int, count: int) -> None:
        descriptors = self._batch_bytes[: count * _DESCRIPTOR.size]
        for offset, msg_type, length, flags in _DESCRIPTOR.iter_unpack(descriptors):
            if flags & _IN_TAIL:
                tail = lib.ktf_assembler_tail(self._handle)
                payload = ffi.buffer(tail + offset, length)[:]
            else:
                start = base + offset
                payload = data[start : start + length]
            frames.append(Frame(msg_type, payload, bool(flags & _CRC_OK)))

    def residual(self) -> bytes:
        """Return a copy of the bytes that wait for the rest of their frame."""
        return self._copy_residual()

    def take_residual(self) -> bytes:
        """Hand over the waiting bytes and forget them, so that another parser can go on from here."""
        residual = self._copy_residual()
        lib.ktf_assembler_take(self._handle)
        return residual

    def _copy_residual(self) -> bytes:
        out = ffi.new("uint8_t[]", self._read_statistics().residual or 1)
        return ffi.buffer(out)[: lib.ktf_assembler_residual(self._handle, out)]

    def _read_statistics(self) -> CData:
        raw = ffi.new("struct ktf_statistics *")
        lib.ktf_assembler_statistics(self._handle, raw)
        return raw

    def statistics(self) -> FrameStatistics:
        """Return the counters as they are now."""
        raw = self._read_statistics()
        skipped = {reason: raw.skipped[i] for i, reason in enumerate(SKIP_REASONS)}
        return FrameStatistics(
            frames=raw.frames,
            bytes=raw.bytes,
            payload_bytes=raw.payload_bytes,
            crc_bad=raw.crc_bad,
            cut=raw.cut,
            pad_nonzero=raw.pad_nonzero,
            oversized=raw.oversized,
            resyncs=raw.resyncs,
            skipped_bytes=sum(skipped.values()),
            skipped_by_reason=skipped,
            taken_bytes=raw.taken_bytes,
            residual=raw.residual,
        )


def encode_frame(msg_type: int, payload: bytes | bytearray | memoryview = b"") -> bytes:
    """Encode a frame with this type and payload.

    The cap is the receiver's affair: a payload above it is encoded, so that tests can send one.
    """
    payload = payload if type(payload) is bytes else bytes(payload)
    out = ffi.new("uint8_t[]", HEADER_BYTES + len(payload))
    size = lib.ktf_encode(out, HEADER_BYTES + len(payload), msg_type, ffi.from_buffer(payload), len(payload))
    return ffi.buffer(out)[:size]
