"""Keeps when each sender was last heard: a bounded number of slots, one per pid.

It decides what a beat is worth. In this order: a new process under an old pid (another generation) gets a fresh
slot; the transport that a pid was first heard on keeps it, and so does the pid namespace; a nonce must grow, or wrap
around. What is refused changes nothing but a counter. What is accepted refreshes the slot and ends its stall.

Silence is reported once, by `drain_stalled`, however often it is asked. Which silences count is the caller's affair:
it brings the clock, and may leave out the time that the senders were frozen.

The hard thing is a full table. A sender of made-up pids must neither push others out nor make the search for a
victim costly. So only a long silent slot is given up, a search looks at a window of slots only, the next one goes
on where it ended, and nothing is searched while no stall was reported.

The work is done in C (``native/heartbeat/ktstr_tracker.c``); `tests.oracles.tracker` is the same in Python,
to read and to test against. It is our own because these rules and bounds are Varta's contract, which no library has;
and in C because a flood of beats must not cost a Python object each (``ktstr-tui bench beats`` measures both).

The observer enters datagrams through the gate (`ktstr_tui.heartbeat.gate`). `Tracker.record`, `record_batch`,
`last_recovery_ns` and the counters that are taken are kept for the contract of Varta's tracker, and for programs that
use a tracker by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nsmallest
from itertools import islice
from typing import TYPE_CHECKING, Final

from ktstr_tui._native import ffi, lib
from ktstr_tui.heartbeat.datagrams import KNOWN_GENERATION, KNOWN_NAMESPACE, DatagramArray
from ktstr_tui.heartbeat.tracked import (
    AUTH_FAILURE,
    COUNTERS,
    DEFAULT_CAPACITY,
    DEFAULT_SCAN_WINDOW,
    EVICTION_MULTIPLIER,
    MAX_CAPACITY,
    MAX_SCAN_WINDOW,
    Datagram,
    Eviction,
    Origin,
    Outcome,
    Stall,
    TrackedRow,
    TrackerStatistics,
    Update,
)
from ktstr_tui.model.errors import InternalError
from ktstr_tui.wire.c_layout import c_struct
from ktstr_tui.wire.vlp import BAD_LENGTH, KINDS, Beat, Status

if TYPE_CHECKING:
    from ktstr_tui._native import CData

__all__ = [
    "AUTH_FAILURE",
    "COUNTERS",
    "DEFAULT_CAPACITY",
    "DEFAULT_SCAN_WINDOW",
    "EVICTION_MULTIPLIER",
    "MAX_CAPACITY",
    "Datagram",
    "DatagramArray",
    "Eviction",
    "Origin",
    "Outcome",
    "Stall",
    "TrackedRow",
    "Tracker",
    "TrackerStatistics",
    "Update",
]

_BATCH: Final = 256
_SLOT: Final = c_struct(
    "struct ktb_slot",
    "last_ns",
    "nonce",
    "timestamp",
    "pid_ns_inode",
    "generation",
    "beats",
    "nonce_gaps",
    "beats_missed",
    "stalls",
    "pid",
    "payload",
    "status",
    "origin",
    "flags",
)
OUTCOME: Final = c_struct(
    "struct ktb_outcome",
    "beat.timestamp",
    "beat.nonce",
    "beat.pid",
    "beat.payload",
    "beat.status",
    "recovery_ns",
    "error",
    "update",
)
"""Of the values of ``struct ktb_outcome``, in this order."""
_UPDATES: Final = tuple(Update)
_ORIGINS: Final = tuple(Origin)
_STATUSES: Final = tuple(Status)
ERRORS: Final = (None, *KINDS, BAD_LENGTH, AUTH_FAILURE)
"""Indexed by ``ktb_outcome.error``."""
assert ERRORS.index(AUTH_FAILURE) == lib.KTB_AUTH_FAILURE
assert len(_UPDATES) == lib.KTB_UPDATES
_COUNTER_NUMBER: Final = {name: number for number, name in enumerate(COUNTERS)}


class _Batch:
    """Room for the outcomes of a batch."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.outcomes = ffi.new(f"struct ktb_outcome[{room}]")
        self.notable = ffi.new(f"uint32_t[{room}]")
        self._bytes = ffi.buffer(self.outcomes)

    def read(self, at: int) -> Outcome:
        """Read one outcome."""
        (outcome,) = self.read_all(at, 1)
        return outcome

    def read_all(self, at: int, count: int) -> list[Outcome]:
        """Read outcomes next to each other."""
        raw = self._bytes[at * OUTCOME.size : (at + count) * OUTCOME.size]
        return [_outcome(*fields) for fields in OUTCOME.iter_unpack(raw)]


