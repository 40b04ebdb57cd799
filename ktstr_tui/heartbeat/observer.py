"""The observer: turns beats into events and counters. It has no socket and no task; receivers call it.

Two calls matter. ``take`` enters what was received; ``look`` reports who has been silent for too long. The order
between them is the hard thing: a stall must not be reported while a beat of that sender lies unread somewhere, so
``look`` may only be called when everything that had come before has been taken. A flood of datagrams that are
dropped must not prevent that either, which is why receivers report what they took off the socket and not what was
of use.

Events are queued, bounded, and counted when they do not fit. Of errors only some of each call become events (all
are counted): a sender of garbage decides how much of it there is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from ktstr_tui._native import ffi, lib
from ktstr_tui.heartbeat import events as ob
from ktstr_tui.heartbeat.clock import ClockStatistics, ObserverClock
from ktstr_tui.heartbeat.datagrams import KNOWN_PEER, DatagramArray
from ktstr_tui.heartbeat.gate import FOREIGN_NAMESPACE, FOREIGN_UID, Gate, GateOutcome, GateStatistics, Rules
from ktstr_tui.heartbeat.tracked import AUTH_FAILURE, Eviction, Origin, TrackedRow, TrackerStatistics, Update
from ktstr_tui.heartbeat.tracker import Tracker
from ktstr_tui.wire.vlp import FRAME_BYTES

BATCH: Final = 1024
"""Datagrams taken at once at most."""
MAX_EVENTS: Final = 1024
"""Events that wait to be fetched."""
MAX_EXPECTED: Final = 4096
TOLD_PER_BATCH: Final = 16
"""Errors of one batch that become events."""


class ObserverStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of one observer since its creation."""

    taken: int
    """Datagrams and frames that were entered, of whatever kind."""
    recoveries: int
    stalls: int
    looks: int
    events_dropped: int
    """Events that were not fetched in time."""
    tracker: TrackerStatistics
    """Of all trackers this observer has had; its state is that of the present one."""
    gate: GateStatistics
    clock: ClockStatistics


