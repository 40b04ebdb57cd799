"""Sends events to viewers: one by itself at once, those that follow in the same turn of the loop together.

No clock decides. The first event of a turn leaves when it is emitted, so that none waits for others. What else is
emitted before other tasks get the loop is packed, once for all viewers, and leaves at the end of the turn, or earlier
when it has grown large or somebody gets an answer that tells how far the stream is.
"""

from __future__ import annotations

from collections import Counter

import trio
import zmq

from ktstr_tui.link.framing import EVENT_TOPIC
from ktstr_tui.link.trace_on_demand import messages
from ktstr_tui.link.zsocket import TrioSocket
from ktstr_tui.model.events import Event
from ktstr_tui.wire.event_batch import MAX_BATCH_BYTES, join_events


class EventBatches:
    """The way from a stream to the events socket.

    Args:
        socket: The bound XPUB socket.
        run_id: The run, as each message names it.
    """

    def __init__(self, socket: TrioSocket, run_id: bytes) -> None:
        self._socket = socket
        self._run_id = run_id
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._in_turn = False
        self._began = trio.Event()
        self.sent = self.sent_bytes = 0
        """Events handed to ZeroMQ, and their bytes."""
        self.refused: Counter[str] = Counter()
        """Events that it did not take, by reason."""

    def add(self, event: Event, data: bytes) -> None:
        """Send an event whose encoding is ``data``, now or with others at the end of the turn."""
        parts = messages(event, data)
        if self._in_turn and len(parts) == 1:
            if self._waiting_bytes + len(data) > MAX_BATCH_BYTES:
                self.flush()
            self._waiting.append(data)
            self._waiting_bytes += len(data)
            return
        self.flush()
        # What goes to different viewers in different words is one event for all that.
        whole = [self._send(topic, [part]) for topic, part in parts]
        if all(whole):
            self.sent += 1
            self.sent_bytes += len(data)
        if not self._in_turn:
            self._in_turn = True
            self._began.set()

    def flush(self) -> None:
        """Send what waits for the end of the turn."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        size, self._waiting_bytes = self._waiting_bytes, 0
        if self._send(EVENT_TOPIC, waiting):
            self.sent += len(waiting)
            self.sent_bytes += size

    def drops(self) -> dict[str, int]:
        """Return the events that could not be sent, by reason."""
        return {f"not-sent: {reason}": count for reason, count in self.refused.items()}

    async def run(self) -> None:
        """Flush at the end of each turn in which something was sent, until cancelled."""
        while True:
            await self._began.wait()
            self._began = trio.Event()
            self._in_turn = False
            self.flush()

    def _send(self, topic: bytes, events: list[bytes]) -> bool:
        try:
            self._socket.send_nowait([topic, self._run_id, join_events(events)])
        except trio.WouldBlock:
            self.refused["event: full"] += len(events)
            return False
        except zmq.ZMQError as error:
            self.refused[f"event: {error.strerror}"] += len(events)
            return False
        return True
