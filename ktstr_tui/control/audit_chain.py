"""The file of the audit: one JSON object a line, each of which names the SHA-256 of the line before it.

Whoever changes, removes or inserts a line must rewrite all that follow, and then the last hash is another one. That
lines were cut off at the end does not show in the file itself: compare the number of entries with another copy.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

from ktstr_tui.model.control import Outcome
from ktstr_tui.model.signing import Proof, Refusal

AUDIT_FILE = "audit.jsonl"
TORN_FILE = "audit.torn"
"""What was cut off the end of a file, kept beside it."""
FIRST_PREV = "0" * 64
MAX_FILE_BYTES = 64 << 20


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody tried something."""

    seq: int
    """From 1, without gaps; a gap is entries that are not in the file."""
    at: str
    """Wall time, for people."""
    operator: str
    proof: Proof = "claimed"
    request: str
    outcome: Outcome
    refusal: Refusal | None = None
    """Why it was refused, for programs; None for what was not."""
    reason: str = ""


class ChainedEntry(AuditEntry, frozen=True, kw_only=True):
    """A line of the file."""

    prev: str
    """SHA-256 of the line before it, without its newline; zeros in the first."""


class ChainReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a file of the audit proves."""

    entries: int
    last_hash: str
    """SHA-256 of the last whole line."""
    broken_line: int | None
    """The first line that does not fit, from 1; None when all fit."""
    why: str
    missing: int
    """Entries that are not in the file, by their numbers."""
    torn_bytes: int
    """Of a last line that was not written whole."""

    @property
    def proven(self) -> bool:
        """Whether every line fits and nothing is missing."""
        return self.broken_line is None and not self.missing and not self.torn_bytes


def line_hash(line: bytes) -> str:
    """SHA-256 of a line without its newline."""
    return hashlib.sha256(line).hexdigest()


def verify(data: bytes) -> tuple[ChainReport, list[ChainedEntry]]:
    """Check the bytes of a whole file.

    Returns:
        What they prove, and the entries up to the first line that does not fit.
    """
    *lines, rest = data.split(b"\n")
    entries: list[ChainedEntry] = []
    prev, seq, missing = FIRST_PREV, 0, 0
    broken, why = None, ""
    for number, line in enumerate(lines, 1):
        entry, why = _fitting(line, prev, seq)
        if entry is None:
            broken = number
            break
        missing += entry.seq - seq - 1
        prev, seq = line_hash(line), entry.seq
        entries.append(entry)
    report = ChainReport(
        entries=len(entries),
        last_hash=prev,
        broken_line=broken,
        why=why,
        missing=missing,
        torn_bytes=len(rest),
    )
    return report, entries


def _fitting(line: bytes, prev: str, seq: int) -> tuple[ChainedEntry | None, str]:
    try:
        entry = msgspec.json.decode(line, type=ChainedEntry)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return None, f"not an entry: {error}"
    if entry.prev != prev:
        return None, "it does not name the hash of the line before it"
    if entry.seq <= seq:
        return None, f"its number {entry.seq} does not follow {seq}"
    return entry, ""


class AuditFile:
    """Appends to the file; a line is whole or not there.

    Args:
        directory: Where it is, or is made at the first entry.
        max_bytes: Its size at most.

    Raises:
        OSError: There is a file that cannot be read or repaired.
    """

    def __init__(self, directory: Path, max_bytes: int = MAX_FILE_BYTES) -> None:
        self.path = directory / AUDIT_FILE
        self._max_bytes = max_bytes
        self._prev, self.last_seq, self._bytes = FIRST_PREV, 0, 0
        self.repaired = 0
        """Bytes of a torn last line that were cut off at the start."""
        self.found: ChainReport | None = None
        """What the file proved at the start; None when there was none."""
        if self.path.exists():
            self._continue(self.path.read_bytes(), directory / TORN_FILE)

    def append(self, entry: AuditEntry) -> None:
        """Write an entry.

        Raises:
            OSError: It could not be written; the file is as before.
        """
        chained = ChainedEntry(**msgspec.structs.asdict(entry), prev=self._prev)
        line = msgspec.json.encode(chained)
        if self._bytes + len(line) + 1 > self._max_bytes:
            raise OSError(None, f"{self.path} has reached its size")
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            written = os.write(handle, line + b"\n")
            if written != len(line) + 1:
                os.ftruncate(handle, self._bytes)
                raise OSError(None, f"only {written} of {len(line) + 1} bytes fit")
        finally:
            os.close(handle)
        self._bytes += len(line) + 1
        self._prev = line_hash(line)

    def sync(self) -> None:
        """Return when all that was appended is on the disk, and the name of the file too. Blocks.

        Raises:
            OSError: That failed.
        """
        for path in (self.path, self.path.parent):
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def _continue(self, data: bytes, torn: Path) -> None:
        end = data.rfind(b"\n") + 1
        self.repaired = len(data) - end
        if self.repaired:
            with torn.open("ab") as file:
                file.write(data[end:] + b"\n")
            os.truncate(self.path, end)
        report, entries = verify(data[:end])
        self.found, self._bytes = report, end
        lines = data[:end].splitlines()
        # After a line that does not fit the chain goes on over what is there, so that nothing hides it.
        self._prev = line_hash(lines[-1]) if lines else FIRST_PREV
        self.last_seq = max(len(lines), entries[-1].seq if entries else 0)
