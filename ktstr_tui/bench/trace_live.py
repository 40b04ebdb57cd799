"""What following the trace of a running guest costs, in CPU time of the thread that does it.

A look takes what was written since the one before. The first look of a new reader takes all that the kernel still
has, so new readers look at one full buffer of a frozen guest; the second look of each, which finds nothing new, shows
what a look costs in any case. The cost at a rate of events is reckoned from both.
"""

from __future__ import annotations

import time
from typing import Any, Final

from ktstr_tui.bench.guest import summary
from ktstr_tui.history.live import LiveTrace
from ktstr_tui.kernel.trace.reader import TraceReader
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.link.recfile import RecordedEvent, pack_chunk
from ktstr_tui.model.errors import GuestError
from ktstr_tui.model.events import TasksMeasured, TraceRead
from ktstr_tui.wire.codec import encode_event

RATE_PER_S: Final = 100_000
GOAL_SHARE: Final = 0.10


def live_cost(view: KernelView, reader: TraceReader, rounds: int) -> dict[str, Any]:
    """Measure looks at the trace of a frozen guest: read, count, pack and encode for viewers.

    Args:
        view: Of the guest.
        reader: Of its trace.
        rounds: How many readers.

    Raises:
        GuestError: There are no events.
    """
    per_event_us, empty_us, recorded, events = list[float](), list[float](), 0.0, 0
    for _ in range(rounds):
        live = LiveTrace(reader, view.fresh_space(), view.nr_cpus, view.trace_now_ns)
        first_us, events, data = _look(live)
        again_us, _, _ = _look(live)
        if not events or not data:
            raise GuestError("the guest's trace has no events")
        empty_us.append(again_us)
        per_event_us.append((first_us - again_us) / events)
        assert live.block is not None
        recorded = len(pack_chunk([RecordedEvent(1, 1, data)])) / events
    cost, empty = summary(per_event_us), summary(empty_us)
    share = (cost["p50"] * RATE_PER_S + empty["p50"]) / 1e6
    return {
        "live_events": events,
        "live_us_per_event": cost,
        "live_us_per_look": empty,
        "live_share": share,
        "live_share_is": f"of a core at {RATE_PER_S} events and one look a second, reckoned from both",
        "goal_live_share": GOAL_SHARE,
        "live_met": share <= GOAL_SHARE,
        "recorded_bytes_per_event": recorded,
    }


def _look(live: LiveTrace) -> tuple[float, int, bytes]:
    """Look once; the microseconds, the events, and the block as it goes to viewers and into the recording."""
    start_ns, data = time.thread_time_ns(), b""
    rates = live.look()
    encode_event(TasksMeasured(seq=1, mono_ns=1, rates=rates))
    if live.block is not None and live.block.events:
        data = encode_event(TraceRead(seq=1, mono_ns=1, block=live.block))
    return (time.thread_time_ns() - start_ns) / 1e3, rates.events, data
