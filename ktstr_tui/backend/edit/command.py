"""One run of the build command on the host: bounded output, kept in a file, ended as a whole when it is cancelled.

The command is given to a shell and gets a session of its own, so that all its processes can be ended together. What it
prints is read as it comes: the beginning goes to a file, as the first error is what matters, and the last lines are
kept for the screen. A process that it leaves behind may hold its output open; that is waited for only shortly.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from io import FileIO
from pathlib import Path

import msgspec
import trio

from ktstr_tui.model.text import counted
from ktstr_tui.text.build_log import line_that_matters

MAX_LOG_BYTES = 1 << 20
"""Of what a build prints, in its file; the rest is counted."""
MAX_LINES = 200
"""Lines kept of the beginning, and as many of the end."""
MAX_LINE_CHARACTERS = 1000
LEFT_OPEN_S = 1.0
"""How long output that a process left behind holds open is read."""
KILL_S = 2.0
"""How long a build that is cancelled may take to end by itself."""


class BuildResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a build ended."""

    exit_code: int
    """Below 0 for the signal that ended it."""
    duration_ms: float
    headline: str = ""
    """The line that matters, when it failed; empty when it worked."""
    log: tuple[str, ...] = ()
    unkept_bytes: int = 0
    path: str = ""
    """The file with what it printed; empty when it could not be written."""

    @property
    def ok(self) -> bool:
        """Whether it worked."""
        return self.exit_code == 0


class _Output:
    """Keeps what a build prints, within bounds."""

    def __init__(self, path: Path | None) -> None:
        self.path = ""
        self.unkept_bytes = 0
        self._file: FileIO | None = None
        if path is not None:
            with suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = path.open("wb", buffering=0)
                self.path = str(path)
        self._room = MAX_LOG_BYTES
        self._partial = b""
        self._first: list[str] = []
        self._last: deque[str] = deque(maxlen=MAX_LINES)
        self._lines = 0

    def take(self, data: bytes) -> None:
        kept = data[: self._room]
        self._room -= len(kept)
        self.unkept_bytes += len(data) - len(kept)
        if kept and self._file is not None:
            try:
                self._file.write(kept)
            except OSError:
                self.close()
                self.path = ""
        *lines, self._partial = (self._partial + data).split(b"\n")
        if len(self._partial) > MAX_LINE_CHARACTERS:
            lines, self._partial = [*lines, self._partial], b""
        for line in lines:
            self._add(line)

    def _add(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace")[:MAX_LINE_CHARACTERS]
        self._lines += 1
        (self._first if len(self._first) < MAX_LINES else self._last).append(text)

    def finish(self) -> list[str]:
        """Close the file; the lines that were kept."""
        if self._partial:
            self._add(self._partial)
            self._partial = b""
        self.close()
        left_out = self._lines - len(self._first) - len(self._last)
        between = [f"… {counted(left_out, 'line')} left out …"] if left_out else []
        return [*self._first, *between, *self._last]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


async def run_build(command: str, log_path: Path | None) -> BuildResult:
    """Run a command of the shell to its end; when it is cancelled, all its processes are ended first.

    Args:
        command: The command; it runs in the working directory of this process.
        log_path: Where what it prints is kept; None for nowhere.
    """
    started_ns = time.monotonic_ns()
    output = _Output(log_path)
    try:
        async with _started(command) as process:
            assert process.stdout is not None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_read, process.stdout, output)
                exit_code = await process.wait()
                nursery.cancel_scope.deadline = trio.current_time() + LEFT_OPEN_S
    finally:
        lines = output.finish()
    return BuildResult(
        exit_code=exit_code,
        duration_ms=(time.monotonic_ns() - started_ns) / 1e6,
        headline=(line_that_matters(lines) or f"exit code {exit_code}") if exit_code else "",
        log=tuple(lines),
        unkept_bytes=output.unkept_bytes,
        path=output.path,
    )


async def _read(stream: trio.abc.ReceiveStream, output: _Output) -> None:
    async for data in stream:
        output.take(bytes(data))


@asynccontextmanager
async def _started(command: str) -> AsyncIterator[trio.Process]:
    # The command is the user's own, from the command line of the one who started the run.
    process = await trio.lowlevel.open_process(
        ["/bin/sh", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            await _end(process)
        if process.stdout is not None:
            with trio.CancelScope(shield=True):
                await process.stdout.aclose()


async def _end(process: trio.Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with trio.move_on_after(KILL_S, shield=True):
        await process.wait()
    # Also when the shell has ended: what it started may not have.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with trio.CancelScope(shield=True):
        await process.wait()
