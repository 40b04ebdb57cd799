"""The guest's serial console: a full log in a file, a clean bounded tail in memory, and an eye on panics.

The bytes are the guest's and the guest is hostile: it may print without end, without line breaks, and control
sequences for the terminal of whoever looks. So a line has a longest length, the tail a fixed number of lines,
the log a largest size, and lines are stripped of everything that is not printable. What is cut is counted.
"""

from __future__ import annotations

import errno
import re
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec
import trio

from ktstr_tui.model.errors import HostError

MAX_LINE_CHARS = 500
TAIL_LINES = 400
MAX_LOG_BYTES = 64 << 20
PANIC_MARK = "Kernel panic - not syncing: "
USERSPACE_MARKS = ("Run /init as init process", "Run /sbin/init as init process")
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_=>])")


class ConsoleStatistics(msgspec.Struct, frozen=True):
    """Counts since the machine started."""

    bytes: int
    lines: int
    lines_cut: int
    """Lines longer than `MAX_LINE_CHARS`, of which the rest was left out of the tail."""
    log_bytes_dropped: int
    """Bytes not written to the log: it had reached its largest size, or the disk refused."""


class Console:
    """Takes the console's bytes in order.

    Args:
        log: The log file, truncated first; None keeps no log.
    """

    panic: str | None
    """What the kernel said after ``Kernel panic - not syncing:``; None as long as it has not panicked."""
    userspace: trio.Event
    """Set when the kernel says that it starts init (needs ``loglevel=7`` on its command line)."""

    def __init__(self, log: Path | None) -> None:
        self.panic = None
        self.userspace = trio.Event()
        self._log: IO[bytes] | None = None if log is None else log.open("wb", buffering=0)
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._partial = b""
        self._fed = trio.lowlevel.ParkingLot()
        self._bytes = self._lines = self._lines_cut = self._logged = self._dropped = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def feed(self, data: bytes) -> list[str]:
        """Take bytes and return the lines that they completed, cleaned."""
        self._bytes += len(data)
        self._fed.unpark_all()
        self._write(data)
        *complete, self._partial = (self._partial + data).split(b"\n")
        lines = [self._take(line) for line in complete]
        if len(self._partial) > 4 * MAX_LINE_CHARS:
            # Not one line without an end may grow in memory; what was kept of it is shown as a line.
            lines.append(self._take(self._partial))
            self._partial = b""
        return lines

    def tail(self, count: int = TAIL_LINES) -> tuple[str, ...]:
        """The last ``count`` lines, oldest first, with the unfinished one if there is any."""
        partial = clean(self._partial)
        lines = [*self._tail, partial] if partial else list(self._tail)
        return tuple(lines[-count:])

    def since(self, count: int) -> tuple[str, ...]:
        """The complete lines after the first ``count``, as far as they are kept."""
        new = self._lines - count
        return tuple(self._tail)[-new:] if new > 0 else ()

    async def wait_bytes(self, count: int) -> None:
        """Wait until the console has printed ``count`` bytes since the start."""
        while self._bytes < count:
            await self._fed.park()

    def close(self) -> None:
        """Take the unfinished line as a line and close the log."""
        if self._partial:
            self._take(self._partial)
            self._partial = b""
        if self._log is not None:
            self._log.close()
            self._log = None

    def drops(self) -> dict[str, int]:
        """Return what was lost so far, by reason."""
        return {"console-bytes-not-in-the-log": self._dropped, "console-lines-cut": self._lines_cut}

    def statistics(self) -> ConsoleStatistics:
        """Counts since the start."""
        return ConsoleStatistics(self._bytes, self._lines, self._lines_cut, self._dropped)

    def _take(self, raw: bytes) -> str:
        line = clean(raw)
        self._lines += 1
        if len(line) > MAX_LINE_CHARS:
            self._lines_cut += 1
            line = line[:MAX_LINE_CHARS] + " …"
        if self.panic is None and PANIC_MARK in line:
            self.panic = line.partition(PANIC_MARK)[2].strip()
        if any(mark in line for mark in USERSPACE_MARKS):
            self.userspace.set()
        self._tail.append(line)
        return line

    def _write(self, data: bytes) -> None:
        room = MAX_LOG_BYTES - self._logged
        kept = data[: max(room, 0)]
        written = 0
        if self._log is not None and kept:
            try:
                written = self._log.write(kept) or 0
            except OSError:
                written = 0
        self._logged += written
        self._dropped += 0 if self._log is None else len(data) - written


def clean(raw: bytes) -> str:
    """A console line as printable text: escape sequences and control characters removed, tabs as spaces."""
    text = _ESCAPES.sub("", raw.decode("utf-8", "replace"))
    return "".join(c if c.isprintable() else " " if c == "\t" else "" for c in text).rstrip()


def open_console(log: Path) -> Console:
    """A console that keeps what it takes in a file.

    Raises:
        HostError: The file cannot be written.
    """
    try:
        return Console(log)
    except OSError as error:
        hint = "free some space" if error.errno == errno.ENOSPC else "is the run directory still there?"
        raise HostError(f"cannot write the console log {log}: {error.strerror}", hint) from error
