"""The stream: the one place where events get their number and their time.

``emit`` is synchronous on purpose. Numbering, folding and handing on happen without a checkpoint between
them, so the backend's own state, the snapshots cut from it and the events that follow can never disagree. In
return sinks must not block, and must not emit.
"""

from __future__ import annotations

import time
import uuid
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import TypeAlias

import msgspec

from ktstr_tui.model.events import CaptureTaken, Event, Logged
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import RunState
from ktstr_tui.wire.codec import CodecError, encode_event

Sink: TypeAlias = Callable[[Event, bytes], None]
"""Takes each event and its encoding; must return at once."""

RECENT_EVENTS = 8192
"""Events kept for viewers that missed some: about ten minutes of a run at 10 samples a second."""
RECENT_BYTES = 32 << 20


class StreamStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What went through the stream."""

    emitted: int
    bytes: int
    unencodable: int
    """Events that could not be sent as they were; an error line went out in their place."""
    recent_events: int
    recent_bytes: int
    recent_first_seq: int | None
    """Oldest event that can still be asked for."""


class Stream:
    """Numbers events, folds them into `state` and hands them to every sink.

    Not for use by several threads.

    Args:
        clock: The host's monotonic clock in ns.
        run_id: Tells this run from others of its name; random when not given.
        recent_events: How many events are kept for viewers to catch up with.
        recent_bytes: How many bytes of them at most.
    """

    def __init__(
        self,
        clock: Callable[[], int] = time.monotonic_ns,
        *,
        run_id: str | None = None,
        recent_events: int = RECENT_EVENTS,
        recent_bytes: int = RECENT_BYTES,
    ) -> None:
        self._clock = clock
        self.run_id = run_id if run_id is not None else uuid.uuid4().hex
        self._state = RunState()
        self._sinks: list[Sink] = []
        self._emitting = False
        self._recent: deque[bytes] = deque()
        self._recent_bytes = 0
        self._max_events = recent_events
        self._max_bytes = recent_bytes
        self._bytes = 0
        self._unencodable = 0

    @property
    def state(self) -> RunState:
        """The state after the newest event; read it, never change it."""
        return self._state

    def now_ns(self) -> int:
        """The clock that stamps events."""
        return self._clock()

    def add_sink(self, sink: Sink) -> None:
        """Hand every further event to ``sink``."""
        self._sinks.append(sink)

    def remove_sink(self, sink: Sink) -> None:
        """Stop handing events to ``sink``; unknown ones are ignored."""
        if sink in self._sinks:
            self._sinks.remove(sink)

    def emit(self, event: Event) -> Event:
        """Give ``event`` its number and time, fold it and hand it on.

        An event that cannot be encoded (a capture beyond all bounds) is replaced by an error line of the same
        number, so that the stream has no gap and nobody misses that something is missing.

        Args:
            event: ``seq`` is overwritten; ``mono_ns`` is kept unless it is 0.

        Returns:
            The event as it went out.
        """
        if self._emitting:
            raise RuntimeError("a sink emitted an event from inside emit()")
        seq = self._state.seq + 1
        stamped = msgspec.structs.replace(event, seq=seq, mono_ns=event.mono_ns or self._clock())
        try:
            data = encode_event(stamped)
        except CodecError as error:
            stamped = _stand_in(stamped, error)
            data = encode_event(stamped)
            self._unencodable += 1
        fold(self._state, stamped)
        self._remember(data)
        self._emitting = True
        try:
            for sink in tuple(self._sinks):
                sink(stamped, data)
        finally:
            self._emitting = False
        return stamped

    def recent(self, first: int, last: int, *, max_events: int, max_bytes: int) -> list[bytes]:
        """Return encoded events from ``first`` (or the oldest kept, if later) to ``last``, within the bounds.

        At least one event is given when any of the range is kept, however large it is.
        """
        oldest = self._state.seq - len(self._recent) + 1
        start = min(max(first, oldest), self._state.seq + 1)
        stop = max(start, min(last, self._state.seq) + 1)
        found: list[bytes] = []
        size = 0
        for data in islice(self._recent, start - oldest, stop - oldest):
            size += len(data)
            if found and (size > max_bytes or len(found) >= max_events):
                break
            found.append(data)
        return found

    def drops(self) -> dict[str, int]:
        """Return the events that could not be encoded."""
        return {"events-not-encodable": self._unencodable}

    def statistics(self) -> StreamStatistics:
        """Counts so far."""
        return StreamStatistics(
            emitted=self._state.seq,
            bytes=self._bytes,
            unencodable=self._unencodable,
            recent_events=len(self._recent),
            recent_bytes=self._recent_bytes,
            recent_first_seq=self._state.seq - len(self._recent) + 1 if self._recent else None,
        )

    def _remember(self, data: bytes) -> None:
        self._bytes += len(data)
        self._recent.append(data)
        self._recent_bytes += len(data)
        while len(self._recent) > self._max_events or (
            self._recent_bytes > self._max_bytes and len(self._recent) > 1
        ):
            self._recent_bytes -= len(self._recent.popleft())


def _stand_in(event: Event, error: CodecError) -> Event:
    what = type(event).__name__
    if isinstance(event, CaptureTaken):
        tag = event.report.tag.encode(errors="replace").decode()[:80]
        what = f"capture {tag}"
    # An encoding error quotes the value, which may be what could not be encoded.
    reason = error.message.encode(errors="replace").decode()[:300]
    text = f"{what} could not be put on the stream: {reason}"
    return Logged(seq=event.seq, mono_ns=event.mono_ns, severity="error", source="stream", text=text)