def _outcome(
    timestamp: int, nonce: int, pid: int, payload: int, status: int, recovery_ns: int, error: int, update: int
) -> Outcome:
    kind = ERRORS[error]
    if kind is not None and kind != AUTH_FAILURE:
        return Outcome(kind, None, None)
    beat = Beat(_STATUSES[status], pid, timestamp, nonce, payload)
    if kind is not None:
        return Outcome(kind, beat, None)
    return Outcome(None, beat, _UPDATES[update], None if recovery_ns == lib.KTB_NO_RECOVERY else recovery_ns)


class Tracker:
    """Keeps when each sender was last heard. Not for concurrent use.

    All times are ns on one clock of the caller's that does not step back.

    Args:
        capacity: Pids that can be tracked; above `MAX_CAPACITY` that many.
        eviction: Which slot a new pid may take when all are in use.
        scan_window: Slots that one pass in search for a victim looks at; brought into 1 to 4096.

    Raises:
        InternalError: ``capacity`` or ``eviction`` is out of range.
    """

    def __init__(
        self,
        capacity: int = DEFAULT_CAPACITY,
        eviction: Eviction = "strict",
        scan_window: int = DEFAULT_SCAN_WINDOW,
    ) -> None:
        if capacity < 1 or eviction not in ("strict", "balanced"):
            raise InternalError(f"a tracker of {capacity} pids with {eviction!r} eviction is not possible")
        self.capacity = min(capacity, MAX_CAPACITY)
        self.eviction = eviction
        self.scan_window = min(max(scan_window, 1), MAX_SCAN_WINDOW)
        handle = lib.ktb_tracker_create(self.capacity, eviction == "balanced", self.scan_window)
        if handle == ffi.NULL:
            raise MemoryError("no memory for a tracker")
        self._handle = ffi.gc(handle, lib.ktb_tracker_destroy)
        self._slots = ffi.buffer(lib.ktb_tracker_slots(handle), self.capacity * _SLOT.size)
        self._drained = lib.ktb_tracker_drained(handle)
        self._state = ffi.new("struct ktb_state *")
        self._datagrams = DatagramArray(_BATCH)
        self._batch = _Batch(_BATCH)

    @property
    def handle(self) -> CData:
        """The tracker, for C code."""
        return self._handle

    def record(
        self,
        beat: Beat,
        now_ns: int,
        threshold_ns: int,
        origin: Origin,
        pid_ns_inode: int | None = None,
        generation: int | None = None,
    ) -> Update:
        """Enter a beat.

        Args:
            beat: A decoded one; it is not judged again.
            now_ns: When it was received.
            threshold_ns: After which silence a sender is stalled; decides here who may be evicted.
            origin: How it came.
            pid_ns_inode: The sender's pid namespace, when known.
            generation: What tells the sender from others of the same pid, such as its start time, when known.
        """
        known = 0
        if pid_ns_inode is None:
            pid_ns_inode = 0
        else:
            known |= KNOWN_NAMESPACE
        if generation is None:
            generation = 0
        else:
            known |= KNOWN_GENERATION
        return _UPDATES[
            lib.ktb_tracker_record_fields(
                self._handle,
                beat.status,
                beat.pid,
                beat.timestamp,
                beat.nonce,
                beat.payload,
                now_ns,
                threshold_ns,
                origin,
                known,
                pid_ns_inode,
                generation,
            )
        ]

    @property
    def last_recovery_ns(self) -> int | None:
        """How long the sender of the last beat had been silent, when that beat ended a stated stall."""
        silence_ns = lib.ktb_tracker_last_recovery(self._handle)
        return None if silence_ns == lib.KTB_NO_RECOVERY else silence_ns

    def record_batch(self, datagrams: Iterable[Datagram], now_ns: int, threshold_ns: int) -> list[Outcome]:
        """Decode and enter datagrams, all of them received at ``now_ns``.

        Returns:
            The outcome of each.
        """
        outcomes: list[Outcome] = []
        left = iter(datagrams)
        while True:
            self._datagrams.clear()
            for datagram in islice(left, _BATCH):
                self._datagrams.append(datagram)
            if not self._datagrams.count:
                return outcomes
            self._record_raw(self._datagrams, now_ns, threshold_ns)
            outcomes += self._batch.read_all(0, self._datagrams.count)

    def record_array(
        self, datagrams: DatagramArray, now_ns: int, threshold_ns: int
    ) -> list[tuple[int, Outcome]]:
        """Decode and enter datagrams that lie in memory already, without a Python value for each.

        Returns:
            Index and outcome of those that somebody should hear of: errors, new pids, conflicts, recoveries. Beats
            that refresh a slot, are out of order or find no room are only counted, so that a flood stays cheap.
        """
        if datagrams.room > self._batch.room:
            self._batch = _Batch(datagrams.room)
        found = self._record_raw(datagrams, now_ns, threshold_ns)
        notable = self._batch.notable
        return [(notable[i], self._batch.read(notable[i])) for i in range(found)]

    def _record_raw(self, datagrams: DatagramArray, now_ns: int, threshold_ns: int) -> int:
        return lib.ktb_tracker_record_batch(
            self._handle,
            datagrams.handle,
            datagrams.count,
            now_ns,
            threshold_ns,
            self._batch.outcomes,
            self._batch.notable,
        )

    def drain_stalled(self, now_ns: int, threshold_ns: int) -> list[Stall]:
        """Report the silences that have reached the threshold, each of them once."""
        found = lib.ktb_tracker_drain(self._handle, now_ns, threshold_ns)
        rows = (self._row(self._drained[i]) for i in range(found))
        return [
            Stall(row.pid, row.nonce, row.last_ns, row.origin, row.pid_ns_inode, row.generation)
            for row in rows
        ]

    def forget(self, pid: int) -> bool:
        """Give up the slot of a pid. Returns whether it had one."""
        return lib.ktb_tracker_forget(self._handle, pid)

    def get(self, pid: int) -> TrackedRow | None:
        """Return what is known of a pid."""
        slot = lib.ktb_tracker_get(self._handle, pid)
        if slot == ffi.NULL:
            return None
        return _row(*_SLOT.unpack(ffi.buffer(slot, _SLOT.size)[:]))

    def last_ns_of(self, pid: int) -> int | None:
        """Return when a pid was last heard."""
        slot = lib.ktb_tracker_get(self._handle, pid)
        return None if slot == ffi.NULL else int(slot.last_ns)

    def rows(self) -> list[TrackedRow]:
        """Return what is known of all pids, in the order of the slots."""
        raw = self._slots[: len(self) * _SLOT.size]
        return [_row(*fields) for fields in _SLOT.iter_unpack(raw)]

    def oldest(self, limit: int) -> list[TrackedRow]:
        """Return the rows of the pids that were heard longest ago, at most ``limit``, the oldest first."""
        raw = self._slots[: len(self) * _SLOT.size]
        times = memoryview(raw).cast("Q")[:: _SLOT.size // 8].tolist()
        return [self._row(at) for at in nsmallest(limit, range(len(times)), key=times.__getitem__)]

    def _row(self, at: int) -> TrackedRow:
        return _row(*_SLOT.unpack(self._slots[at * _SLOT.size : (at + 1) * _SLOT.size]))

    def __len__(self) -> int:
        return int(self._read_state().tracked)

    def take(self, counter: str) -> int:
        """Return what a counter of `COUNTERS` has gained since it was last taken.

        Varta's exporter adds up what it takes; `statistics` counts on regardless.
        """
        return lib.ktb_tracker_take(self._handle, _COUNTER_NUMBER[counter])

    def take_evicted_pid(self) -> int | None:
        """Return the pid that last lost its slot, once."""
        pid = lib.ktb_tracker_take_evicted(self._handle)
        return None if pid == lib.KTB_NO_PID else pid

    def _read_state(self) -> CData:
        lib.ktb_tracker_state(self._handle, self._state)
        return self._state

    def statistics(self) -> TrackerStatistics:
        """Return all counters since the creation, and the state now."""
        state = self._read_state()
        return TrackerStatistics(
            capacity=state.capacity,
            tracked=state.tracked,
            stall_emitted_count=state.stalled,
            eviction_scan_window=state.scan_window,
            eviction_scan_cursor=state.cursor,
            **{name: state.counts[number] for number, name in enumerate(COUNTERS)},
        )


def _row(
    last_ns: int,
    nonce: int,
    timestamp: int,
    pid_ns_inode: int,
    generation: int,
    beats: int,
    nonce_gaps: int,
    beats_missed: int,
    stalls: int,
    pid: int,
    payload: int,
    status: int,
    origin: int,
    flags: int,
) -> TrackedRow:
    return TrackedRow(
        pid=pid,
        status=_STATUSES[status],
        nonce=nonce,
        timestamp=timestamp,
        last_ns=last_ns,
        payload=payload,
        origin=_ORIGINS[origin],
        pid_ns_inode=pid_ns_inode if flags & KNOWN_NAMESPACE else None,
        generation=generation if flags & KNOWN_GENERATION else None,
        stalled=bool(flags & lib.KTB_STALLED),
        terminal=bool(flags & lib.KTB_TERMINAL),
        beats=beats,
        nonce_gaps=nonce_gaps,
        beats_missed=beats_missed,
        stalls=stalls,
    )
