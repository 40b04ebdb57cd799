"""Captures on disk: one JSON file each, in the run's captures directory.

Writing happens in a worker thread and after the thaw. A file is complete or not there: it is written under
another name, flushed, and renamed. A full disk costs the file and says so; it never ends the run.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import trio

from ktstr_tui.model.events import Event, Logged
from ktstr_tui.model.report import CaptureReport

MAX_NAME_BYTES = 100
"""Of a tag, in a file name."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


class StoreStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of the store."""

    saved: int
    saved_bytes: int
    drops: dict[str, int]
    """Reports that were not saved, by reason."""


def file_name(number: int, tag: str) -> str:
    """``007-error-007.json`` for the 7th capture; what a file system may dislike becomes ``_``."""
    return f"{number:03d}-{_UNSAFE.sub('_', tag)[:MAX_NAME_BYTES]}.json"


class CaptureStore:
    """Saves reports.

    Args:
        directory: The run's captures directory; made when it is missing.
        emit: Takes events, on the trio thread.
    """

    def __init__(self, directory: Path, emit: Callable[[Event], object]) -> None:
        self._directory = directory
        self._emit = emit
        self._saved = self._saved_bytes = 0
        self._drops: dict[str, int] = {}

    async def save(self, number: int, report: CaptureReport) -> str:
        """Save one report, readable by its owner only.

        Returns:
            The path; empty when it could not be saved, which is counted and told in an event.
        """
        path = self._directory / file_name(number, report.tag)
        try:
            size = await trio.to_thread.run_sync(_write, path, report)
        except (OSError, TypeError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
            self._drops[reason] = self._drops.get(reason, 0) + 1
            text = f"capture {report.tag} could not be saved as {path}: {error}"
            self._emit(Logged(severity="error", source="captures", text=text))
            return ""
        self._saved += 1
        self._saved_bytes += size
        return str(path)

    def statistics(self) -> StoreStatistics:
        """Counters so far."""
        return StoreStatistics(saved=self._saved, saved_bytes=self._saved_bytes, drops=dict(self._drops))


def _write(path: Path, report: CaptureReport) -> int:
    text = msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # mkstemp makes the file 0600.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).rename(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return len(text)
