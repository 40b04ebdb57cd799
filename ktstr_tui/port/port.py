"""The guest's port: bytes in, actions out; what is in the outbox goes back in order.

Reading never waits for anything but the guest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import trio

from ktstr_tui.model.facts import FrameCounters
from ktstr_tui.port.actions import Action
from ktstr_tui.port.dispatch import Dispatcher
from ktstr_tui.port.floodgate import FloodGate
from ktstr_tui.port.outbox import Outbox
from ktstr_tui.port.verdict import RESULT_KINDS
from ktstr_tui.wire.frames import FrameAssembler

READ_BYTES = 65536


class GuestPort:
    """The bulk port of one guest.

    Args:
        stream: Our end of the virtio-serial port.
        outbox: What is to be written to it.
        handlers: Each takes every action, in order, on the trio thread; must not block.
        clock: Host monotonic clock in nanoseconds.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        outbox: Outbox,
        handlers: Iterable[Callable[[Action], None]],
        clock: Callable[[], int],
    ) -> None:
        self.dispatcher = Dispatcher()
        self.last_frame_ns = clock()
        """When the guest last sent a whole frame."""
        self._stream = stream
        self._outbox = outbox
        self._handlers = tuple(handlers)
        self._clock = clock
        self._assembler = FrameAssembler()
        self._gate = FloodGate()
        self.ended = trio.Event()
        """Set when the guest's last byte has been taken."""

    async def run(self) -> None:
        """Pump both ways until the guest closes its end or is gone."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._outbox.write_to, self._stream)
            try:
                while data := await self._stream.receive_some(READ_BYTES):
                    self.feed(bytes(data))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            self.ended.set()
            nursery.cancel_scope.cancel()

    def feed(self, data: bytes) -> None:
        """Take bytes of the guest and hand on what they ask for."""
        frames = self._assembler.feed(data)
        now_ns = self._clock()
        if frames:
            self.last_frame_ns = now_ns
        for action in self._gate.admit(self.dispatcher.dispatch(frames), now_ns):
            for handle in self._handlers:
                handle(action)

    def counters(self) -> FrameCounters:
        """Everything that was counted about frames so far."""
        assembled = self._assembler.statistics()
        dispatched = self.dispatcher.statistics()
        # An inert frame moved nothing and is only in the bucket, until the end or until it is full.
        dropped = Counter(dispatched.dropped) + Counter(dispatched.inert) + self._outbox.dropped
        dropped += Counter(
            {f"{kind.name}: bucket full": dispatched.evicted.get(kind.name, 0) for kind in RESULT_KINDS}
        )
        dropped += Counter(self._gate.statistics().dropped)
        return FrameCounters(
            received=assembled.frames,
            bytes=assembled.bytes,
            crc_bad=assembled.crc_bad,
            unknown=dispatched.unknown,
            oversized=assembled.oversized,
            resyncs=assembled.resyncs,
            skipped_bytes=assembled.skipped_bytes,
            residual=assembled.residual,
            payload_bytes=assembled.payload_bytes,
            cut=assembled.cut,
            pad_nonzero=assembled.pad_nonzero,
            skipped={reason: count for reason, count in assembled.skipped_by_reason.items() if count},
            dropped=dict(dropped),
            by_type=dispatched.by_type,
        )

    def drops(self) -> dict[str, int]:
        """Bytes of text that were left out because there was too much of it, by type."""
        left_out = self._gate.statistics().dropped_text_bytes
        return {f"bytes-left-out: {kind}": count for kind, count in left_out.items()}
