"""Blocks of the trace made of rows, for the tests of what is written of them."""

from __future__ import annotations

from collections.abc import Iterable

from ktstr_tui.kernel.trace.decode import KINDS, RECORD
from ktstr_tui.model.trace_block import TraceBlock, TraceRow
from ktstr_tui.wire.trace_block import pack


def row(time_ns: int, cpu: int, kind: str, pid: int = 0, other: int = 0, **more: int) -> TraceRow:
    """An event, with zeros for what is not said."""
    fields = {"number": 0, "to_cpu": 0, "prio": 120, **more}
    return TraceRow(time_ns, cpu, kind, pid, other, **fields)  # type: ignore[arg-type]


def block(rows: Iterable[TraceRow], **more: object) -> TraceBlock:
    """A block of these events, which begins with the first."""
    listed = list(rows)
    begin_ns, end_ns = listed[0].time_ns, listed[-1].time_ns
    data = b"".join(
        RECORD.pack(
            it.time_ns, 0, 8, 1, it.cpu, 0, KINDS.index(it.kind) + 1, it.pid,
            it.other if it.kind == "switch" else 0, _signed(it.number), it.to_cpu, 0, it.prio, it.other,
        )
        for it in listed
    )  # fmt: skip
    count, packed = pack(data, begin_ns)
    assert count == len(listed)
    times = {"begin_ns": begin_ns, "end_ns": end_ns, "now_ns": end_ns, "mono_ns": end_ns}
    return TraceBlock(**{**times, "events": count, "data": packed, **more})  # type: ignore[arg-type]


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number
