"""Kernel operations on the wire: reads and writes of kernel memory that a guest asks its host for.

A payload is the request's id (u32, little-endian) and a MessagePack map. The protocol that this one descends
from uses postcard there, which describes nothing of itself: one field more, and both sides read garbage. A map
names its fields, so whatever does not fit is refused by name; the id stays outside of it, where it can be read
even when the rest is broken, so that a request with an error in it is answered in place of timing out.

    request   id, {"mode": "hot", "direction": "write", "tag": "…", "entries": [{"target": T, "value": V}, …]}
    reply     id, {"success": true, "reason": "", "read_values": [V, …]}

Targets and values are maps too, told apart by their ``type``: ``{"type": "symbol", "name": "panic_timeout"}``,
``{"type": "u32", "value": 5}``. In a read, a value says how to read what is there, and its content is ignored.
"""

from __future__ import annotations

import struct
from typing import Annotated, Final, Generic, Literal, Self, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from ktstr_tui.wire.payloads import PayloadError, shorten

KERNEL_OP_TAG_MAX: Final = 256
"""Bytes of a request's tag; a longer one is refused, because a cut one may be another's."""
KERNEL_OP_REASON_MAX: Final = 256
"""Bytes of a reply's reason; a longer one is cut between characters and ends with an ellipsis."""
KERNEL_OP_REPLY_MAX: Final = 1 << 20
"""Bytes of a reply. One that goes to a guest must fit into a frame besides."""
KERNEL_OP_ENTRIES_MAX: Final = 64
"""Entries of a request."""
NAME_MAX: Final = 256
"""Characters of a symbol's name or of a path of members."""
PID_MAX: Final = 1 << 22
CPU_MAX: Final = 8191

Mode: TypeAlias = Literal["hot", "cold"]
"""Hot: while the guest runs. Cold: while it is frozen."""
Direction: TypeAlias = Literal["read", "write"]
_Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=NAME_MAX)]
_Path: TypeAlias = Annotated[str, Meta(max_length=NAME_MAX)]
_Unsigned: TypeAlias = Annotated[int, Meta(ge=0)]
_U32: TypeAlias = Annotated[int, Meta(ge=0, le=(1 << 32) - 1)]
_ID = struct.Struct("<I")
_T = TypeVar("_T")
# Beyond its own errors msgspec lets through what building a key or a string of an odd value raises.
_DECODE_ERRORS = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError, MemoryError)


