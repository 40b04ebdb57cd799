"""The audit of a run: every attempt to do something to it, whatever became of it.

An entry goes into the ring first and then into the file. When the file takes nothing (a full disk), the entry is
marked and waits, and the run goes on; those that wait are tried again once a second, and go along with the next entry.

A line is handed to the kernel before the event that speaks of it, so it survives a backend that is killed. A thread
then puts it on the disk, so that it survives a power cut a few milliseconds later; the loop does not wait for that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

import trio

from ktstr_tui.control.audit_chain import AuditEntry
from ktstr_tui.control.probes import Values
from ktstr_tui.model.control import Outcome
from ktstr_tui.model.signing import Proof, Refusal

RING = 256
RETRY_TICKS = 10
"""Ticks between two tries to write what waits for room."""
MAX_PENDING = 1024
"""Entries that wait for room; older ones are given up and counted."""


class Chain(Protocol):
    """Where entries are kept for good."""

    last_seq: int

    def append(self, entry: AuditEntry) -> None:
        """Write an entry, or raise OSError."""

    def sync(self) -> None:
        """Return when what was written is on the disk, or raise OSError. Blocks."""


def wall_now() -> str:
    """The time, for people."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Audit:
    """Numbers and keeps entries.

    Args:
        chain: Its file; None keeps the ring only.
        wall: Tells the time.
    """

    def __init__(self, chain: Chain | None = None, wall: Callable[[], str] = wall_now) -> None:
        self._chain = chain
        self._wall = wall
        self._seq = chain.last_seq if chain is not None else 0
        self._ring: deque[AuditEntry] = deque(maxlen=RING)
        self._pending: deque[AuditEntry] = deque()
        self._given_up = self._unsynced = self._calls = 0
        self._written = trio.Event()
        self.why_pending = ""
        """Why the last entry could not be written; empty when it could."""

    def record(
        self,
        operator: str,
        request: str,
        outcome: Outcome,
        reason: str = "",
        *,
        proof: Proof = "claimed",
        refusal: Refusal | None = None,
    ) -> AuditEntry:
        """Keep an entry; ask `is_pending` whether its file has it."""
        self._seq += 1
        entry = AuditEntry(
            seq=self._seq,
            at=self._wall(),
            operator=operator,
            request=request,
            outcome=outcome,
            reason=reason,
            proof=proof,
            refusal=refusal,
        )
        self._ring.append(entry)
        if self._chain is not None:
            if len(self._pending) >= MAX_PENDING:
                self._pending.popleft()
                self._given_up += 1
            self._pending.append(entry)
            self.flush()
        return entry

    def flush(self) -> None:
        """Write what waits for room, as far as there is some."""
        try:
            while self._pending and self._chain is not None:
                self._chain.append(self._pending[0])
                self._pending.popleft()
                self._written.set()
            self.why_pending = ""
        except OSError as error:
            self.why_pending = error.strerror or str(error)

    async def keep_on_disk(self) -> None:
        """Put what is written on the disk until cancelled, and what is left then."""
        try:
            while True:
                await self._written.wait()
                await self._sync()
        finally:
            self.flush()
            if self._written.is_set():
                await self._sync()

    async def recover(self) -> Values | None:
        """Try again what waits for room, once in `RETRY_TICKS` calls: a recovery handler of the control loop."""
        self._calls += 1
        if not self._pending or self._calls % RETRY_TICKS:
            return None
        before = len(self._pending)
        self.flush()
        return {"waited": float(before), "waiting": float(len(self._pending))}

    def is_pending(self, seq: int) -> bool:
        """Whether the entry of that number waits for room in the file."""
        return bool(self._pending) and seq >= self._pending[0].seq

    def recent(self) -> list[tuple[AuditEntry, bool]]:
        """The newest entries, oldest first, each with whether it is pending."""
        return [(it, self.is_pending(it.seq)) for it in self._ring]

    def drops(self) -> dict[str, int]:
        """Return the entries that will never be in the file; those that wait are marked in their events."""
        return {"entries-given-up": self._given_up, "entries-not-synced": self._unsynced}

    async def _sync(self) -> None:
        if self._chain is None:
            return
        # Shielded: a cancellation between the two lines would forget what was written.
        with trio.CancelScope(shield=True):
            self._written = trio.Event()
            try:
                await trio.to_thread.run_sync(self._chain.sync)
            except OSError:
                self._unsynced += 1
