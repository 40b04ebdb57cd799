"""The fixed payloads of messages: little-endian, packed, of exact size.

Each struct has ``pack()`` and ``unpack(payload)``; the latter is for bytes of a hostile guest and raises
`PayloadError` for whatever is not exactly right. Text inside payloads is decoded lossily, because a broken
character must not cost the message.
"""

from __future__ import annotations

import enum
import struct
from typing import Final, Self

import msgspec

from ktstr_tui.model.errors import EXIT_GUEST, KtstrError

SNAPSHOT_TAG_MAX: Final = 64
"""Bytes of the tag in a `SnapshotRequest`."""
SNAPSHOT_REASON_BYTES: Final = 512
"""Bytes of the reason in a `SnapshotReply`."""
SNAPSHOT_REASON_BYTES_OLD: Final = 64
"""The same in its older form."""
MAX_WORKERS: Final = 256
"""Workers in a `WorkerReport`."""
MAX_BEATS: Final = 2048
"""Heartbeats in a `Beats`."""
BEAT_BYTES: Final = 32
"""Size of one."""
COMM_BYTES: Final = 16
"""``TASK_COMM_LEN`` of the kernel."""

_ELLIPSIS = "…"
_U64 = 1 << 64
_STIMULUS = struct.Struct("<IHHIHHQ")
_TWO_U32 = struct.Struct("<II")
_KERN_ADDRS = struct.Struct("<QQQ")
_I32 = struct.Struct("<i")
_U32 = struct.Struct("<I")
_END_OLD = struct.Struct("<Q")
_END = struct.Struct("<QQ")
_WORKER = struct.Struct("<IQ16s")


class PayloadError(KtstrError):
    """A payload that is not what its message type promises.

    Args:
        what: Name of the payload.
        reason: What is wrong with it.
    """

    fault = "guest"
    exit_code = EXIT_GUEST

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(
            f"{what}: {reason}", "guest program and host speak different protocols: rebuild both"
        )
        self.reason = reason


def decode_text(payload: bytes) -> str:
    """Decode UTF-8, with each broken sequence replaced by U+FFFD."""
    return payload.decode("utf-8", "replace")


def encode_text(text: str, limit_bytes: int) -> bytes:
    """Encode as UTF-8 of at most ``limit_bytes``, cut between characters."""
    return text.encode("utf-8", "replace")[:limit_bytes].decode("utf-8", "ignore").encode()


def shorten(text: str, limit_bytes: int) -> str:
    """The text or, where it has more bytes, its beginning with an ellipsis that says so."""
    if len(text.encode("utf-8", "replace")) <= limit_bytes:
        return encode_text(text, limit_bytes).decode()
    return encode_text(text, limit_bytes - len(_ELLIPSIS.encode())).decode() + _ELLIPSIS


def _demand_size(what: str, payload: bytes, *sizes: int) -> None:
    if len(payload) not in sizes:
        wanted = " or ".join(str(size) for size in sizes)
        raise PayloadError(what, f"{len(payload)} bytes instead of {wanted}")


def _c_string(field: bytes) -> str:
    return decode_text(field.partition(b"\0")[0])


