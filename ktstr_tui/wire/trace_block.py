"""Blocks of the kernel's trace to bytes and back: columns, which are packed in C, compressed with zstd.

``native/trace/ktstr_block.h`` says what the columns are. A block that is no such thing, as a damaged one, raises; its
numbers may still be anything, because they come from the guest.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Final, Literal, TypeAlias, get_args

import zstandard

from ktstr_tui._native import ffi, lib
from ktstr_tui.model.trace_block import MAX_BLOCK_EVENTS, TraceBlock, TraceKind, TraceRow
from ktstr_tui.wire.codec import CodecError

KINDS: Final[tuple[TraceKind, ...]] = get_args(TraceKind)
"""The kind of an event is its place here, counted from 1."""
assert KINDS[lib.KTT_SWITCH - 1] == "switch"
RECORD_BYTES: Final = ffi.sizeof("struct ktt_event")
_Code: TypeAlias = Literal["I", "B", "H", "i", "Q", "h"]
_COLUMNS: Final[tuple[tuple[_Code, int], ...]] = (
    ("I", 4),
    ("I", 4),
    ("B", 1),
    ("H", 2),
    ("i", 4),
    ("i", 4),
    ("Q", 8),
    ("h", 2),
    ("h", 2),
)
assert sum(size for _, size in _COLUMNS) == lib.KTT_PACKED_BYTES
_MASK64: Final = (1 << 64) - 1
_LEVEL: Final = 1


def merge(runs: Sequence[bytes]) -> bytes:
    """Merge events of CPUs, each in order of time, to one order.

    Args:
        runs: Arrays of ``struct ktt_event``.
    """
    runs = [run for run in runs if run]
    if len(runs) < 2:
        return runs[0] if runs else b""
    merged = bytearray(sum(map(len, runs)))
    pointers = [ffi.from_buffer("struct ktt_event[]", run) for run in runs]
    lengths = [len(run) // RECORD_BYTES for run in runs]
    lib.ktt_merge(
        ffi.new("struct ktt_event *[]", pointers), ffi.new("size_t[]", lengths), len(runs),
        ffi.new("size_t[]", len(runs)), ffi.from_buffer("struct ktt_event[]", merged, require_writable=True),
    )  # fmt: skip
    return bytes(merged)


def pack(events: bytes, base_ns: int) -> tuple[int, bytes]:
    """Pack events in order of time; those without all of their values, or of an unknown kind, are left out.

    Args:
        events: An array of ``struct ktt_event``.
        base_ns: What the first time is counted from.

    Returns:
        How many events, and the data of a block.
    """
    count = len(events) // RECORD_BYTES
    first = ffi.from_buffer("struct ktt_event[]", events)
    number = lib.ktt_packable(first, count)
    if not number:
        return 0, b""
    columns = bytearray(number * lib.KTT_PACKED_BYTES)
    lib.ktt_pack(first, count, number, base_ns, ffi.from_buffer(columns, require_writable=True))
    return number, zstandard.ZstdCompressor(level=_LEVEL).compress(bytes(columns))


def unpack(block: TraceBlock) -> list[TraceRow]:
    """Return the events of a block.

    Raises:
        CodecError: It is damaged.
    """
    if not block.events or not block.data:
        return []
    if not 0 < block.events <= MAX_BLOCK_EVENTS:
        raise CodecError(f"a block of {block.events} events of the trace")
    size = block.events * lib.KTT_PACKED_BYTES
    try:
        if zstandard.frame_content_size(block.data) != size:
            raise CodecError("a block of the trace has another size than its number of events says")
        raw = memoryview(zstandard.ZstdDecompressor().decompress(block.data, max_output_size=size))
    except zstandard.ZstdError as error:
        raise CodecError(f"a block of the trace is damaged: {error}") from error
    columns, at = [], 0
    for code, width in _COLUMNS:
        columns.append(raw[at : at + width * block.events].cast(code))
        at += width * block.events
    low, high, kinds, cpus, pids, others, numbers, to_cpus, prios = columns
    passed = (a + (b << 32) for a, b in zip(low, high, strict=True))
    times = accumulate(passed, lambda time, more: (time + more) & _MASK64, initial=block.begin_ns)
    next(times)
    names = dict(enumerate(KINDS, 1))
    rest = zip(times, cpus, kinds, pids, others, numbers, to_cpus, prios, strict=True)
    return [
        TraceRow(time, cpu, names.get(kind, "other"), pid, other, number, to_cpu, prio)
        for time, cpu, kind, pid, other, number, to_cpu, prio in rest
    ]
