"""Events of the trace as blocks, for viewers, captures and recordings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ktstr_tui._native import ffi, lib
from ktstr_tui.kernel.trace.reader import Trace
from ktstr_tui.model.trace_block import MAX_BLOCK_EVENTS, TraceBlock
from ktstr_tui.wire.trace_block import RECORD_BYTES, merge, pack

MAX_CAPTURED_EVENTS: Final = 30_000
"""Of a capture: the newest."""


def since(events: bytes, begin_ns: int) -> bytes:
    """Leave out what is older, of an array of ``struct ktt_event`` in order of time."""
    count = len(events) // RECORD_BYTES
    older = lib.ktt_until(ffi.from_buffer("struct ktt_event[]", events), count, max(0, begin_ns - 1))
    return events[older * RECORD_BYTES :]


def block_of_trace(trace: Trace, stop_ns: int, mono_ns: int) -> TraceBlock:
    """Make the block of a capture: what is known of all CPUs up to the stop.

    Args:
        trace: The trace, without what is later than the stop.
        stop_ns: The stop on the trace's clock.
        mono_ns: The stop on the host's clock.
    """
    known = [it for it in trace.cpus if it.unavailable is None]
    begin_ns = min(stop_ns, max((it.known_from_ns for it in known), default=stop_ns))
    comms = dict[int, str]()
    for it in known:
        for event in it.events:
            for pid, comm in ((event.prev_pid, event.prev_comm), (event.pid, event.comm)):
                if pid and comm:
                    comms[pid] = comm
    return block_of(
        since(merge([it.records for it in known]), begin_ns), begin_ns=begin_ns, end_ns=stop_ns, now_ns=stop_ns,
        mono_ns=mono_ns, comms=comms, lost={}, limit=MAX_CAPTURED_EVENTS,
    )  # fmt: skip


def block_of(
    events: bytes,
    *,
    begin_ns: int,
    end_ns: int,
    now_ns: int,
    mono_ns: int,
    comms: Mapping[int, str],
    lost: Mapping[int, int],
    limit: int = MAX_BLOCK_EVENTS,
) -> TraceBlock:
    """Make a block of an array of ``struct ktt_event`` in order of time; of too many the newest are kept.

    Args:
        events: The array.
        begin_ns: From when on it is all of them.
        end_ns: Until when.
        now_ns: The trace's clock at the look.
        mono_ns: The host's clock at the same moment.
        comms: Names of tasks that are new.
        lost: Events of each CPU that were not seen.
        limit: Most events.
    """
    left_out = max(0, len(events) // RECORD_BYTES - limit)
    if left_out:
        events = events[left_out * RECORD_BYTES :]
        begin_ns = max(begin_ns, int.from_bytes(events[:8], "little"))
    count, data = pack(events, begin_ns)
    return TraceBlock(
        begin_ns=begin_ns, end_ns=end_ns, now_ns=now_ns, mono_ns=mono_ns, events=count, data=data, comms=dict(comms),
        lost=dict(lost), left_out=left_out,
    )  # fmt: skip
