"""Captures on disk: JSON files of three layouts, in the run's captures directory.

``007-error-007.json`` is the seventh capture. Beside it there may be ``007-error-007.degraded.json``, what is known of
a stop that failed, and ``007-error-007.dual.json``, the early and the late capture of one end of a scheduler; for an
odd one, its outcome takes the place of ``dual``. What a file holds is in its field ``schema``
(`ktstr_tui.model.report_files`), the name is for people.

Writing happens in a worker thread and after the thaw. A file is complete or not there: it is written under
another name, flushed, and renamed. A full disk costs the file and says so; it never ends the run. What was to be
written goes to standard error then, its beginning at least, because there may be no second chance to see it.
"""

from __future__ import annotations

import os
import re
import select
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import trio

from ktstr_tui.capture.stop.seams import Saved
from ktstr_tui.model.events import Event, Logged
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.report_files import (
    SCHEMA_DEGRADED,
    SCHEMA_DUAL,
    AnyReport,
    DegradedReport,
    DualReport,
    encode_report,
)
from ktstr_tui.model.text import printable, runnable_for, runnable_tasks
from ktstr_tui.wire.whole_file import write_whole

MAX_NAME_BYTES = 100
"""Of a tag, in a file name."""
MAX_STDERR_BYTES = 16 << 10
"""Of a report that could not be saved, on standard error."""
STDERR_PATIENCE_S = 1.0
"""How long a full pipe is waited for before the rest of such a report is given up."""
_CHUNK_BYTES = select.PIPE_BUF
"""What a pipe that is ready takes without making the writer wait."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


class StoreStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of the store."""

    saved: int
    saved_bytes: int
    drops: dict[str, int]
    """Reports that were not saved, by reason."""


def file_name(number: int, tag: str, kind: str = "") -> str:
    """``007-error-007.json`` for the 7th capture; what a file system may dislike becomes ``_``.

    Args:
        number: Counts the captures of a run.
        tag: The capture's.
        kind: What belongs to the capture: ``degraded``, ``dual`` or the outcome of a dual report.
    """
    return f"{number:03d}-{_UNSAFE.sub('_', tag)[:MAX_NAME_BYTES]}{'.' if kind else ''}{kind}.json"


def kind_of(report: AnyReport) -> str:
    """The part of a file's name that distinguishes it from the capture's own."""
    if isinstance(report, DegradedReport):
        return SCHEMA_DEGRADED
    if isinstance(report, DualReport):
        return SCHEMA_DUAL if report.outcome == "both" else report.outcome
    return ""


def summary_of(report: AnyReport) -> str:
    """A report in a line."""
    if isinstance(report, DegradedReport):
        return f"degraded capture {report.tag} ({report.trigger}): {report.reason}"
    if isinstance(report, DualReport):
        pair = (report.early, report.late)
        tags = " and ".join(it.tag for it in pair if it is not None)
        return f"dual report {report.tag}, {report.outcome}, of {tags}"
    return _summary_of_capture(report)


def _summary_of_capture(report: CaptureReport) -> str:
    head = f"capture {report.tag} ({report.trigger}, exit_kind {report.exit_kind})"
    if report.is_placeholder:
        return f"{head}: failed: {next(iter(report.unavailable.values()), 'unknown reason')}"
    task = report.stalled
    who = f", first {runnable_for(task.comm, task.pid, task.age_ms)}" if task is not None else ""
    return f"{head}: {runnable_tasks(len(report.tasks), report.lacks)}{who}"


class CaptureStore:
    """Saves reports.

    Args:
        directory: The run's captures directory; made when it is missing.
        emit: Takes events, on the trio thread.
        last_resort: Takes the beginning of what could not be saved, in a worker thread.
    """

    def __init__(
        self,
        directory: Path,
        emit: Callable[[Event], object],
        last_resort: Callable[[bytes], object] | None = None,
    ) -> None:
        self._directory = directory
        self._emit = emit
        self._last_resort = last_resort or write_to_stderr
        self._saved = self._saved_bytes = 0
        self._drops: dict[str, int] = {}

    async def save(self, number: int, report: AnyReport) -> Saved:
        """Save one report, readable by its owner only.

        Returns:
            The path, or why it could not be saved; that is also counted, and reported in an event and on standard
            error.
        """
        path = self._directory / file_name(number, report.tag, kind_of(report))
        try:
            size = await trio.to_thread.run_sync(_write, path, report)
        except (OSError, TypeError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
            self._drops[reason] = self._drops.get(reason, 0) + 1
            text = f"{summary_of(report)}: could not be saved as {path}: {error}"
            self._emit(Logged(severity="error", source="captures", text=text))
            await trio.to_thread.run_sync(self._tell, text, report)
            return Saved(problem=f"{path}: {reason}")
        self._saved += 1
        self._saved_bytes += size
        return Saved(path=str(path))

    def _tell(self, text: str, report: AnyReport) -> None:
        try:
            whole = encode_report(report)
        except (TypeError, ValueError):
            whole = b""
        cut = f"… ({len(whole)} bytes in all)\n" if len(whole) > MAX_STDERR_BYTES else ""
        begin = whole[:MAX_STDERR_BYTES].decode(errors="replace")
        self._last_resort(f"{printable(text)}\n{printable(begin)}{cut}".encode())

    def drops(self) -> dict[str, int]:
        """Return the reports that could not be saved, by reason."""
        return dict(self._drops)

    def statistics(self) -> StoreStatistics:
        """Counters so far."""
        return StoreStatistics(saved=self._saved, saved_bytes=self._saved_bytes, drops=dict(self._drops))


def write_to_stderr(data: bytes) -> None:
    """Write as much as standard error takes; never waits long and never raises.

    Nobody may read the other end, and a capture is not worth a thread that waits for ever.
    """
    try:
        handle = sys.stderr.fileno()
        sys.stderr.flush()
        while data and select.select([], [handle], [], STDERR_PATIENCE_S)[1]:
            data = data[os.write(handle, data[:_CHUNK_BYTES]) :]
    except (OSError, ValueError, AttributeError):
        return


def _write(path: Path, report: AnyReport) -> int:
    data = encode_report(report)
    write_whole(path, data)
    return len(data)
