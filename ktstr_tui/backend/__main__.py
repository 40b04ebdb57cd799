"""The backend as a process of its own: ``python -m ktstr_tui.backend FD``.

It reads a `RunConfig` as JSON from standard input and reports on file descriptor FD, one JSON object a line:
``{"note": text}`` while it prepares, then ``{"ready": {"name", "socket_dir", "data_dir"}}``, or
``{"error": {"fault", "message", "hint"}}`` when it cannot begin. After that the stream says everything.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import msgspec
import trio

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.run_dirs import RunDirs
from ktstr_tui.backend.session import run_backend
from ktstr_tui.model.errors import EXIT_BUG, KtstrError, root_cause


class _Reporter:
    """Writes to the parent until it has heard enough or is gone."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd

    def send(self, message: dict[str, Any], *, last: bool = False) -> None:
        if self._fd is None:
            return
        try:
            os.write(self._fd, json.dumps(message).encode() + b"\n")
        except OSError:
            last = True
        if last:
            os.close(self._fd)
            self._fd = None

    def note(self, text: str) -> None:
        self.send({"note": text})

    def ready(self, place: RunDirs) -> None:
        """Tell where the run lives; from here on standard error goes to a file there."""
        log = os.open(place.data_dir / "backend.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, sys.stderr.fileno())
        os.close(log)
        answer = {"name": place.name, "socket_dir": str(place.socket_dir), "data_dir": str(place.data_dir)}
        self.send({"ready": answer}, last=True)


def main() -> int:
    """Run one backend; its exit code is that of the run."""
    config = msgspec.json.decode(sys.stdin.buffer.read(), type=RunConfig)
    reporter = _Reporter(int(sys.argv[1]))
    try:
        state = trio.run(run_backend, config, reporter.note, reporter.ready)
    except BaseException as error:
        cause = root_cause(error)
        if isinstance(cause, KtstrError):
            failure = {"fault": cause.fault, "message": cause.message, "hint": cause.hint}
            reporter.send({"error": failure}, last=True)
            return cause.exit_code
        failure = {
            "fault": "bug",
            "message": f"{type(cause).__name__}: {cause}",
            "hint": "run with --headless to see more",
        }
        reporter.send({"error": failure}, last=True)
        raise
    return state.ended.exit_code if state.ended else EXIT_BUG


if __name__ == "__main__":
    sys.exit(main())
