"""The audit trail of writes to a guest's kernel: one JSON object a line, appended and never changed.

A write that cannot be written down does not happen: before each the trail is asked whether it can take the
line, and a trail that failed once (a full disk) takes none any more. What a hostile guest asks for and does not
get is written down too, but neither without end nor so that it could use up the room of real writes.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from ktstr_tui.model.errors import HostError
from ktstr_tui.model.events import KernelOpDone

MAX_TRAIL_BYTES = 64 << 20
"""Size at which the trail, and with it the run, takes no more writes; refusals get half of it."""


class AuditStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of an audit trail."""

    lines: int
    bytes: int
    left_out: int
    """Refusals that were not written down because there are too many."""
    broken: str
    """Why nothing more can be written; empty while it can."""


class AuditTrail:
    """The file. Methods block for as long as the file system takes.

    Args:
        path: Made at the first line, readable by its owner only.
        max_bytes: Its size at most.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_TRAIL_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._fd: int | None = None
        self._lines = self._bytes = self._left_out = 0
        self._broken = ""

    def require(self) -> None:
        """Return when a write could be written down.

        Raises:
            HostError: It could not.
        """
        if self._fd is None and not self._broken:
            self._open()
        if self._bytes >= self._max_bytes:
            self._broken = (
                self._broken or f"it has {self._bytes} bytes, at most {self._max_bytes} are allowed"
            )
        if self._broken:
            raise HostError(
                f"refusing to write: the audit log {self.path} is not writable: {self._broken}",
                "free some space and start the run again",
            )

    def append(self, event: KernelOpDone, wall: str) -> str | None:
        """Write down what became of a write, or of the wish for one.

        Args:
            event: What happened.
            wall: The time of day, for people.

        Returns:
            Why it could not be written down; None when it was, or when it is a refusal too many.
        """
        changed = event.ok or any(place.before is not None for place in event.entries)
        if not changed and self._bytes >= self._max_bytes // 2:
            self._left_out += 1
            return None
        if self._fd is None and not self._broken:
            self._open()
        if self._fd is None or self._broken:
            return self._broken
        line = msgspec.json.encode({"wall": wall} | _plain(event)) + b"\n"
        try:
            written = os.write(self._fd, line)
            if written != len(line):
                self._broken = f"only {written} of {len(line)} bytes were written"
        except OSError as error:
            self._broken = error.strerror or str(error)
        if self._broken:
            return self._broken
        self._lines += 1
        self._bytes += len(line)
        return None

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        self._broken = self._broken or "the run has ended"

    def drops(self) -> dict[str, int]:
        """Return what was lost so far, by reason."""
        return {"audit-lines-left-out": self._left_out}

    def statistics(self) -> AuditStatistics:
        """Counters so far."""
        return AuditStatistics(
            lines=self._lines, bytes=self._bytes, left_out=self._left_out, broken=self._broken
        )

    def _open(self) -> None:
        try:
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self._broken = error.strerror or str(error)


def _plain(event: KernelOpDone) -> dict[str, object]:
    fields: dict[str, object] = msgspec.to_builtins(event)
    return {name: value for name, value in fields.items() if name not in ("type", "seq")}