class _Tagged(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Symbol(_Tagged, frozen=True, tag="symbol"):
    """A variable, by its name in kallsyms."""

    name: _Name


class Direct(_Tagged, frozen=True, tag="direct"):
    """An address in the direct map of all memory, and nowhere else."""

    kva: _Unsigned


class Kva(_Tagged, frozen=True, tag="kva"):
    """Any virtual address of the kernel."""

    kva: _Unsigned


class PerCpuField(_Tagged, frozen=True, tag="per-cpu"):
    """A member of a CPU's copy of a per-CPU variable."""

    symbol: _Name
    field: _Path
    """Empty for the variable itself."""
    cpu: Annotated[int, Meta(ge=0, le=CPU_MAX)]


class TaskField(_Tagged, frozen=True, tag="task"):
    """A member of a task's ``task_struct``."""

    pid: Annotated[int, Meta(ge=1, le=PID_MAX)]
    field: _Name
    expected_start_time_ns: _Unsigned | None = None
    """``task_struct.start_time``, which no two tasks of a pid share. A write needs it; a read returns it."""


class U32(_Tagged, frozen=True, tag="u32"):
    """Four bytes."""

    value: _U32 = 0


class U64(_Tagged, frozen=True, tag="u64"):
    """Eight bytes."""

    value: _Unsigned = 0


class Bytes(_Tagged, frozen=True, tag="bytes"):
    """Bytes to write, or, in a request to read, as many zeros as bytes to read."""

    data: bytes = b""


class OrU32(_Tagged, frozen=True, tag="or-u32"):
    """Bits to be set in four bytes."""

    value: _U32 = 0


class Int(_Tagged, frozen=True, tag="int"):
    """Ours: an integer as wide as the object, whose size must be known. Negative in two's complement."""

    value: int = 0


class Span(_Tagged, frozen=True, tag="span"):
    """Ours, for reads: so many bytes, without sending as many."""

    length: Annotated[int, Meta(ge=1, le=KERNEL_OP_REPLY_MAX)]


Target: TypeAlias = Symbol | Direct | Kva | PerCpuField | TaskField
Value: TypeAlias = U32 | U64 | Bytes | OrU32 | Int | Span


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One place, and what to write there or how to read it."""

    target: Target
    value: Value | None = None
    """None, in a read, for the whole object, whose size must be known."""


class KernelOp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked: all entries or, when one of them is refused, none."""

    mode: Mode
    direction: Direction
    entries: Annotated[tuple[Entry, ...], Meta(min_length=1, max_length=KERNEL_OP_ENTRIES_MAX)]
    tag: str = ""
    """The requester's name for it, under which the reply is kept."""


class _ReplyBody(msgspec.Struct, frozen=True):
    success: bool
    reason: str = ""
    read_values: tuple[Value, ...] = ()


class _Body(Generic[_T]):
    """The MessagePack part of a payload."""

    def __init__(self, what: str, kind: type[_T]) -> None:
        self._what = what
        self._decoder: msgspec.msgpack.Decoder[_T] = msgspec.msgpack.Decoder(kind)

    def pack(self, request_id: int, body: _T) -> bytes:
        try:
            return _ID.pack(request_id) + msgspec.msgpack.encode(body)
        except (*_DECODE_ERRORS, struct.error) as error:
            raise PayloadError(self._what, f"cannot be encoded: {error}") from error

    def unpack(self, payload: bytes) -> tuple[int, _T]:
        request_id = peek_id(payload)
        if request_id is None:
            raise PayloadError(self._what, "there is no request id, or it is 0")
        try:
            return request_id, self._decoder.decode(payload[_ID.size :])
        except _DECODE_ERRORS as error:
            raise PayloadError(self._what, str(error)) from error


def peek_id(payload: bytes) -> int | None:
    """Read the request id of a payload that may be broken elsewhere; None when it cannot be read or is 0."""
    if len(payload) < _ID.size:
        return None
    (request_id,) = _ID.unpack_from(payload)
    return request_id or None


def check_tag(tag: str) -> None:
    """Return when a tag is short enough.

    Raises:
        PayloadError: It is not.
    """
    length = len(tag.encode("utf-8", "replace"))
    if length > KERNEL_OP_TAG_MAX:
        raise PayloadError(
            "KernelOpRequest", f"a tag of {length} bytes, at most {KERNEL_OP_TAG_MAX} are allowed"
        )


class KernelOpRequest(msgspec.Struct, frozen=True):
    """Payload of KernelOpRequest."""

    request_id: int
    """Never 0."""
    op: KernelOp

    @property
    def tag(self) -> str:
        """The operation's tag."""
        return self.op.tag

    def pack(self) -> bytes:
        """Encode.

        Raises:
            PayloadError: A number or the tag does not fit.
        """
        check_tag(self.op.tag)
        return _REQUEST.pack(self.request_id, self.op)

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Decode; whatever is missing, unknown or out of bounds is a `PayloadError`."""
        request_id, op = _REQUEST.unpack(payload)
        check_tag(op.tag)
        return cls(request_id, op)


class KernelOpReply(msgspec.Struct, frozen=True):
    """Payload of KernelOpReply."""

    request_id: int
    success: bool
    reason: str = ""
    """Why there was no success."""
    read_values: tuple[Value, ...] = ()
    """What was read, in the order of the entries; empty for a write."""

    def pack(self) -> bytes:
        """Encode; a reason that is too long is cut and says so.

        Raises:
            PayloadError: It is longer than `KERNEL_OP_REPLY_MAX`.
        """
        body = _ReplyBody(self.success, shorten(self.reason, KERNEL_OP_REASON_MAX), self.read_values)
        payload = _REPLY.pack(self.request_id, body)
        if len(payload) > KERNEL_OP_REPLY_MAX:
            raise PayloadError(
                "KernelOpReply", f"{len(payload)} bytes, at most {KERNEL_OP_REPLY_MAX} are allowed"
            )
        return payload

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Decode, else `PayloadError`."""
        if len(payload) > KERNEL_OP_REPLY_MAX:
            raise PayloadError(
                "KernelOpReply", f"{len(payload)} bytes, at most {KERNEL_OP_REPLY_MAX} are expected"
            )
        request_id, body = _REPLY.unpack(payload)
        return cls(request_id, body.success, body.reason, body.read_values)


_REQUEST: Final = _Body("KernelOpRequest", KernelOp)
_REPLY: Final = _Body("KernelOpReply", _ReplyBody)
