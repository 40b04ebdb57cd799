"""An index of a recording, so that every moment of it can be shown at once.

The state of a moment follows from all events before it, and folding an hour of them takes seconds. So the index keeps
the state of some moments, in memory, made by one pass over the file; the state of any other moment is that of the one
before it and a few events. What events and captures are made of is immutable and shared by all these states, so each
costs its lists alone, some 100 KB.
"""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path
from typing import Final, NamedTuple

from ktstr_tui.link.recfile import RecordingReader
from ktstr_tui.model.events import Event
from ktstr_tui.model.fold import fold, new_moment
from ktstr_tui.model.moments import Moment
from ktstr_tui.model.state import RunState
from ktstr_tui.model.still import still

EVENTS_APART: Final = 1000
"""Of two states that are kept, about: so many are folded for any moment at most, and those of a chunk."""


class Mark(NamedTuple):
    """The state at one place of the file."""

    seq: int
    mono_ns: int
    position: int
    """Where the next chunk begins."""
    state: RunState


class Found(NamedTuple):
    """The state of a moment, and how to play on from it."""

    state: RunState
    rest: list[Event]
    """What is left of the chunk that it lies in."""
    position: int
    """Where the chunk behind that begins."""


class Film:
    """The index of one recording. It is made by one thread, and may be asked by another meanwhile.

    Args:
        path: The recording.

    Raises:
        UsageError: There is no such recording.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader = RecordingReader(path)
        self._state = RunState()
        self._since = 0
        self.marks = [Mark(0, 0, self._reader.position, RunState())]
        """States that are kept, oldest first."""
        self.moments: list[Moment] = []
        """What somebody may want to go to, oldest first."""
        self.whole = False
        """Whether the index reaches to the end of the file."""

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def read_on(self) -> bool:
        """Take the next chunk in; returns whether there was one.

        Raises:
            HostError: The disk fails.
        """
        chunk = self._reader.read_chunk()
        if chunk is None:
            self.whole = True
            return False
        for event in chunk:
            moment = new_moment(self._state, event)
            if moment is not None:
                self.moments.append(moment)
            fold(self._state, event)
        self._since += len(chunk)
        if self._since >= EVENTS_APART:
            self._since = 0
            state = self._state
            self.marks.append(Mark(state.seq, state.mono_ns, self._reader.position, still(state)))
        return True

    def at_time(self, mono_ns: int) -> Found:
        """Return the state after all events up to a time of the recording; raises ``HostError``."""
        return self._from(bisect_right(self.marks, mono_ns, key=lambda it: it.mono_ns), mono_ns=mono_ns)

    def at_event(self, seq: int) -> Found:
        """Return the state after the event of a number; raises ``HostError``."""
        return self._from(bisect_right(self.marks, seq, key=lambda it: it.seq), seq=seq)

    def _from(self, index: int, *, mono_ns: int | None = None, seq: int | None = None) -> Found:
        mark = self.marks[max(0, index - 1)]
        state, position = still(mark.state), mark.position
        with RecordingReader(self._path) as reader:
            reader.go_to(position, mark.seq)
            while (chunk := reader.read_chunk()) is not None:
                for at, event in enumerate(chunk):
                    if (mono_ns is not None and event.mono_ns > mono_ns) or (
                        seq is not None and event.seq > seq
                    ):
                        return Found(state, chunk[at:], reader.position)
                    fold(state, event)
                position = reader.position
        return Found(state, [], position)