class Stimulus(msgspec.Struct, frozen=True):
    """Payload of Stimulus and StepEnd, 24 bytes: which step it is and what it does."""

    elapsed_ms: int
    """Since ScenarioStart."""
    step_index: int
    """0 is the baseline, 1 to N the steps."""
    op_count: int = 0
    op_kinds: int = 0
    """A bit for each kind of operation."""
    cgroup_count: int = 0
    worker_count: int = 0
    total_iterations: int = 0
    """Of all workers so far."""

    def pack(self) -> bytes:
        """Encode as 24 bytes."""
        return _STIMULUS.pack(*msgspec.structs.astuple(self))

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Decode exactly 24 bytes, else `PayloadError`."""
        _demand_size("Stimulus", payload, _STIMULUS.size)
        return cls(*_STIMULUS.unpack(payload))


class SnapshotKind(enum.IntEnum):
    """What a `SnapshotRequest` asks for."""

    NONE = 0
    CAPTURE = 1
    WATCH = 2
    """The tag is then the symbol to watch."""


class SnapshotRequest(msgspec.Struct, frozen=True):
    """Payload of SnapshotRequest, 72 bytes."""

    request_id: int
    """Never 0."""
    kind: int
    """A `SnapshotKind`, or a number from the future, which is answered with an error."""
    tag: str

    def pack(self) -> bytes:
        """The 72 bytes.

        Raises:
            PayloadError: The tag is longer than 64 bytes.
        """
        tag = self.tag.encode()
        if len(tag) > SNAPSHOT_TAG_MAX:
            raise PayloadError(
                "SnapshotRequest", f"a tag of {len(tag)} bytes, at most {SNAPSHOT_TAG_MAX} fit"
            )
        return _TWO_U32.pack(self.request_id, self.kind) + tag.ljust(SNAPSHOT_TAG_MAX, b"\0")

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Decode exactly 72 bytes with an id other than 0 and a kind other than NONE, else `PayloadError`."""
        _demand_size("SnapshotRequest", payload, _TWO_U32.size + SNAPSHOT_TAG_MAX)
        request_id, kind = _TWO_U32.unpack_from(payload)
        if not request_id:
            raise PayloadError("SnapshotRequest", "the request id is 0")
        if kind == SnapshotKind.NONE:
            raise PayloadError("SnapshotRequest", "the kind is NONE")
        return cls(request_id, kind, _c_string(payload[_TWO_U32.size :]))

    @staticmethod
    def peek_id(payload: bytes) -> int | None:
        """Read the request id of a payload that may be broken elsewhere; None when it cannot be read or is 0."""
        if len(payload) < _U32.size:
            return None
        (request_id,) = _U32.unpack_from(payload)
        return request_id or None


class SnapshotStatus(enum.IntEnum):
    """What becomes of a `SnapshotRequest`."""

    OK = 1
    ERR = 2
    QUEUED = 3
    """Ours: it has to wait its turn. OK or ERR follows, however long that takes."""


class SnapshotReply(msgspec.Struct, frozen=True):
    """Payload of SnapshotReply: 520 bytes, or 72 in its older form."""

    request_id: int
    status: SnapshotStatus
    reason: str = ""

    def pack(self, reason_bytes: int = SNAPSHOT_REASON_BYTES) -> bytes:
        """Encode, with the reason cut between characters to ``reason_bytes`` (64 makes the older form)."""
        reason = encode_text(self.reason, reason_bytes)
        return _TWO_U32.pack(self.request_id, self.status) + reason.ljust(reason_bytes, b"\0")

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Decode either form, else `PayloadError`."""
        head = _TWO_U32.size
        _demand_size("SnapshotReply", payload, head + SNAPSHOT_REASON_BYTES, head + SNAPSHOT_REASON_BYTES_OLD)
        request_id, status = _TWO_U32.unpack_from(payload)
        if status not in tuple(SnapshotStatus):
            raise PayloadError("SnapshotReply", f"status {status} is not known")
        return cls(request_id, SnapshotStatus(status), _c_string(payload[head:]))


class KernAddrs(msgspec.Struct, frozen=True):
    """Payload of KernAddrs, 24 bytes: where the guest says that its kernel is. None is "not known".

    On the wire 0 means absent, so ``phys_base`` and ``text_kva`` travel with one added.
    """

    phys_base: int | None
    page_offset_base_kva: int | None
    """Address of the symbol, not its value."""
    text_kva: int | None
    """Run-time address of ``_text``."""

    def pack(self) -> bytes:
        """Encode as 24 bytes."""
        phys_base = 0 if self.phys_base is None else (self.phys_base + 1) % _U64
        text = 0 if self.text_kva is None else (self.text_kva + 1) % _U64
        return _KERN_ADDRS.pack(phys_base, self.page_offset_base_kva or 0, text)

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Decode exactly 24 bytes, else `PayloadError`."""
        _demand_size("KernAddrs", payload, _KERN_ADDRS.size)
        phys_base, page_offset_base, text = _KERN_ADDRS.unpack(payload)
        return cls(
            phys_base - 1 if phys_base else None,
            page_offset_base or None,
            text - 1 if text else None,
        )


class LifecyclePhase(enum.IntEnum):
    """How far the guest program has come."""

    INIT_STARTED = 1
    PAYLOAD_STARTING = 2
    SCHEDULER_DIED = 3
    SCHEDULER_NOT_ATTACHED = 4
    """Comes with a reason."""


