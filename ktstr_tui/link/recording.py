"""Recording a run: a sink of the stream that writes to a file and can never hold up or end the run.

Emitting puts the event's bytes into a bounded queue. Twice a second a task takes what is there, and a thread
compresses and writes it; so a backend that is killed loses less than a second. When the disk is full or fails
the file is cut back to its last whole chunk, the events are counted as dropped, an alert says so, and the
next round tries again: the recording then has a hole, which the numbers of its events show, and no wrong
byte.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import trio

from ktstr_tui.link.recfile import (
    Damage,
    RecordedEvent,
    RecordingReader,
    header,
    pack_chunk,
    read_recording,
    split_chunks,
)
from ktstr_tui.link.stream import Stream
from ktstr_tui.link.trace_keeper import TraceKeeper
from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.model.events import AlertCleared, AlertRaised, Event

__all__ = ["Damage", "Recorder", "RecorderStatistics", "RecordingReader", "read_recording"]

FLUSH_INTERVAL_S = 0.5
WRITES_TO_CLEAR = 4
"""Writes in a row that must succeed before the alert of a failed one is over: a disk that is almost full flickers."""
MAX_QUEUE_BYTES = 64 << 20
"""Bytes of events that may wait for a slow disk."""
MAX_FILE_BYTES = 8 << 30
"""Size at which a recording takes no more events: a guest that talks without end must not fill the host's disk."""
FAREWELL_S = 5.0
"""How long writing the last events may take when the run ends."""
ALERT_KEY = "recording"


class RecorderStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What was recorded."""

    path: str
    events: int
    """Events in the file."""
    bytes: int
    """Size of the file."""
    raw_bytes: int
    """What the events have uncompressed."""
    chunks: int
    queued: int
    queued_bytes: int
    dropped: dict[str, int]
    """Events that are not in the file, by reason."""
    errors: int
    """Writes that failed."""
    last_error: str


class Recorder:
    """Writes every event of ``stream`` from now on to a new file.

    Args:
        stream: What to record.
        path: The file; it must not exist, so that no recording is overwritten.
        interval_s: How often to write.
        max_queue_bytes: How much may wait to be written.
        max_file_bytes: How large the file may become; how the run ended is written in any case.
        trace: Decides what is kept of the kernel's trace; up to its usual limit when not given.

    Raises:
        UsageError: The file exists already, or cannot be made.
        HostError: Not even its header can be written.
    """

    def __init__(
        self,
        stream: Stream,
        path: Path,
        *,
        interval_s: float = FLUSH_INTERVAL_S,
        max_queue_bytes: int = MAX_QUEUE_BYTES,
        max_file_bytes: int = MAX_FILE_BYTES,
        trace: TraceKeeper | None = None,
    ) -> None:
        self._stream = stream
        self._path = path
        self._interval_s = interval_s
        self._max_queue_bytes = max_queue_bytes
        self._max_file_bytes = max_file_bytes
        self._trace = trace or TraceKeeper()
        self._queue: list[RecordedEvent] = []
        self._queued_bytes = 0
        self._dropped: Counter[str] = Counter()
        self._events = self._raw_bytes = self._chunks = self._errors = 0
        self._last_error = ""
        self._failing = False
        self._wrote_in_a_row = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        try:
            self._fd = os.open(path, flags, 0o600)
        except FileExistsError:
            raise UsageError(
                f"{path} exists already", "a recording is never overwritten: choose another name"
            ) from None
        except OSError as error:
            raise UsageError(f"cannot make the recording {path}: {error.strerror}") from error
        self._size = 0
        try:
            self._size = self._write_all(header(stream.run_id))
        except OSError as error:
            os.close(self._fd)
            path.unlink(missing_ok=True)  # without a header it is no recording, and would be in the way
            raise HostError(f"cannot write to {path}: {error.strerror}", "free some space") from error
        stream.add_sink(self.put)

    def put(self, event: Event, data: bytes) -> None:
        """Take an event (the stream calls this); dropped and counted when too much waits already."""
        data = self._trace.kept(event, data)
        if self._queued_bytes + len(data) > self._max_queue_bytes:
            self._dropped["queue full"] += 1
            return
        self._queue.append(RecordedEvent(event.seq, event.mono_ns, data))
        self._queued_bytes += len(data)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write until cancelled, then write the rest and close the file."""
        try:
            task_status.started()
            while True:
                await trio.sleep(self._interval_s)
                await self.flush()
        finally:
            self._stream.remove_sink(self.put)
            self._max_file_bytes += self._max_queue_bytes
            with trio.move_on_after(FAREWELL_S, shield=True):
                await self.flush()
            if self._queue:
                self._dropped["not written in time at the end"] += len(self._queue)
            os.close(self._fd)

    async def flush(self) -> None:
        """Write what waits; a failure is counted and raised as an alert, never as an exception."""
        failure, wrote = "", False
        for chunk in split_chunks(tuple(self._queue)):
            try:
                # A write that has begun is not abandoned: two threads must never write to one file.
                self._size = await trio.to_thread.run_sync(self._append, chunk)
            except OSError as error:
                failure = error.strerror or str(error)
                self._dropped[failure] += len(chunk)
                self._errors += 1
            else:
                wrote = True
                self._events += len(chunk)
                self._raw_bytes += sum(len(event.data) for event in chunk)
                self._chunks += 1
            del self._queue[: len(chunk)]
            self._queued_bytes -= sum(len(event.data) for event in chunk)
        self._report(failure, wrote=wrote)

    def drops(self) -> dict[str, int]:
        """Return the events that are missing from the file, by reason."""
        return {**self._dropped, **self._trace.drops()}

    def statistics(self) -> RecorderStatistics:
        """Counts so far."""
        return RecorderStatistics(
            path=str(self._path),
            events=self._events,
            bytes=self._size,
            raw_bytes=self._raw_bytes,
            chunks=self._chunks,
            queued=len(self._queue),
            queued_bytes=self._queued_bytes,
            dropped=dict(self._dropped),
            errors=self._errors,
            last_error=self._last_error,
        )

    def _append(self, chunk: Sequence[RecordedEvent]) -> int:
        """Write one chunk, all of it or nothing; the file's new size."""
        if self._size >= self._max_file_bytes:
            raise OSError(errno.EFBIG, f"it is full at {self._max_file_bytes:,} bytes")
        try:
            return self._size + self._write_all(pack_chunk(chunk))
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise

    def _write_all(self, data: bytes) -> int:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        return len(data)

    def _report(self, failure: str, *, wrote: bool) -> None:
        if failure and not self._failing:
            self._failing, self._last_error = True, failure
            text = f"recording to {self._path}: {failure}; events are missing from it"
            self._stream.emit(AlertRaised(key=ALERT_KEY, kind="recording", severity="error", text=text))
        self._wrote_in_a_row = 0 if failure else self._wrote_in_a_row + wrote
        if self._failing and self._wrote_in_a_row >= WRITES_TO_CLEAR:
            self._failing = False
            self._stream.emit(AlertCleared(key=ALERT_KEY, kind="recording"))