class Observer:
    """Who beats, and who no longer does.

    Args:
        clock: The observer's clock.
        threshold_ns: After which silence a sender is stalled.
        rules: What is let through.
        capacity: Senders tracked at most.
        eviction: Which slot a new sender may take when all are in use.
        scan_window: Slots that one search for such a slot looks at.
        each_beat: Whether accepted beats become events too.
    """

    def __init__(
        self,
        clock: ObserverClock,
        threshold_ns: int,
        rules: Rules,
        *,
        capacity: int = 256,
        eviction: Eviction = "strict",
        scan_window: int = 256,
        each_beat: bool = False,
    ) -> None:
        self.clock = clock
        self.threshold_ns = threshold_ns
        self._make_tracker: Callable[[], Tracker] = lambda: Tracker(capacity, eviction, scan_window)
        self._gate = Gate(rules, BATCH)
        self._each_beat = each_beat
        self.tracker = self._make_tracker()
        self._before: dict[str, int] = {}
        self._events: deque[ob.ObserverEvent] = deque()
        self._expected: dict[int, int] = {}
        self._never_heard: dict[int, int] = {}
        self._frames = DatagramArray(BATCH)
        self._taken = self._looks = self._dropped = self._recoveries = self._stalls = 0

    # -- in --------------------------------------------------------------------------------------------

    def take(self, datagrams: DatagramArray) -> None:
        """Enter datagrams that were just received, at most `BATCH`."""
        if not datagrams.count:
            return
        now_ns = self.clock.now_ns()
        self._taken += datagrams.count
        outcomes = self._gate.let_through(self.tracker, datagrams, now_ns, self.threshold_ns, TOLD_PER_BATCH)
        if self._each_beat:
            outcomes = [self._gate.outcome(index) for index in range(datagrams.count)]
        for outcome in outcomes:
            self._tell(outcome, datagrams, now_ns)
        self._welcome(now_ns)

    def take_frames(self, data: bytes, origin: Origin) -> None:
        """Enter frames that lie one after the other, from a transport that says nothing of each sender."""
        frames = self._frames
        view = ffi.from_buffer(data)
        whole = len(data) // FRAME_BYTES
        for start in range(0, whole, BATCH):
            frames.count = min(BATCH, whole - start)
            lib.ktr_datagrams_of_frames(view + start * FRAME_BYTES, frames.count, origin, frames.handle)
            self.take(frames)

    def expect(self, pids: Iterable[int]) -> None:
        """Expect these senders to beat from now on: silence from the beginning is silence too."""
        now_ns = self.clock.now_ns()
        for pid in pids:
            known = pid in self._never_heard or self.tracker.last_ns_of(pid) is not None
            if not known and len(self._expected) < MAX_EXPECTED:
                self._expected.setdefault(pid, now_ns)

    def begin_anew(self) -> None:
        """Forget all senders, because others will come. Counters go on."""
        for name, value in msgspec.structs.asdict(self.tracker.statistics()).items():
            self._before[name] = self._before.get(name, 0) + value
        self.tracker = self._make_tracker()
        self._expected.clear()
        self._never_heard.clear()

    def notice(self, event: ob.ObserverEvent) -> None:
        """Queue an event; a receiver calls this for what only it can see."""
        if len(self._events) >= MAX_EVENTS:
            self._dropped += 1
            return
        self._events.append(event)

    # -- out -------------------------------------------------------------------------------------------

    def is_due(self) -> bool:
        """Check whether `look` would report a silence now, were there nothing left to take."""
        now_ns = self.clock.now_ns()
        if any(now_ns - since_ns >= self.threshold_ns for since_ns in self._expected.values()):
            return True
        return lib.ktr_any_due(self.tracker.handle, now_ns, self.threshold_ns)

    def look(self) -> None:
        """Report the silences. Everything received before must have been taken."""
        self._looks += 1
        now_ns = self.clock.now_ns()
        for stall in self.tracker.drain_stalled(now_ns, self.threshold_ns):
            self._stalls += 1
            self.notice(
                ob.SenderStalled(
                    observer_ns=now_ns,
                    pid=stall.pid,
                    last_nonce=stall.last_nonce,
                    last_ns=stall.last_ns,
                    origin=stall.origin,
                    pid_ns_inode=stall.pid_ns_inode,
                    generation=stall.generation,
                )
            )
        self._look_for_expected(now_ns)

    def _look_for_expected(self, now_ns: int) -> None:
        for pid, since_ns in list(self._expected.items()):
            if now_ns - since_ns < self.threshold_ns:
                continue
            del self._expected[pid]
            self._never_heard[pid] = since_ns
            self._stalls += 1
            self.notice(
                ob.SenderStalled(
                    observer_ns=now_ns,
                    pid=pid,
                    last_nonce=0,
                    last_ns=since_ns,
                    origin=Origin.HYPERVISOR_ATTESTED,
                    never_heard=True,
                )
            )

    def take_events(self) -> list[ob.ObserverEvent]:
        """Take the events since the last call, in order."""
        events = list(self._events)
        self._events.clear()
        return events

    def silence_ns(self, pid: int) -> int | None:
        """Return how long a sender has been silent, in nanoseconds; None for an unknown one."""
        last_ns = self.tracker.last_ns_of(pid)
        if last_ns is None:
            last_ns = self._never_heard.get(pid)
        return None if last_ns is None else self.clock.now_ns() - last_ns

    def rows(self, limit: int) -> list[TrackedRow]:
        """Return the senders that were heard longest ago, at most ``limit``."""
        return self.tracker.oldest(limit)

    def set_pid_max(self, pid_max: int) -> None:
        """Take over a new highest pid."""
        self._gate.set_pid_max(pid_max)

    def statistics(self) -> ObserverStatistics:
        """Return the counters so far."""
        now = self.tracker.statistics()
        state = ("capacity", "tracked", "stall_emitted_count", "eviction_scan_window", "eviction_scan_cursor")
        sums = {
            name: value + (0 if name in state else self._before.get(name, 0))
            for name, value in msgspec.structs.asdict(now).items()
        }
        return ObserverStatistics(
            taken=self._taken,
            recoveries=self._recoveries,
            stalls=self._stalls,
            looks=self._looks,
            events_dropped=self._dropped,
            tracker=TrackerStatistics(**sums),
            gate=self._gate.statistics(),
            clock=self.clock.statistics(),
        )

    # -- inside ----------------------------------------------------------------------------------------

    def _welcome(self, now_ns: int) -> None:
        """Stop expecting senders that have been heard meanwhile."""
        for waiting in (self._expected, self._never_heard):
            for pid in [pid for pid in waiting if self.tracker.last_ns_of(pid) is not None]:
                since_ns = waiting.pop(pid)
                if waiting is self._never_heard:
                    self._recovered(pid, now_ns - since_ns, now_ns)

    def _recovered(self, pid: int, silent_ns: int, now_ns: int) -> None:
        self._recoveries += 1
        self.notice(ob.SenderRecovered(observer_ns=now_ns, pid=pid, silent_ns=silent_ns))

    def _tell(self, outcome: GateOutcome, datagrams: DatagramArray, now_ns: int) -> None:
        if outcome.recovery_ns is not None:
            self._recovered(outcome.beat.pid, outcome.recovery_ns, now_ns)
        event = _event_of(outcome, datagrams, self.tracker, self._gate.rules, now_ns)
        if event is not None and (self._each_beat or not isinstance(event, ob.BeatHeard)):
            self.notice(event)


def _event_of(
    outcome: GateOutcome, datagrams: DatagramArray, tracker: Tracker, rules: Rules, now_ns: int
) -> ob.ObserverEvent | None:
    datagram, beat = datagrams.handle[outcome.index], outcome.beat
    peer = bool(datagram.source.known & KNOWN_PEER)
    sender_pid = int(datagram.peer_pid) if peer else None
    sender_uid = int(datagram.peer_uid) if peer else None
    origin = Origin(datagram.source.origin)
    error, update = outcome.error, outcome.update
    if error in (AUTH_FAILURE, FOREIGN_UID):
        reason = "pid" if error == AUTH_FAILURE else "uid"
        return ob.AuthFailed(
            observer_ns=now_ns,
            claimed_pid=beat.pid,
            sender_pid=sender_pid,
            sender_uid=sender_uid,
            reason=reason,
        )
    if error == FOREIGN_NAMESPACE:
        observed = int(datagram.source.pid_ns_inode)
        return ob.NamespaceConflicted(
            observer_ns=now_ns, claimed_pid=beat.pid, observed=observed, observer=rules.pid_ns_inode
        )
    if error is not None:
        return ob.DecodeFailed(observer_ns=now_ns, kind=error, sender_pid=sender_pid)
    if update is Update.ORIGIN_CONFLICT:
        return ob.OriginConflicted(observer_ns=now_ns, claimed_pid=beat.pid, observed=origin)
    if update is Update.NAMESPACE_CONFLICT:
        known = tracker.get(beat.pid)
        return ob.NamespaceConflicted(
            observer_ns=now_ns,
            claimed_pid=beat.pid,
            observed=int(datagram.source.pid_ns_inode) or None,
            observer=known.pid_ns_inode if known else None,
        )
    if update in (Update.INSERTED, Update.REFRESHED):
        return ob.BeatHeard(observer_ns=now_ns, beat=beat, origin=origin)
    return None
