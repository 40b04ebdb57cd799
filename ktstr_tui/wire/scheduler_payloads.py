"""Payloads that change the scheduler of a running guest: an object in pieces, a command, and its result.

The host announces an object (`SchedUpload`), sends it in pieces that follow each other (`SchedChunk`), and then says
what is to become of it (`SchedCommand`). The guest program answers each command once (`SchedReply`). All carry the
number that the host chose for the command. A piece that is missing, damaged or out of order costs the upload, and the
answer says so.
"""

from __future__ import annotations

import enum
import struct
from typing import Final, Self

import msgspec

from ktstr_tui.model.scheduler_swap import MAX_OBJECT_BYTES
from ktstr_tui.wire.payloads import PayloadError, decode_text, encode_text

CHUNK_BYTES: Final = 32768
"""Most bytes of the object in one `SchedChunk`."""
SCHED_NAME_BYTES: Final = 256
"""Room for the name of a scheduler, which is as long as that of a file."""
OPS_NAME_BYTES: Final = 128
"""Room for the name that a scheduler gives itself (``SCX_OPS_NAME_LEN``)."""
REASON_BYTES: Final = 768
"""Room for the reason in a `SchedReply`."""
MAX_LOG_BYTES: Final = 49152
"""Longest log in a `SchedReply`."""

_UPLOAD = struct.Struct(f"<III{SCHED_NAME_BYTES}s")
_CHUNK = struct.Struct("<II")
_COMMAND = struct.Struct(f"<II{SCHED_NAME_BYTES}s")
_REPLY = struct.Struct(f"<IIIIQ{OPS_NAME_BYTES}s{REASON_BYTES}s")


class SchedOp(enum.IntEnum):
    """What a `SchedCommand` asks for."""

    ATTACH = 1
    """Load a scheduler of the scenario."""
    DETACH = 2
    """Take the loaded scheduler away; the kernel's own takes over until the next step."""
    REPLACE = 3
    """Load the uploaded object in the place of a scheduler of the scenario."""
    CANCEL = 4
    """Give up the command of this number, unless the swap has begun. Has no answer of its own."""


class SchedStatus(enum.IntEnum):
    """What became of a `SchedCommand`."""

    ATTACHED = 1
    STORED = 2
    """The verifier accepted the object; it is loaded with the next step that names the scheduler it replaces."""
    DETACHED = 3
    REJECTED = 4
    """libbpf, the verifier or the kernel refused it."""
    FAILED = 5


class SchedRefuser(enum.IntEnum):
    """Who refused a scheduler."""

    NOBODY = 0
    LIBBPF = 1
    """The object was not given to the kernel: it is damaged, or asks for what this kernel lacks."""
    VERIFIER = 2
    KERNEL = 3
    """The programs are sound, the scheduler is not."""
    PROGRAM = 4
    """The loader, or the scheduler's own program, ended without attaching anything."""


class SchedUpload(msgspec.Struct, frozen=True):
    """Payload of SchedUpload, 268 bytes: an object that follows in pieces."""

    request_id: int
    """Never 0."""
    crc32: int
    """CRC-32 (IEEE) of the whole object."""
    size: int
    """Bytes of the object, at most 16 MiB."""
    name: str
    """What the object is called in logs; never empty."""

    def pack(self) -> bytes:
        """Encode as 268 bytes; raises what `unpack` does."""
        data = _UPLOAD.pack(self.request_id, self.crc32, self.size, _name("SchedUpload", self.name))
        self.unpack(data)
        return data

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Decode exactly 268 bytes with an id, a size in range and a name, else `PayloadError`."""
        _demand("SchedUpload", payload, _UPLOAD)
        request_id, crc32, size, name = _UPLOAD.unpack(payload)
        _demand_id("SchedUpload", request_id)
        if not 0 < size <= MAX_OBJECT_BYTES:
            raise PayloadError("SchedUpload", f"an object of {size} bytes, at most {MAX_OBJECT_BYTES} fit")
        if not (text := _text(name)):
            raise PayloadError("SchedUpload", "no name")
        return cls(request_id, crc32, size, text)


class SchedChunk(msgspec.Struct, frozen=True):
    """Payload of SchedChunk: a u32 request id, a u32 offset in the object, and 1 to 32768 bytes that belong there."""

    request_id: int
    offset: int
    data: bytes

    def pack(self) -> bytes:
        """Encode; raises what `unpack` does."""
        payload = _CHUNK.pack(self.request_id, self.offset) + self.data
        self.unpack(payload)
        return payload

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Decode; no data, too much, or a place outside of the largest object is a `PayloadError`."""
        if not _CHUNK.size < len(payload) <= _CHUNK.size + CHUNK_BYTES:
            raise PayloadError("SchedChunk", f"{len(payload) - _CHUNK.size} bytes of data")
        request_id, offset = _CHUNK.unpack_from(payload)
        _demand_id("SchedChunk", request_id)
        data = payload[_CHUNK.size :]
        if offset + len(data) > MAX_OBJECT_BYTES:
            raise PayloadError("SchedChunk", f"a place behind the largest object: {offset}")
        return cls(request_id, offset, data)