class Lifecycle(msgspec.Struct, frozen=True):
    """Payload of Lifecycle: one byte of phase and a reason in UTF-8, which can be empty."""

    phase: LifecyclePhase
    reason: str = ""

    def pack(self) -> bytes:
        """Encode the phase and the reason."""
        return bytes((self.phase,)) + self.reason.encode()

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Decode; an empty payload or a phase that is not known is a `PayloadError`."""
        if not payload:
            raise PayloadError("Lifecycle", "no phase")
        try:
            phase = LifecyclePhase(payload[0])
        except ValueError:
            raise PayloadError("Lifecycle", f"phase {payload[0]} is not known") from None
        return cls(phase, decode_text(payload[1:]))


class ScenarioEnd(msgspec.Struct, frozen=True):
    """Payload of ScenarioEnd: 16 bytes, or 8 in its older form."""

    elapsed_ms: int
    total_iterations: int | None = None
    """Of all workers; None in the older form."""

    def pack(self) -> bytes:
        """Encode as 16 bytes; as 8 without iterations."""
        if self.total_iterations is None:
            return _END_OLD.pack(self.elapsed_ms)
        return _END.pack(self.elapsed_ms, self.total_iterations)

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Decode either form, else `PayloadError`."""
        _demand_size("ScenarioEnd", payload, _END.size, _END_OLD.size)
        return cls(*(_END if len(payload) == _END.size else _END_OLD).unpack(payload))


class ExitCode(msgspec.Struct, frozen=True):
    """Payload of Exit, SchedExit and ExecExit, 4 bytes."""

    code: int
    """Negative for a signal or an error number."""

    def pack(self) -> bytes:
        """Encode as 4 bytes."""
        return _I32.pack(self.code)

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Decode exactly 4 bytes, else `PayloadError`."""
        _demand_size("ExitCode", payload, _I32.size)
        return cls(*_I32.unpack(payload))


class WorkerSample(msgspec.Struct, frozen=True):
    """One worker in a `WorkerReport`, 28 bytes."""

    pid: int
    iterations: int
    """Since the worker began."""
    comm: str


class WorkerReport(msgspec.Struct, frozen=True):
    """Payload of WorkerReport: a u32 count and as many workers, at most 256."""

    workers: tuple[WorkerSample, ...]

    def pack(self) -> bytes:
        """Encode.

        Raises:
            PayloadError: There are more than 256 workers.
        """
        if len(self.workers) > MAX_WORKERS:
            raise PayloadError("WorkerReport", f"{len(self.workers)} workers, at most {MAX_WORKERS} fit")
        rows = (_WORKER.pack(w.pid, w.iterations, encode_text(w.comm, COMM_BYTES)) for w in self.workers)
        return _U32.pack(len(self.workers)) + b"".join(rows)

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Decode; a count above 256 or that does not fit the size is a `PayloadError`."""
        if len(payload) < _U32.size:
            raise PayloadError("WorkerReport", "no count")
        (count,) = _U32.unpack_from(payload)
        if count > MAX_WORKERS:
            raise PayloadError("WorkerReport", f"{count} workers, at most {MAX_WORKERS} are allowed")
        _demand_size("WorkerReport", payload, _U32.size + count * _WORKER.size)
        rows = _WORKER.iter_unpack(payload[_U32.size :])
        return cls(tuple(WorkerSample(pid, iterations, _c_string(comm)) for pid, iterations, comm in rows))


class Beats(msgspec.Struct, frozen=True):
    """Payload of Beats: heartbeats of 32 bytes each, at least one and at most 2048.

    The beats are not looked at here: a bad one among them costs itself, not its neighbours.
    """

    data: bytes

    def pack(self) -> bytes:
        """Encode; raises what `unpack` does."""
        return self.unpack(self.data).data

    @classmethod
    def unpack(cls, payload: bytes) -> Self:
        """Decode; a size that is no number of beats is a `PayloadError`."""
        count, rest = divmod(len(payload), BEAT_BYTES)
        if rest or not 0 < count <= MAX_BEATS:
            raise PayloadError(
                "Beats", f"{len(payload)} bytes are not 1 to {MAX_BEATS} beats of {BEAT_BYTES}"
            )
        return cls(payload)
