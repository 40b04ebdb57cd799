"""Keep what schedulers and their loaders print as a file of the run.

The log of a verifier that refuses a program has thousands of lines, of which the screen keeps the last. All of it is
the developer's only way to the cause, so it is kept in ``scheduler.log``, apart from the console and its boot
messages. The guest writes it, so it has a largest size; past it the beginning is kept, which holds the first refusal.
"""

from __future__ import annotations

from io import FileIO
from pathlib import Path

from ktstr_tui.model.text import printable

MAX_BYTES = 32 << 20
"""Largest size of the file."""


class SchedulerLog:
    """Writes ``scheduler.log``; the file is made with the first text.

    Args:
        path: The file.
        max_bytes: Its largest size.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self._room_bytes = max_bytes
        self._file: FileIO | None = None
        self._lost_bytes = 0

    def write(self, text: str) -> None:
        """Append text; what does not fit, or cannot be written, is counted."""
        data = printable(text).encode()
        taken = data[: self._room_bytes]
        self._lost_bytes += len(data) - len(taken)
        self._room_bytes -= len(taken)
        if not taken:
            return
        try:
            if self._file is None:
                self._file = FileIO(self.path, "ab")
            written = self._file.write(taken) or 0
            self._lost_bytes += len(taken) - written
        except OSError:
            self._lost_bytes += len(taken)

    def drops(self) -> dict[str, int]:
        """Return what was lost so far, by reason."""
        return {"scheduler-log-bytes": self._lost_bytes}

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
