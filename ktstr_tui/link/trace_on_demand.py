"""Blocks of the kernel's trace go to the viewers that ask for them; the others are told that there was one.

A stream has no holes, so a viewer that has not opened a timeline gets the event of a block too, without the block's
events and with the reason. When it wants them after all, a snapshot brings those that the run still keeps.
"""

from __future__ import annotations

from msgspec.structs import replace

from ktstr_tui.link.framing import BRIEF_TOPIC, EVENT_TOPIC, TRACE_TOPIC
from ktstr_tui.model.events import Event, TraceRead
from ktstr_tui.model.state import RunState
from ktstr_tui.model.trace_block import TraceBlock
from ktstr_tui.wire.codec import encode_event

NOT_ASKED = "this viewer has not asked for the kernel's trace; the run's recording has it"


def messages(event: Event, data: bytes) -> list[tuple[bytes, bytes]]:
    """Return what is sent of an event whose encoding is ``data``: topics with their bytes."""
    if not isinstance(event, TraceRead):
        return [(EVENT_TOPIC, data)]
    brief = replace(event, block=_brief(event.block))
    return [(TRACE_TOPIC, data), (BRIEF_TOPIC, encode_event(brief))]


def without_trace(state: RunState) -> RunState:
    """Return a state without the events of its blocks; the rest is shared with the one given."""
    return replace(state, trace=[_brief(it) for it in state.trace])


def lacks_trace(state: RunState) -> bool:
    """Whether a block is without its events because nobody asked for them here."""
    return any(it.dropped == NOT_ASKED for it in state.trace)


def _brief(block: TraceBlock) -> TraceBlock:
    return replace(block, events=0, data=b"", comms={}, dropped=block.dropped or NOT_ASKED)
