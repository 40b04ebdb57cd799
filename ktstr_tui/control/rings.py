"""The newest failures and log lines, and the files that keep all of them.

An entry goes into the ring first. When its file does not take it, the entry is marked and the loop goes on.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar

import msgspec

from ktstr_tui.model.control import FailureRecord, LogLevel, LogRecord

FAILURES = 256
LOG_LINES = 2048

_R = TypeVar("_R", FailureRecord, LogRecord)
_R_contra = TypeVar("_R_contra", FailureRecord, LogRecord, contravariant=True)


class Appender(Protocol[_R_contra]):
    """Keeps entries for good."""

    def append(self, record: _R_contra) -> None:
        """Write an entry.

        Raises:
            OSError: It could not be written.
        """
        ...


class Ring(Generic[_R]):
    """The newest entries, numbered from 1.

    Args:
        size: How many are kept.
        appender: Keeps all of them; None when nobody does.
    """

    def __init__(self, size: int, appender: Appender[_R] | None = None) -> None:
        self._kept: deque[_R] = deque(maxlen=size)
        self._appender: Appender[_R] | None = appender
        self._tuple: tuple[_R, ...] | None = ()
        self.seq = 0
        """Number of the newest entry."""
        self.append_failures = 0

    def add(self, record: _R) -> _R:
        """Give an entry its number and keep it."""
        self.seq += 1
        record = msgspec.structs.replace(record, seq=self.seq)
        if self._appender is not None:
            try:
                self._appender.append(record)
            except Exception:  # whatever a file does, the loop goes on
                self.append_failures += 1
                record = msgspec.structs.replace(record, chain_pending=True)
        self._kept.append(record)
        self._tuple = None
        return record

    def newest(self) -> tuple[_R, ...]:
        """All that is kept, oldest first."""
        if self._tuple is None:
            self._tuple = tuple(self._kept)
        return self._tuple


class Rings:
    """What the loop and its executor could not do, and what was said.

    Args:
        failures: Keeps failures for good; None when nobody does.
        log: Keeps log lines for good; None when nobody does.
    """

    def __init__(
        self, failures: Appender[FailureRecord] | None = None, log: Appender[LogRecord] | None = None
    ) -> None:
        self.failures: Ring[FailureRecord] = Ring(FAILURES, failures)
        self.log: Ring[LogRecord] = Ring(LOG_LINES, log)

    def fail(self, source: str, reason: str, at_ns: int, action_id: int | None = None) -> None:
        """Note a failure."""
        self.failures.add(
            FailureRecord(seq=0, source=source, reason=reason, recorded_at_ns=at_ns, action_id=action_id)
        )

    def say(self, level: LogLevel, message: str, at_ns: int) -> None:
        """Note a log line."""
        self.log.add(LogRecord(seq=0, at_ns=at_ns, level=level, message=message))
