"""What a recording keeps of the kernel's trace: its blocks up to a limit, or none.

A block that is not kept leaves its event behind, without events of the trace and with the reason: the numbers of the
recording have no hole, and who plays it is told.
"""

from __future__ import annotations

import msgspec

from ktstr_tui.model.events import Event, TraceRead
from ktstr_tui.model.trace_block import MAX_RECORDED_BYTES
from ktstr_tui.wire.codec import encode_event

NOT_WANTED = "not recorded: the run was started with --no-record-trace"


class TraceKeeper:
    """Counts what a recording has of the trace.

    Args:
        max_bytes: Of packed events; 0 keeps none.
    """

    def __init__(self, max_bytes: int = MAX_RECORDED_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = self._left_out = 0

    def kept(self, event: Event, data: bytes) -> bytes:
        """Return what is recorded of an event whose encoding is ``data``."""
        if not isinstance(event, TraceRead):
            return data
        block = event.block
        if self._bytes + len(block.data) <= self._max_bytes:
            self._bytes += len(block.data)
            return data
        reason = NOT_WANTED
        if self._max_bytes:
            reason = f"not recorded: the trace may have {self._max_bytes >> 20} MiB of a recording"
            self._left_out += block.events
        empty = msgspec.structs.replace(block, events=0, data=b"", dropped=reason)
        return encode_event(msgspec.structs.replace(event, block=empty))

    def drops(self) -> dict[str, int]:
        """Return the events of the trace that are not in the recording because of its limit."""
        return {"trace-beyond-limit": self._left_out}
