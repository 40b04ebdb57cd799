"""The audit of a run: every attempt to do something to it, whatever became of it.

An entry goes into the ring first and then into the file. When the file takes nothing (a full disk), the entry is
marked and waits, and the run goes on; the next entry that can be written brings those that wait along, in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from ktstr_tui.control.audit_chain import AuditEntry
from ktstr_tui.model.control import Outcome

RING = 256
MAX_PENDING = 1024
"""Entries that wait for room; older ones are given up and counted."""


class Chain(Protocol):
    """Where entries are kept for good."""

    last_seq: int

    def append(self, entry: AuditEntry) -> None:
        """Write an entry, or raise OSError."""


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
        self._given_up = 0
        self.why_pending = ""
        """Why the last entry could not be written; empty when it could."""

    def record(self, operator: str, request: str, outcome: Outcome, reason: str = "") -> AuditEntry:
        """Keep an entry; ask `is_pending` whether its file has it."""
        self._seq += 1
        entry = AuditEntry(
            seq=self._seq,
            at=self._wall(),
            operator=operator,
            request=request,
            outcome=outcome,
            reason=reason,
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
            self.why_pending = ""
        except OSError as error:
            self.why_pending = error.strerror or str(error)

    def is_pending(self, seq: int) -> bool:
        """Whether the entry of that number waits for room in the file."""
        return bool(self._pending) and seq >= self._pending[0].seq

    def recent(self) -> list[tuple[AuditEntry, bool]]:
        """The newest entries, oldest first, each with whether it is pending."""
        return [(it, self.is_pending(it.seq)) for it in self._ring]

    def drops(self) -> dict[str, int]:
        """Return the entries that will never be in the file; those that wait are marked in their events."""
        return {"entries-given-up": self._given_up}
