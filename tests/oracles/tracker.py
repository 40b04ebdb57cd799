"""The tracker in plain Python: the specification to read, and the oracle of the one in C.

Same interface as `ktstr_tui.heartbeat.tracker`, where its ideas are told.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ktstr_tui.heartbeat.probe_table import ProbeExhausted
from ktstr_tui.heartbeat.tracked import (
    AUTH_FAILURE,
    COUNTERS,
    DEFAULT_CAPACITY,
    DEFAULT_SCAN_WINDOW,
    EVICTION_MULTIPLIER,
    MAX_CAPACITY,
    MAX_SCAN_WINDOW,
    NONCE_WRAP_WINDOW,
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
from ktstr_tui.wire.vlp import NONCE_TERMINAL, Beat, VlpError
from tests.oracles.probe_table import PyProbeTable
from tests.oracles.vlp import decode

_U64_MAX: Final = (1 << 64) - 1
_COUNTER_OF_UPDATE: Final = COUNTERS[: len(Update)]


class _Slot:
    """What is known of one pid; made by its first beat."""

    def __init__(
        self, beat: Beat, now_ns: int, origin: Origin, pid_ns_inode: int | None, generation: int | None
    ) -> None:
        self.pid = beat.pid
        self.origin = origin
        self.pid_ns_inode = pid_ns_inode
        self.generation = generation
        self.nonce = NONCE_TERMINAL
        self.terminal_timestamp: int | None = None
        self.stalled = False
        self.beats = self.nonce_gaps = self.beats_missed = self.stalls = 0
        self.write(beat, now_ns)

    def write(self, beat: Beat, now_ns: int) -> None:
        """Take an accepted beat over."""
        if beat.is_terminal:
            self.terminal_timestamp = beat.timestamp
        else:
            self.nonce = beat.nonce
        self.terminal = beat.is_terminal
        self.timestamp = beat.timestamp
        self.status = beat.status
        self.payload = beat.payload
        self.last_ns = now_ns
        self.beats += 1

    def missed_before(self, beat: Beat) -> int | None:
        """How many nonces were left out before this beat; None when it does not go on from the last."""
        if beat.is_terminal:
            # It is judged by its clock, because the nonces of the process may go on after it.
            replayed = self.terminal_timestamp is not None and beat.timestamp <= self.terminal_timestamp
            return None if replayed else 0
        if self.nonce == NONCE_TERMINAL:
            return 0
        if beat.nonce > self.nonce:
            return beat.nonce - self.nonce - 1
        if self.wraps_to(beat):
            return NONCE_TERMINAL - 1 - self.nonce + beat.nonce
        return None

    def wraps_to(self, beat: Beat) -> bool:
        """Whether the nonce went round."""
        return (
            self.nonce != NONCE_TERMINAL
            and self.nonce >= _U64_MAX - NONCE_WRAP_WINDOW
            and beat.nonce < NONCE_WRAP_WINDOW
        )

    def namespace_conflicts(self, pid_ns_inode: int | None, terminal: bool) -> bool:
        """Whether a beat comes from elsewhere. A dying process may no longer be readable."""
        if self.pid_ns_inode is None or self.pid_ns_inode == pid_ns_inode:
            return False
        return not (terminal and pid_ns_inode is None)


class PyTracker:
    """Who was heard last when. See `ktstr_tui.heartbeat.tracker.Tracker`."""

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
        self.last_recovery_ns: int | None = None
        self._slots: list[_Slot] = []
        self._index = PyProbeTable(self.capacity)
        self._cursor = 0
        self._stalled = 0
        self._evicted_pid: int | None = None
        self._counts = dict.fromkeys(COUNTERS, 0)
        self._taken = dict.fromkeys(COUNTERS, 0)

    def record(
        self,
        beat: Beat,
        now_ns: int,
        threshold_ns: int,
        origin: Origin,
        pid_ns_inode: int | None = None,
        generation: int | None = None,
    ) -> Update:
        """Enter a beat."""
        self.last_recovery_ns = None
        at = self._index.get(beat.pid)
        if at is None:
            new = _Slot(beat, now_ns, origin, pid_ns_inode, generation)
            update = self._insert(new, now_ns, threshold_ns)
        elif at >= len(self._slots):
            # The index names a slot that is not there: drop the entry, so that the next beat finds a way.
            self._index.remove(beat.pid)
            self._counts["invariant_violations"] += 1
            update = Update.CAPACITY_EXCEEDED
        else:
            update = self._update(at, beat, now_ns, origin, pid_ns_inode, generation)
        self._counts[_COUNTER_OF_UPDATE[update]] += 1
        return update

    def _update(
        self,
        at: int,
        beat: Beat,
        now_ns: int,
        origin: Origin,
        pid_ns_inode: int | None,
        generation: int | None,
    ) -> Update:
        slot = self._slots[at]
        if generation is not None and slot.generation is not None and generation != slot.generation:
            self._stalled -= slot.stalled
            self._slots[at] = _Slot(beat, now_ns, origin, pid_ns_inode, generation)
            self._counts["pid_recycles"] += 1
            return Update.INSERTED
        if origin != slot.origin:
            return Update.ORIGIN_CONFLICT
        if slot.namespace_conflicts(pid_ns_inode, beat.is_terminal):
            return Update.NAMESPACE_CONFLICT
        missed = slot.missed_before(beat)
        if missed is None:
            return Update.OUT_OF_ORDER
        self._counts["nonce_wraps"] += slot.wraps_to(beat)
        slot.nonce_gaps += missed > 0
        slot.beats_missed = min(slot.beats_missed + missed, _U64_MAX)
        # Only now, that the beat is accepted, may it tell what was not known before.
        if slot.pid_ns_inode is None:
            slot.pid_ns_inode = pid_ns_inode
        if slot.generation is None:
            slot.generation = generation
        if slot.stalled:
            slot.stalled = False
            self._stalled -= 1
            self._counts["recoveries"] += 1
            self.last_recovery_ns = max(now_ns - slot.last_ns, 0)
        slot.write(beat, now_ns)
        return Update.REFRESHED

    def _insert(self, new: _Slot, now_ns: int, threshold_ns: int) -> Update:
        if len(self._slots) >= self.capacity:
            victim = self._find_victim(now_ns, threshold_ns)
            return Update.CAPACITY_EXCEEDED if victim is None else self._replace(victim, new)
        try:
            self._index.insert(new.pid, len(self._slots))
        except ProbeExhausted:
            return Update.CAPACITY_EXCEEDED
        self._slots.append(new)
        return Update.INSERTED

    def _replace(self, at: int, new: _Slot) -> Update:
        old = self._slots[at]
        self._index.remove(old.pid)
        try:
            self._index.insert(new.pid, at)
        except ProbeExhausted:
            # The place just vacated is free again for the old pid, if for nobody else.
            self._index.insert(old.pid, at)
            return Update.CAPACITY_EXCEEDED
        self._slots[at] = new
        self._stalled -= old.stalled
        self._counts["evictions"] += 1
        self._evicted_pid = old.pid
        return Update.INSERTED

    def _find_victim(self, now_ns: int, threshold_ns: int) -> int | None:
        silence_ns = min(threshold_ns * EVICTION_MULTIPLIER, _U64_MAX)
        victim = None
        if self._stalled:
            victim = self._scan(now_ns, silence_ns, stalled_only=True)
        if victim is None and self.eviction == "balanced":
            victim = self._scan(now_ns, silence_ns, stalled_only=False)
        if victim is None:
            self._counts["eviction_scan_truncated"] += 1
        return victim

    def _scan(self, now_ns: int, silence_ns: int, stalled_only: bool) -> int | None:
        count = len(self._slots)
        window = min(self.scan_window, count)
        for step in range(window):
            at = (self._cursor + step) % count
            slot = self._slots[at]
            if now_ns - slot.last_ns > silence_ns and (slot.stalled or not stalled_only):
                self._cursor = (at + 1) % count
                return at
        self._cursor = (self._cursor + window) % count
        return None

    def record_batch(self, datagrams: Iterable[Datagram], now_ns: int, threshold_ns: int) -> list[Outcome]:
        """Decode and enter datagrams, all of them received at ``now_ns``."""
        return [self._record_datagram(datagram, now_ns, threshold_ns) for datagram in datagrams]

    def _record_datagram(self, datagram: Datagram, now_ns: int, threshold_ns: int) -> Outcome:
        try:
            beat = decode(datagram.data)
        except VlpError as error:
            return Outcome(error.kind, None, None)
        if datagram.peer_pid is not None and datagram.peer_pid != beat.pid:
            return Outcome(AUTH_FAILURE, beat, None)
        update = self.record(
            beat, now_ns, threshold_ns, datagram.origin, datagram.pid_ns_inode, datagram.generation
        )
        return Outcome(None, beat, update, self.last_recovery_ns)

    def drain_stalled(self, now_ns: int, threshold_ns: int) -> list[Stall]:
        """State the silences that have reached the threshold."""
        stalls = []
        for slot in self._slots:
            if slot.stalled or max(now_ns - slot.last_ns, 0) < threshold_ns:
                continue
            slot.stalled = True
            slot.stalls += 1
            stalls.append(
                Stall(slot.pid, slot.nonce, slot.last_ns, slot.origin, slot.pid_ns_inode, slot.generation)
            )
        self._stalled += len(stalls)
        self._counts["stalls"] += len(stalls)
        return stalls

    def forget(self, pid: int) -> bool:
        """Give up the slot of a pid. Returns whether it had one."""
        at = self._index.remove(pid)
        if at is None:
            return False
        self._stalled -= self._slots[at].stalled
        last = self._slots.pop()
        if at < len(self._slots):
            self._slots[at] = last
            self._index.insert(last.pid, at)
        if self._cursor >= len(self._slots):
            self._cursor = 0
        self._counts["forgotten"] += 1
        return True

    def get(self, pid: int) -> TrackedRow | None:
        """What is known of a pid."""
        at = self._index.get(pid)
        return None if at is None else self._row(self._slots[at])

    def last_ns_of(self, pid: int) -> int | None:
        """When a pid was last heard."""
        at = self._index.get(pid)
        return None if at is None else self._slots[at].last_ns

    def rows(self) -> list[TrackedRow]:
        """What is known of all pids, in the order of the slots."""
        return [self._row(slot) for slot in self._slots]

    def oldest(self, limit: int) -> list[TrackedRow]:
        """The rows of the pids that were heard longest ago, at most ``limit``, the oldest first."""
        return sorted(self.rows(), key=lambda row: row.last_ns)[:limit]

    def _row(self, slot: _Slot) -> TrackedRow:
        return TrackedRow(
            pid=slot.pid,
            status=slot.status,
            nonce=slot.nonce,
            timestamp=slot.timestamp,
            last_ns=slot.last_ns,
            payload=slot.payload,
            origin=slot.origin,
            pid_ns_inode=slot.pid_ns_inode,
            generation=slot.generation,
            stalled=slot.stalled,
            terminal=slot.terminal,
            beats=slot.beats,
            nonce_gaps=slot.nonce_gaps,
            beats_missed=slot.beats_missed,
            stalls=slot.stalls,
        )

    def __len__(self) -> int:
        return len(self._slots)

    def take(self, counter: str) -> int:
        """What a counter has gained since it was last taken."""
        total = self._totals()[counter]
        gained = total - self._taken[counter]
        self._taken[counter] = total
        return gained

    def take_evicted_pid(self) -> int | None:
        """The pid that last lost its slot, since this was last asked."""
        pid, self._evicted_pid = self._evicted_pid, None
        return pid

    def _totals(self) -> dict[str, int]:
        return {**self._counts, "probe_exhausted": self._index.probe_exhausted()}

    def statistics(self) -> TrackerStatistics:
        """All counters since the creation, and the state now."""
        return TrackerStatistics(
            capacity=self.capacity,
            tracked=len(self._slots),
            stall_emitted_count=self._stalled,
            eviction_scan_window=self.scan_window,
            eviction_scan_cursor=self._cursor,
            **self._totals(),
        )