class SchedCommand(msgspec.Struct, frozen=True):
    """Payload of SchedCommand, 264 bytes."""

    request_id: int
    """Never 0."""
    op: SchedOp
    target: str = ""
    """A scheduler of the scenario by name; empty for that of the current step."""

    def pack(self) -> bytes:
        """Encode as 264 bytes; raises what `unpack` does."""
        data = _COMMAND.pack(self.request_id, self.op, _name("SchedCommand", self.target))
        self.unpack(data)
        return data

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Decode exactly 264 bytes with an id and a known op, else `PayloadError`."""
        _demand("SchedCommand", payload, _COMMAND)
        request_id, op, target = _COMMAND.unpack(payload)
        _demand_id("SchedCommand", request_id)
        if op not in tuple(SchedOp):
            raise PayloadError("SchedCommand", f"op {op} is not known")
        return cls(request_id, SchedOp(op), _text(target))


class SchedReply(msgspec.Struct, frozen=True):
    """Payload of SchedReply, 920 bytes and the log: what became of a command."""

    request_id: int
    status: SchedStatus
    refuser: SchedRefuser = SchedRefuser.NOBODY
    loaded: bool = False
    """Whether a scheduler is loaded now: the new one, or after a failure the one of before."""
    enable_seq: int | None = None
    """How many schedulers the kernel has enabled since boot, this one included; None where it does not count. On the
    wire 0 means absent."""
    ops: str = ""
    """What the loaded scheduler calls itself."""
    reason: str = ""
    """Why it was refused or failed, in one line."""
    log: str = ""
    """The end of what the loader printed, at most 49152 bytes."""

    def pack(self) -> bytes:
        """Encode, with texts cut to their room."""
        head = _REPLY.pack(
            self.request_id,
            self.status,
            self.refuser,
            self.loaded,
            self.enable_seq or 0,
            encode_text(self.ops, OPS_NAME_BYTES),
            encode_text(self.reason, REASON_BYTES),
        )
        return head + encode_text(self.log, MAX_LOG_BYTES)

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Decode; a wrong size or a number that is not known is a `PayloadError`."""
        if not _REPLY.size <= len(payload) <= _REPLY.size + MAX_LOG_BYTES:
            raise PayloadError("SchedReply", f"{len(payload)} bytes")
        request_id, status, refuser, loaded, enable_seq, ops, reason = _REPLY.unpack_from(payload)
        _demand_id("SchedReply", request_id)
        if status not in tuple(SchedStatus):
            raise PayloadError("SchedReply", f"status {status} is not known")
        if refuser not in tuple(SchedRefuser):
            raise PayloadError("SchedReply", f"refuser {refuser} is not known")
        if loaded > 1:
            raise PayloadError("SchedReply", f"loaded is {loaded}")
        return cls(
            request_id,
            SchedStatus(status),
            SchedRefuser(refuser),
            bool(loaded),
            enable_seq or None,
            _text(ops),
            _text(reason),
            decode_text(payload[_REPLY.size :]),
        )


def _name(what: str, text: str) -> bytes:
    data = text.encode("utf-8", "replace")
    if len(data) >= SCHED_NAME_BYTES:
        raise PayloadError(what, f"a name of {len(data)} bytes, at most {SCHED_NAME_BYTES - 1} fit")
    return data


def _text(field: bytes) -> str:
    return decode_text(field.partition(b"\0")[0])


def _demand(what: str, payload: bytes, layout: struct.Struct) -> None:
    if len(payload) != layout.size:
        raise PayloadError(what, f"{len(payload)} bytes instead of {layout.size}")


def _demand_id(what: str, request_id: int) -> None:
    if not request_id:
        raise PayloadError(what, "the request id is 0")
