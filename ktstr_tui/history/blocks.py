"""Events of the trace as blocks, for viewers, captures and recordings."""

from __future__ import annotations

from collections.abc import Mapping

from ktstr_tui.model.trace_block import MAX_BLOCK_EVENTS, TraceBlock
from ktstr_tui.wire.trace_block import RECORD_BYTES, pack


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
