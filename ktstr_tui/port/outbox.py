"""Frames on their way to the guest: a bounded queue, because a guest that does not read must not hold up the run.

It exists before the port does, so whoever answers the guest is made with it. What is long (the pieces of an object)
goes another way: whoever sends it waits until the guest has taken the piece before, and answers overtake it.
"""

from __future__ import annotations

from collections import Counter

import trio

from ktstr_tui.wire.frames import encode_frame
from ktstr_tui.wire.messages import MsgType

MAX_QUEUED_REPLIES = 64
"""Answers that may wait for a guest that does not read."""
RESERVED_REPLIES = 4
"""Room beyond that for the host's own frames: a guest cannot crowd out its Shutdown."""
_ANSWERS = (MsgType.SnapshotReply, MsgType.KernelOpReply)


class Outbox:
    """Queues frames for one guest, in order; `GuestPort` writes them."""

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        """Frames that did not reach the guest, by reason."""
        self._send, self._queued = trio.open_memory_channel[bytes](MAX_QUEUED_REPLIES + RESERVED_REPLIES)
        self._send_long, self._long = trio.open_memory_channel[bytes](0)

    def reply(self, kind: MsgType, payload: bytes = b"") -> None:
        """Queue a frame; dropped and counted when too many wait already."""
        waiting = self._send.statistics().current_buffer_used
        most = MAX_QUEUED_REPLIES if kind in _ANSWERS else MAX_QUEUED_REPLIES + RESERVED_REPLIES
        if waiting < most:
            self._send.send_nowait(encode_frame(kind, payload))
        else:
            self.dropped[f"to guest: {kind.name}: queue full"] += 1

    async def send(self, kind: MsgType, payload: bytes) -> None:
        """Hand over a frame that is one of many; waits until the one before it has been written."""
        await self._send_long.send(encode_frame(kind, payload))

    async def write_to(self, stream: trio.abc.SendStream) -> None:
        """Write what is queued until cancelled; frames for a closed port are counted."""
        turn = trio.Lock()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write, stream, self._queued, turn)
            nursery.start_soon(self._write, stream, self._long, turn)

    async def _write(
        self, stream: trio.abc.SendStream, frames: trio.MemoryReceiveChannel[bytes], turn: trio.Lock
    ) -> None:
        async for frame in frames:
            try:
                async with turn:
                    await stream.send_all(frame)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self.dropped["to guest: port closed"] += 1
