"""Frames on their way to the guest: a bounded queue, because a guest that does not read must not hold up the run.

It exists before the port does, so whoever answers the guest is made with it. What is long (the pieces of an object)
goes another way: whoever sends it waits until the guest has taken the piece before, and answers overtake it. It also
knows what the guest waits for: a deterministic machine stands until it is answered.
"""

from __future__ import annotations

import struct
from collections import Counter
from contextlib import suppress

import trio

from ktstr_tui.port import actions as act
from ktstr_tui.wire.frames import encode_frame
from ktstr_tui.wire.messages import MsgType, SnapshotStatus

MAX_QUEUED_REPLIES = 64
"""Answers that may wait for a guest that does not read."""
RESERVED_REPLIES = 4
"""Room beyond that for the host's own frames: a guest cannot crowd out its Shutdown."""
_QUEUED = struct.pack("<I", SnapshotStatus.QUEUED)
_OWED: dict[MsgType, tuple[type, ...]] = {
    MsgType.AccessorReady: (act.SystemReady,),
    MsgType.SnapshotReply: (act.SnapshotRequested, act.Refuse),
    MsgType.KernelOpReply: (act.KernelOpRequested, act.RefuseKernelOp),
    MsgType.Shutdown: (act.Exited,),
}
"""What a guest waits for after it has said something."""
_ANSWERS = (MsgType.SnapshotReply, MsgType.KernelOpReply)


class Outbox:
    """Queues frames for one guest, in order; `GuestPort` writes them.

    Args:
        pulled: Whether they are fetched with `pull` instead, at instants that somebody else decides.
    """

    def __init__(self, *, pulled: bool = False) -> None:
        self._pulled = pulled
        self._owed: Counter[MsgType] = Counter()
        self._settled = trio.Event()
        self._settled.set()
        self.dropped: Counter[str] = Counter()
        """Frames that did not reach the guest, by reason."""
        self._send, self._queued = trio.open_memory_channel[bytes](MAX_QUEUED_REPLIES + RESERVED_REPLIES)
        self._send_long, self._long = trio.open_memory_channel[bytes](0)

    def reply(self, kind: MsgType, payload: bytes = b"") -> None:
        """Queue a frame; dropped and counted when too many wait already."""
        self._settle(kind, payload)
        waiting = self._send.statistics().current_buffer_used
        most = MAX_QUEUED_REPLIES if kind in _ANSWERS else MAX_QUEUED_REPLIES + RESERVED_REPLIES
        if waiting < most:
            self._send.send_nowait(encode_frame(kind, payload))
        else:
            self.dropped[f"to guest: {kind.name}: queue full"] += 1

    async def send(self, kind: MsgType, payload: bytes) -> None:
        """Hand over a frame that is one of many; waits until the one before it has been written."""
        await self._send_long.send(encode_frame(kind, payload))

    def owe(self, action: act.Action) -> None:
        """Note what the guest waits for from now on, if it waits for anything."""
        for kind, actions in _OWED.items():
            if isinstance(action, actions):
                self._owed[kind] += 1
                if self._settled.is_set():
                    self._settled = trio.Event()

    @property
    def owes_nothing(self) -> bool:
        """Whether the guest waits for nothing that was not queued."""
        return self._settled.is_set()

    async def settled(self) -> None:
        """Wait until the guest waits for nothing that was not queued."""
        while not self._settled.is_set():
            await self._settled.wait()

    def pull(self) -> bytes:
        """Take all that is queued, and at most one of the long ones."""
        frames = []
        while self._send.statistics().current_buffer_used:
            frames.append(self._queued.receive_nowait())
        with suppress(trio.WouldBlock):
            frames.append(self._long.receive_nowait())
        return b"".join(frames)

    def _settle(self, kind: MsgType, payload: bytes) -> None:
        if kind is MsgType.SnapshotReply and payload[4:8] == _QUEUED:
            return
        if self._owed[kind] > 0:
            self._owed[kind] -= 1
        if not any(self._owed.values()):
            self._settled.set()

    async def write_to(self, stream: trio.abc.SendStream) -> None:
        """Write what is queued until cancelled; frames for a closed port are counted."""
        if self._pulled:
            await trio.sleep_forever()
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
