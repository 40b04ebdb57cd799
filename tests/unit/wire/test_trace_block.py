"""Events to blocks and back, one by one, and damaged blocks."""

from __future__ import annotations

import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.history.blocks import block_of
from ktstr_tui.model.trace_block import TraceBlock, TraceRow
from ktstr_tui.wire.codec import CodecError
from ktstr_tui.wire.trace_block import KINDS, merge, unpack

RECORD = struct.Struct("<QIIHHHH7q")
U64 = st.integers(0, (1 << 64) - 1)
I32 = st.integers(-(1 << 31), (1 << 31) - 1)
I16 = st.integers(-(1 << 15), (1 << 15) - 1)
ROWS = st.builds(
    TraceRow, time_ns=U64, cpu=st.integers(0, 65535), kind=st.sampled_from(KINDS), pid=I32, other=I32,
    number=U64, to_cpu=I16, prio=I16,
)  # fmt: skip


def record(row: TraceRow, missing: int = 0, kind: int | None = None) -> bytes:
    """A row as ``struct ktt_event``."""
    number = KINDS.index(row.kind) + 1 if kind is None else kind
    signed = row.number - (row.number >> 63 << 64)
    prev, by = (row.other, 0) if row.kind == "switch" else (0, row.other)
    values = (row.pid, prev, signed, row.to_cpu, 0, row.prio, by)
    return RECORD.pack(row.time_ns, 0, 0, 7, row.cpu, missing, number, *values)


def block(events: bytes, begin_ns: int = 0, limit: int = 1000) -> TraceBlock:
    return block_of(events, begin_ns=begin_ns, end_ns=1, now_ns=1, mono_ns=1, comms={}, lost={}, limit=limit)


@given(rows=st.lists(ROWS, max_size=60), begin_ns=U64)
def test_every_event_comes_back_as_it_was(rows: list[TraceRow], begin_ns: int) -> None:
    packed = block(b"".join(map(record, rows)), begin_ns)
    assert packed.events == len(rows)
    assert unpack(packed) == rows
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(packed), type=TraceBlock)
    assert unpack(again) == rows


@given(runs=st.lists(st.lists(ROWS, max_size=20), max_size=5))
def test_runs_are_merged_in_order_of_time(runs: list[list[TraceRow]]) -> None:
    runs = [sorted(run) for run in runs]
    merged = merge([b"".join(map(record, run)) for run in runs])
    wanted = sorted((row for run in runs for row in run), key=lambda row: row.time_ns)
    assert unpack(block(merged)) == wanted


def test_what_is_unknown_or_cut_is_left_out_and_of_too_many_the_newest_are_kept() -> None:
    rows = [TraceRow(time, 0, "wakeup", time, 1, 0, 2, 120) for time in range(5)]
    assert unpack(block(record(rows[0], missing=1) + record(rows[1], kind=0) + record(rows[2]))) == rows[2:3]
    packed = block(b"".join(map(record, rows)), limit=2)
    assert (unpack(packed), packed.left_out, packed.begin_ns) == (rows[3:], 3, 3)


@pytest.mark.parametrize("harm", ["cut", "flip", "count", "size"])
def test_a_damaged_block_is_refused(harm: str) -> None:
    good = block(b"".join(record(TraceRow(time, 0, "exit", 1, 1, 0, 0, 0)) for time in range(50)))
    data = {"cut": good.data[:-3], "flip": b"\0" + good.data[1:], "size": good.data, "count": good.data}[harm]
    events = {"count": 1 << 40, "size": 49}.get(harm, good.events)
    with pytest.raises(CodecError):
        unpack(msgspec.structs.replace(good, data=data, events=events))
