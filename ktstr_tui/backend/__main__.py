"""The backend as a process of its own: ``python -m ktstr_tui.backend FD``.

It reads a `RunConfig` as JSON from standard input and reports on file descriptor FD, one JSON object a line:
``{"note": text}`` while it prepares, then ``{"ready": {"name", "socket_dir", "data_dir"}}``, or
``{"error": {"fault", "message", "hint"}}`` when it cannot begin. After that the stream says everything; only the end,
``{"ended": {"exit_code", "reason"}}``, is reported here too, for a screen that was closed before it came.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ktstr_tui.model.errors import EXIT_BUG, KtstrError, host_limit, root_cause

if TYPE_CHECKING:
    from ktstr_tui.backend.run_dirs import RunDirs
    from ktstr_tui.model.state import Ending, RunState


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
        self.send({"ready": answer})

    def ended(self, ending: Ending) -> None:
        """Tell how the run ended."""
        self.send({"ended": {"exit_code": ending.exit_code, "reason": ending.reason}}, last=True)


def main() -> int:
    """Run one backend; its exit code is that of the run, `EXIT_BUG` after a defect, and never Python's own 1."""
    reporter = _Reporter(int(sys.argv[1]))
    try:
        state = _run(reporter)
    except Exception as error:
        cause = root_cause(error)
        known = cause if isinstance(cause, KtstrError) else host_limit(cause)
        if known is not None:
            failure = {"fault": known.fault, "message": known.message, "hint": known.hint}
            reporter.send({"error": failure}, last=True)
            return known.exit_code
        failure = {
            "fault": "bug",
            "message": f"{type(cause).__name__}: {cause}",
            "hint": "run with --headless to see more",
        }
        reporter.send({"error": failure}, last=True)
        with suppress(OSError):
            traceback.print_exception(error)
        return EXIT_BUG
    if state.ended is None:
        return EXIT_BUG
    reporter.ended(state.ended)
    return state.ended.exit_code


def _run(reporter: _Reporter) -> RunState:
    # Loaded here, so that a host where the libraries do not fit into memory is named as that.
    import msgspec
    import trio

    from ktstr_tui.backend.config import RunConfig
    from ktstr_tui.backend.session import run_backend

    config = msgspec.json.decode(sys.stdin.buffer.read(), type=RunConfig)
    return trio.run(run_backend, config, reporter.note, reporter.ready)


if __name__ == "__main__":
    sys.exit(main())
