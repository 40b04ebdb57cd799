"""The receiving end of the events socket, under asyncio: waits once, then takes all that is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import zmq
import zmq.asyncio

from ktstr_tui.link import framing
from ktstr_tui.link.lag import LagMeter
from ktstr_tui.model.events import BackendBeat, Event, Sampled
from ktstr_tui.wire.codec import MAX_EVENT_BYTES, CodecError, decode_event
from ktstr_tui.wire.event_batch import split_events

BUDGET_EVENTS = 500
"""Events taken in one go before others get the loop; a batch is taken whole."""
BUDGET_NS = 10_000_000
_STAMPED_WHEN_SENT = (BackendBeat, Sampled)
_TOPICS = (framing.EVENT_TOPIC, framing.TRACE_TOPIC, framing.BRIEF_TOPIC)
QUEUE_MESSAGES = 1000
"""Messages that may wait here before ZeroMQ drops the newest."""


class Subscription:
    """The SUB socket of a viewer.

    Awaiting each message costs twice what taking them in one go costs, so `wait` uses the socket of asyncio
    and `drain` a shadow of it that does not know of the loop. The next `wait` looks at the socket itself
    before it sleeps, so an edge eaten by `drain` is no loss.

    Args:
        context: Makes the socket.
        topic: The viewer's own, see `framing.VIEWER_TOPIC`.
        clock: Our monotonic clock in ns.
        trace: Whether to get the kernel's trace.
    """

    def __init__(
        self, context: zmq.asyncio.Context, topic: str, clock: Callable[[], int], *, trace: bool
    ) -> None:
        self.socket: zmq.asyncio.Socket = context.socket(zmq.SUB)
        self.socket.set(zmq.LINGER, 0)
        self.socket.set(zmq.RCVHWM, QUEUE_MESSAGES)
        self.socket.set(zmq.RECONNECT_IVL, 100)
        self.socket.set(zmq.MAXMSGSIZE, MAX_EVENT_BYTES + 4096)
        self.socket.subscribe(framing.EVENT_TOPIC)
        self.socket.subscribe(topic.encode())
        self.socket.subscribe(framing.TRACE_TOPIC if trace else framing.BRIEF_TOPIC)
        self._shadow: zmq.Socket[bytes] = zmq.Socket.shadow(self.socket)
        self._clock = clock
        self.lag = LagMeter()
        self.measures_lag = True
        """Whether the sender stamps by a clock that goes as ours does; the guest's own does not."""
        self.late_ms = 0.0
        """Lag of the newest event of the last `drain` that tells."""
        self.received = self.bytes = self.skipped = self.undecodable = 0

    def want_trace(self) -> None:
        """Get the kernel's trace from now on; on the way to it one of its events may come twice."""
        self.socket.subscribe(framing.TRACE_TOPIC)
        self.socket.unsubscribe(framing.BRIEF_TOPIC)

    async def wait(self, timeout_ms: int) -> bool:
        """Wait until something is there; whether something is."""
        return bool(await self.socket.poll(timeout_ms))

    def drain(self) -> list[tuple[str, Event]]:
        """What is there, each with its run, within the budget of one turn."""
        batch: list[tuple[str, Event]] = []
        self.late_ms = 0.0
        deadline_ns = self._clock() + BUDGET_NS
        while len(batch) < BUDGET_EVENTS:
            now_ns = self._clock()
            if now_ns > deadline_ns:
                break
            try:
                frames = self._shadow.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            for item in self._parse(frames):
                batch.append(item)
                # Only these are stamped when they are sent; a capture is stamped when the guest stopped.
                if self.measures_lag and isinstance(item[1], _STAMPED_WHEN_SENT):
                    self.lag.record(item[1].mono_ns, now_ns)
                    self.late_ms = self.lag.lag_ms or 0.0
        return batch

    def skip(self) -> None:
        """Throw away what is there, unread."""
        for _ in range(2 * QUEUE_MESSAGES):
            try:
                frames = self._shadow.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            self.skipped += len(self._events_in(frames))

    def _parse(self, frames: list[bytes]) -> Iterator[tuple[str, Event]]:
        run_id = frames[1].decode("ascii", "replace") if len(frames) > 1 else ""
        for data in self._events_in(frames):
            self.received += 1
            self.bytes += len(data)
            try:
                yield run_id, decode_event(data)
            except CodecError:
                # Its number will be missing, and the snapshot that this leads to has what it said.
                self.undecodable += 1

    def _events_in(self, frames: list[bytes]) -> list[memoryview]:
        """The events of a message; none, and one more that cannot be read, when it is no such message."""
        if len(frames) == 3 and frames[0] in _TOPICS:
            try:
                return split_events(frames[2])
            except CodecError:
                pass
        self.received += 1
        self.undecodable += 1
        return []
