"""What keeps a recorded encrypted beat from being played again.

A sealed beat that opens proves that somebody with the key made it once, not that it was made now. So for each
sender the receiver remembers the IVs: within a prefix the counter must grow. Senders change the prefix, and
datagrams overtake each other on the way, so the prefix before is remembered as well. Under a prefix never seen the
beat itself must be new: its nonce above all before, or for a terminal beat its timestamp.

The hard thing is a new process under an old pid, whose nonces begin again: its beats look like replays. It is let in
after a silence, since a live sender is not silent, and the last prefix of its predecessor stays refused. The price:
a recording from before that prefix passes while the sender is silent, as the protocol has it.

The table is bounded and fails closed: when it is full of senders that are not stale, an unknown one is refused.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import msgspec

from ktstr_tui.heartbeat.probe_table import ProbeExhausted, ProbeTable
from ktstr_tui.wire.vlp_secure import OpenedFrame

CAPACITY: Final = 1024
TTL_NS: Final = 600 * 10**9
"""Silence after which a sender may be forgotten."""
SWEEP_NS: Final = 60 * 10**9
"""Time between two searches for such."""
RESTART_GAP_NS: Final = 5 * 10**9
"""Silence after which a pid may be another process; should be the stall threshold."""


class Admission(Enum):
    """Whether an opened beat may be believed."""

    ACCEPTED = "accepted"
    REPLAY = "replay"
    """It was seen before, or cannot be told from one that was."""
    FULL = "full"
    """The sender is unknown, and there is no room to remember it."""


class SenderStatistics(msgspec.Struct, frozen=True):
    """Counters of one `SecureSenders` since its creation."""

    senders: int
    """Remembered at present."""
    accepted: int
    replays_refused: int
    state_full: int
    restarts: int
    """Pids let in as new processes."""
    swept: int
    """Senders forgotten for their silence."""


class _Sender:
    """What was last heard of one sender."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.last_ns = 0
        self.prefix = b""
        self.counter = -1
        self.previous_prefix = b""
        self.previous_counter = -1
        self.max_nonce = -1
        self.max_terminal_timestamp = -1

    def is_newer(self, opened: OpenedFrame) -> bool:
        """Check whether a beat under an unknown prefix is newer than all before."""
        if opened.beat.is_terminal:
            return opened.beat.timestamp > self.max_terminal_timestamp
        return opened.beat.nonce > self.max_nonce

    def begin_prefix(self, prefix: bytes) -> None:
        """Change to another prefix and remember the one before."""
        self.previous_prefix, self.previous_counter = self.prefix, self.counter
        self.prefix, self.counter = prefix, -1

    def write(self, opened: OpenedFrame, now_ns: int) -> None:
        """Take an accepted beat over."""
        if opened.prefix == self.prefix:
            self.counter = opened.counter
        else:
            self.previous_counter = opened.counter
        if opened.beat.is_terminal:
            self.max_terminal_timestamp = max(self.max_terminal_timestamp, opened.beat.timestamp)
        else:
            self.max_nonce = max(self.max_nonce, opened.beat.nonce)
        self.last_ns = now_ns


class SecureSenders:
    """The replay state of all senders, by the authenticated pid of their frames.

    Args:
        capacity: Senders remembered at most.
        restart_gap_ns: After which silence a pid may come back as another process.
        ttl_ns: After which silence a sender may be forgotten.
        sweep_ns: How often is looked for such.
    """

    def __init__(
        self,
        capacity: int = CAPACITY,
        restart_gap_ns: int = RESTART_GAP_NS,
        ttl_ns: int = TTL_NS,
        sweep_ns: int = SWEEP_NS,
    ) -> None:
        self.capacity = capacity
        self.restart_gap_ns = restart_gap_ns
        self._ttl_ns = ttl_ns
        self._sweep_ns = sweep_ns
        self._swept_ns: int | None = None
        self._index = ProbeTable(capacity)
        self._senders: list[_Sender] = []
        self._accepted = self._replays = self._full = self._restarts = self._swept = 0

    def admit(self, opened: OpenedFrame, now_ns: int) -> Admission:
        """Judge an opened beat, and remember it when it is accepted.

        Args:
            opened: Its frame was decoded: what is no legal frame must not change the state.
            now_ns: On the receiver's clock.
        """
        self._sweep_when_due(now_ns)
        at = self._index.get(opened.beat.pid)
        sender = self._insert(opened.beat.pid) if at is None else self._senders[at]
        if sender is None:
            self._full += 1
            return Admission.FULL
        if not self._admits(sender, opened, now_ns):
            self._replays += 1
            return Admission.REPLAY
        sender.write(opened, now_ns)
        self._accepted += 1
        return Admission.ACCEPTED

    def _admits(self, sender: _Sender, opened: OpenedFrame, now_ns: int) -> bool:
        if opened.prefix == sender.prefix:
            return opened.counter > sender.counter
        if opened.prefix == sender.previous_prefix:
            return opened.counter > sender.previous_counter
        if not sender.is_newer(opened):
            if opened.beat.is_terminal or now_ns - sender.last_ns < self.restart_gap_ns:
                return False
            self._restarts += 1
            sender.max_nonce = sender.max_terminal_timestamp = -1
        sender.begin_prefix(opened.prefix)
        return True

    def _insert(self, pid: int) -> _Sender | None:
        if len(self._senders) >= self.capacity:
            return None
        try:
            self._index.insert(pid, len(self._senders))
        except ProbeExhausted:
            return None
        sender = _Sender(pid)
        self._senders.append(sender)
        return sender

    def _sweep_when_due(self, now_ns: int) -> None:
        if self._swept_ns is None:
            self._swept_ns = now_ns
        if now_ns - self._swept_ns < self._sweep_ns:
            return
        self._swept_ns = now_ns
        stale = [sender.pid for sender in self._senders if now_ns - sender.last_ns >= self._ttl_ns]
        for pid in stale:
            self._forget(pid)
        self._swept += len(stale)

    def _forget(self, pid: int) -> None:
        at = self._index.remove(pid)
        last = self._senders.pop()
        if at is not None and last.pid != pid:
            self._senders[at] = last
            self._index.insert(last.pid, at)

    def __len__(self) -> int:
        return len(self._senders)

    def statistics(self) -> SenderStatistics:
        """Return the counters as they are now."""
        return SenderStatistics(
            senders=len(self._senders),
            accepted=self._accepted,
            replays_refused=self._replays,
            state_full=self._full,
            restarts=self._restarts,
            swept=self._swept,
        )
