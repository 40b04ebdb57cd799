"""Following a stream that may lose, repeat and restart: the pure half of a viewer.

The Clone pattern in four rules. A snapshot is the state after event N. An event is folded if and only if its
number is the next one. A smaller number was folded before, on whatever way it came. A larger one means that
something is missing, and nothing may be folded until that is here, because the fold of a stream with holes is
the state of no moment. The number counts within one ``run_id``; events of another run are never mixed in.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from ktstr_tui.model.events import Event
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import RunState

MAX_FORMER_RUNS = 16


class Offer(Enum):
    """What became of an event."""

    FOLDED = "folded"
    DUPLICATE = "duplicate"
    GAP = "gap"
    """Something before it is missing; offer it again when that is here."""
    FORMER = "former"
    """It belongs to a run that has been replaced; forget it."""
    FOREIGN = "foreign"
    """It belongs to a run that is new here; a snapshot is needed."""


class FollowerStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What came and what was missing."""

    folded: int
    duplicates: int
    gaps: int
    """How often something was missing."""
    missing: int
    """How many events were missing."""
    foreign: int
    snapshots: int


class Follower:
    """A `RunState` that follows one stream."""

    def __init__(self) -> None:
        self._state = RunState()
        self._run_id: str | None = None
        self._former: list[str] = []
        self._gap_seq = 0
        self._folded = self._duplicates = self._gaps = self._missing = self._foreign = self._snapshots = 0

    @property
    def state(self) -> RunState:
        """The state so far; another object after each snapshot."""
        return self._state

    @property
    def run_id(self) -> str | None:
        """The run being followed; None before the first snapshot."""
        return self._run_id

    def adopt(self, run_id: str, state: RunState) -> None:
        """Go on from a snapshot; ``state`` becomes private to this follower."""
        if self._run_id not in (None, run_id):
            self._former = [*self._former, str(self._run_id)][-MAX_FORMER_RUNS:]
            self._gap_seq = 0
        self._run_id = run_id
        self._state = state
        self._snapshots += 1

    def is_foreign(self, run_id: str) -> bool:
        """Whether ``run_id`` is of a run that is new here."""
        return run_id != self._run_id and run_id not in self._former

    def offer(self, run_id: str, event: Event) -> Offer:
        """Fold ``event`` if it is the next one, else say what it is."""
        if run_id != self._run_id:
            self._foreign += 1
            return Offer.FOREIGN if self.is_foreign(run_id) else Offer.FORMER
        expected = self._state.seq + 1
        if event.seq < expected:
            self._duplicates += 1
            return Offer.DUPLICATE
        if event.seq > expected:
            self.note_missing(event.seq - 1)
            return Offer.GAP
        fold(self._state, event)
        self._folded += 1
        return Offer.FOLDED

    def note_missing(self, last: int) -> None:
        """Count the events up to ``last`` that are not here, once however often they are noticed."""
        first = max(self._state.seq, self._gap_seq) + 1
        if last >= first:
            self._gaps += 1
            self._missing += last - first + 1
            self._gap_seq = last

    def statistics(self) -> FollowerStatistics:
        """Counts so far."""
        return FollowerStatistics(
            folded=self._folded,
            duplicates=self._duplicates,
            gaps=self._gaps,
            missing=self._missing,
            foreign=self._foreign,
            snapshots=self._snapshots,
        )
