"""Watches the observer itself: a file for others to look at, and a thread that ends a process that is wedged.

A wedged observer would report no stall, and look as if all were well. So a thread of its own watches the loop, and
when that has not come round for too long it prints all stacks and aborts: a process that is gone is noticed. The
thread counts its own wake-ups, not the clock, so a process that was stopped as a whole is not taken for wedged.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

CHECKS: Final = 8
"""Looks of the thread within one deadline."""


class HeartbeatFile:
    """A file with the number of iterations and the observer's time, replaced as a whole.

    Args:
        path: Where it is; a neighbour with ``.new`` in its name is used for the replacing.
    """

    def __init__(self, path: Path) -> None:
        self.failures = 0
        self._path = path
        self._new = path.with_name(path.name + ".new")

    def write(self, iterations: int, observer_ns: int) -> None:
        """Replace the file. A failure is counted: it must not hurt the observer."""
        try:
            self._new.unlink(missing_ok=True)
            fd = os.open(self._new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, f"{iterations} {observer_ns}\n".encode())
            finally:
                os.close(fd)
            self._new.replace(self._path)
        except OSError:
            self.failures += 1

    def remove(self) -> None:
        """Remove the file: the observer ends as it should."""
        self._path.unlink(missing_ok=True)


def abort_with_stacks() -> None:
    """Print the stacks of all threads on standard error and die by SIGABRT."""
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    os.kill(os.getpid(), signal.SIGABRT)


class SelfWatchdog:
    """Watches a counter that must move.

    Args:
        iterations: The counter; nothing is demanded before it first moves.
        deadline_s: How long it may stay the same, in seconds.
        wedged: What to do then.
    """

    def __init__(
        self, iterations: Callable[[], int], deadline_s: float, wedged: Callable[[], None] = abort_with_stacks
    ) -> None:
        self._iterations = iterations
        self._check_s = deadline_s / CHECKS
        self._wedged = wedged
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="self-watchdog", daemon=True)

    def __enter__(self) -> SelfWatchdog:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        first = last = self._iterations()
        unmoved = 0
        while not self._stop.wait(self._check_s):
            now = self._iterations()
            unmoved = unmoved + 1 if now == last else 0
            last = now
            if unmoved >= CHECKS and now != first:
                self._wedged()
                return
