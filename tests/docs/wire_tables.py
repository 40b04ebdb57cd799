"""Make the tables of docs/wire.md and docs/recording.md from the types that read and write those bytes."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from ktstr_tui.link import recfile
from ktstr_tui.wire import (
    codec,
    frames,
    kernel_ops,
    payloads,
    scheduler_payloads,
    stimulus_payloads,
    vlp,
    vlp_secure,
)
from ktstr_tui.wire.messages import Direction, MsgType
from tests.docs.markdown import code, table
from tests.docs.source import class_doc, constant_docs, field_docs

Part = tuple[str, Sequence[str]]
"""A format of `struct` and the names of its fields."""

FRAME_HEADER: Final[Part] = ("<IIII", ("msg_type", "length", "crc32", "pad"))
_HEADER_NOTES: Final = {
    "msg_type": "the tag's four letters as a big-endian number, so `EXIT` is sent as the bytes `TIXE`",
    "length": f"bytes of the payload, at most {frames.MAX_PAYLOAD_BYTES}",
    "crc32": "CRC-32 (IEEE) of the payload; 0 for an empty one",
    "pad": "0; another value is counted as a warning, unless the type is unknown as well",
}
LAYOUTS: Final[dict[type[msgspec.Struct], tuple[Part, ...]]] = {
    payloads.Stimulus: (("<IHHIHHQ", payloads.Stimulus.__struct_fields__),),
    payloads.SnapshotRequest: ((f"<II{payloads.SNAPSHOT_TAG_MAX}s", ("request_id", "kind", "tag")),),
    payloads.SnapshotReply: ((f"<II{payloads.SNAPSHOT_REASON_BYTES}s", ("request_id", "status", "reason")),),
    payloads.KernAddrs: (("<QQQ", payloads.KernAddrs.__struct_fields__),),
    payloads.ScenarioEnd: (("<QQ", payloads.ScenarioEnd.__struct_fields__),),
    payloads.ExitCode: (("<i", payloads.ExitCode.__struct_fields__),),
    payloads.WorkerSample: (("<IQ16s", payloads.WorkerSample.__struct_fields__),),
    scheduler_payloads.SchedUpload: (("<III256s", scheduler_payloads.SchedUpload.__struct_fields__),),
    scheduler_payloads.SchedCommand: (("<II256s", scheduler_payloads.SchedCommand.__struct_fields__),),
    scheduler_payloads.SchedReply: (
        ("<IIIIQ128s768s", scheduler_payloads.SchedReply.__struct_fields__[:-1]),
    ),
    stimulus_payloads.StimulusApplied: (
        (
            f"<IIIHHI{stimulus_payloads.STIMULUS_DETAIL_BYTES}s",
            stimulus_payloads.StimulusApplied.__struct_fields__,
        ),
    ),
}
"""Payloads of fixed size and where their fields are; `tests.unit.test_docs` decodes packed ones by it."""
VLP: Final[Part] = (
    "<2sBBIQQII",
    ("magic", "version", "status", "pid", "timestamp", "nonce", "payload", "crc32c"),
)
_VLP_NOTES: Final = {
    "magic": "`VA`",
    "version": str(vlp.VERSION),
    "pid": "of the sender in its own pid namespace; 0 and 1 are refused",
    "timestamp": f"the sender's own clock, usually ns since it connected; {vlp.TIMESTAMP_REFUSED:#x} is refused",
    "nonce": f"from 1 on, one more with each heartbeat; {vlp.NONCE_TERMINAL:#x} only in a terminal frame",
    "payload": "a word of the application's",
    "crc32c": "CRC-32C (Castagnoli) of bytes 0 to 27",
}
REC_HEADER: Final[Part] = ("<8sHHI", ("magic", "version", "length", "crc"))
REC_CHUNK: Final[Part] = ("<4sIIIIQQQQ", ("magic", *recfile.ChunkHead.__struct_fields__))
_REC_NOTES: Final = {
    "crc": "CRC-32 of everything behind this field: the rest of the head, then the payload",
    "stored": "bytes of the payload in the file",
    "raw": "bytes of the payload when decompressed",
    "count": "events in the chunk",
    "first_seq": "number of its first event",
    "last_seq": "number of its last event",
    "first_ns": "earliest `mono_ns` of its events",
    "last_ns": "latest `mono_ns` of its events",
}
_WORDS: Final = {"B": "u8", "H": "u16", "I": "u32", "i": "i32", "Q": "u64"}


def layout(part: Part, notes: dict[str, str]) -> str:
    """A table of offsets, types, names and notes."""
    return table(("offset", "type", "field", ""), _places(part, notes))


def _places(part: Part, notes: dict[str, str]) -> Iterator[tuple[object, ...]]:
    at, (form, names) = 0, part
    codes = _codes(form)
    for name, one in zip(names, codes, strict=True):
        yield at, _WORDS.get(one) or f"u8[{one[:-1]}]", code(name), notes.get(name, "")
        at += struct.calcsize(f"<{one}")


def _why(kind: str) -> str:
    return vlp.VlpError(kind).message.partition(": ")[2].partition(" (")[0]


def _codes(form: str) -> list[str]:
    codes, digits = [], ""
    for letter in form.lstrip("<"):
        if letter.isdigit():
            digits += letter
            continue
        codes.append(f"{digits}{letter}")
        digits = ""
    return codes


def wire_blocks() -> dict[str, str]:
    """The blocks of docs/wire.md by name."""
    return {
        "frame-header": layout(FRAME_HEADER, _HEADER_NOTES),
        "skip-reasons": ", ".join(code(reason) for reason in frames.SKIP_REASONS),
        "messages": table(("tag", "number", "name", "from", "", "payload"), _messages()),
        "payloads": _payloads(),
        "kernel-ops": _kernel_ops(),
        "vlp-frame": layout(VLP, _VLP_NOTES),
        "vlp-status": _members(vlp.Status),
        "vlp-errors": table(("kind", "meaning"), ((code(k), _why(k)) for k in (vlp.BAD_LENGTH, *vlp.KINDS))),
        "vlp-sealed": table(
            ("form", "bytes", "content"),
            (
                (
                    "shared key",
                    vlp_secure.SHARED_BYTES,
                    "iv_random[8], iv_counter u32, sealed frame[32], tag[16]",
                ),
                ("master key", vlp_secure.MASTER_BYTES, "agent_pid u32, then the same"),
            ),
        ),
        "link-limits": _constants(codec, "VERSION", "MAX_"),
    }


def recording_blocks() -> dict[str, str]:
    """The blocks of docs/recording.md by name."""
    notes = {
        "magic": code(recfile.MAGIC.decode()),
        "version": str(recfile.FORMAT_VERSION),
        "length": "bytes of the run's id, which follows in UTF-8",
        "crc": "CRC-32 of version, length and the run's id",
    }
    return {
        "header": layout(REC_HEADER, notes),
        "chunk": layout(REC_CHUNK, _REC_NOTES | {"magic": code(recfile.CHUNK_MAGIC.decode())}),
        "limits": _constants(recfile, "MAX_", "CHUNK_GOAL"),
        "damage": table(("field", "meaning"), ((code(k), v) for k, v in field_docs(recfile.Damage).items())),
    }


def _messages() -> Iterator[tuple[object, ...]]:
    notes = field_docs(MsgType)
    for kind in MsgType:
        sender = "guest" if kind.direction is Direction.GUEST_TO_HOST else "host"
        internal = "internal" if kind.is_coordinator_internal else ""
        yield (
            code(kind.tag),
            code(f"{kind.value:#010x}"),
            kind.name,
            sender,
            internal,
            notes.get(kind.name, ""),
        )


def _payloads() -> str:
    parts = []
    for cls, layouts in LAYOUTS.items():
        parts.append(f"**{cls.__name__}**: {class_doc(cls)}\n")
        parts += [layout(part, field_docs(cls)) for part in layouts]
    for values in (
        payloads.SnapshotKind,
        payloads.SnapshotStatus,
        payloads.LifecyclePhase,
        scheduler_payloads.SchedOp,
        scheduler_payloads.SchedStatus,
        scheduler_payloads.SchedRefuser,
    ):
        parts.append(f"**{values.__name__}**: {class_doc(values)}\n")
        parts.append(_members(values))
    parts += [
        f"**{cls.__name__}**: {class_doc(cls)}\n"
        for cls in (payloads.Lifecycle, payloads.WorkerReport, scheduler_payloads.SchedChunk)
    ]
    parts.append(f"**Beats**: {class_doc(payloads.Beats)}\n")
    return "\n".join(parts)


def _members(values: type[enum.IntEnum]) -> str:
    notes = field_docs(values)
    rows = ((member.value, code(member.name), notes.get(member.name, "")) for member in values)
    return table(("value", "name", ""), rows)


def _kernel_ops() -> str:
    rows = []
    for what, union in (("target", kernel_ops.Target), ("value", kernel_ops.Value)):
        for cls in union.__args__:
            fields = ", ".join(code(name) for name in cls.__struct_fields__) or "none"
            rows.append((what, code(cls.__struct_config__.tag), fields, class_doc(cls)))
    return (
        table(("", "`type`", "other fields", "meaning"), rows) + "\n" + _constants(kernel_ops, "KERNEL_OP_")
    )


def _constants(module: object, *prefixes: str) -> str:
    notes = constant_docs(module)  # type: ignore[arg-type]
    names = [name for name in vars(module) if name.startswith(prefixes)]
    return table(("name", "value", ""), ((code(n), getattr(module, n), notes.get(n, "")) for n in names))
