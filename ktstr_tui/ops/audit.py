"""The audit trail of writes to a guest's kernel: one JSON object a line, in the order in which they happened.

intent, on disk ─▶ the write ─▶ its result, with the intent's number

The intent says who wants to write what where, and it is on disk (fsync) before memory changes. When it cannot be
recorded, the write is refused, and memory is as before. The result may still find the disk full: it is then kept
and written before anything else is, as soon as there is room; until then the intent shows that something was
written, and no further write is accepted. A line is whole or not there: what was written of one that did not fit
is cut off again, so that a full disk costs nothing once space returns.

What a hostile guest asks for and does not get is recorded too, but neither without end nor so that it could use
up the room of real writes.
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
    """Refusals that are not in the file: there are too many, or there was no room."""
    kept: int
    """Results that are not in the file yet because there was no room."""
    broken: str
    """Why the last line could not be written; empty when it could."""


class AuditTrail:
    """The file. Methods block for as long as the file system takes; one thread at a time may call them.

    Args:
        path: Made at the first line, readable by its owner only.
        max_bytes: Its size at most; the results of writes that were accepted before may exceed it.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_TRAIL_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._fd: int | None = None
        self._closed = False
        self._kept: list[bytes] = []
        self._lines = self._bytes = self._left_out = self._intents = 0
        self._broken = ""

    def intend(self, who: str, entries: list[dict[str, object]], wall: str) -> int:
        """Record on disk what is about to be written.

        Args:
            who: Who asks for it.
            entries: Each with its target, address and value, as plain values.
            wall: The time of day, for people.

        Returns:
            A number for `append`, to tell which result belongs to it.

        Raises:
            HostError: It could not be recorded; the write must not happen.
        """
        line = {"wall": wall, "what": "intent", "number": self._intents + 1, "who": who, "entries": entries}
        if self._bytes >= self._max_bytes:
            self._broken = f"it has {self._bytes} bytes, at most {self._max_bytes} are allowed"
            problem: str | None = self._broken
        else:
            problem = self._write_kept() or self._write(_encode(line))
        if problem is not None:
            raise HostError(
                f"refusing to write: the audit log {self.path} is not writable: {problem}; nothing was changed",
                "free some space and try again",
            )
        self._intents += 1
        return self._intents

    def append(self, event: KernelOpDone, wall: str, intent: int | None) -> str | None:
        """Record what became of a write, or of the wish for one.

        Args:
            event: What happened.
            wall: The time of day, for people.
            intent: The number that `intend` returned; None when it did not come to that.

        Returns:
            Why it could not be recorded; None when it was, or when it is a refusal too many.
        """
        fields = _plain(event)
        if intent is not None:
            line = _encode({"wall": wall, "what": "result", "number": intent, **fields})
            problem = self._write_kept() or self._write(line)
            if problem is not None:
                self._kept.append(line)
            return problem
        problem = None
        if self._bytes < self._max_bytes // 2:
            line = _encode({"wall": wall, "what": "refusal", **fields})
            problem = self._write_kept() or self._write(line)
            if problem is None:
                return None
        self._left_out += 1
        return problem

    def close(self) -> None:
        """Write what was kept, if there is room now, and close the file."""
        self._write_kept()
        self._closed = True
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def drops(self) -> dict[str, int]:
        """Return what was lost so far, by reason."""
        return {"audit-lines-left-out": self._left_out}

    def statistics(self) -> AuditStatistics:
        """Counters so far."""
        return AuditStatistics(
            lines=self._lines,
            bytes=self._bytes,
            left_out=self._left_out,
            kept=len(self._kept),
            broken=self._broken,
        )

    def _write_kept(self) -> str | None:
        while self._kept:
            problem = self._write(self._kept[0])
            if problem is not None:
                return problem
            del self._kept[0]
        return None

    def _write(self, line: bytes) -> str | None:
        """Write one line and flush it to disk; why not, and then the file is as before."""
        try:
            handle = self._open()
            try:
                written = os.write(handle, line)
                if written != len(line):
                    raise OSError(None, f"only {written} of {len(line)} bytes fit")
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, self._bytes)
                raise
        except OSError as error:
            self._broken = error.strerror or str(error)
            return self._broken
        self._broken = ""
        self._lines += 1
        self._bytes += len(line)
        return None

    def _open(self) -> int:
        if self._closed:
            raise OSError(None, "the run has ended")
        if self._fd is None:
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._bytes = os.fstat(handle).st_size
            self._fd = handle
            _flush_directory(self.path.parent)
        return self._fd


def _flush_directory(path: Path) -> None:
    """Make the name of a new file in a directory survive a crash of the host."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _encode(line: dict[str, object]) -> bytes:
    return msgspec.json.encode(line) + b"\n"


def _plain(event: KernelOpDone) -> dict[str, object]:
    fields: dict[str, object] = msgspec.to_builtins(event)
    return {name: value for name, value in fields.items() if name not in ("type", "seq")}
