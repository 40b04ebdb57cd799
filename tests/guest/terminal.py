"""A real terminal (tmux) in which a test runs the program, presses keys and looks at the screen."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.guest.runs import PROGRAM

PATIENCE_S = 240
"""How long a condition on the screen may take; only reached when something is broken."""
POLL_S = 0.1


class Terminal:
    """A tmux server of the test's own with one window that runs ``ktstr-tui``."""

    def __init__(
        self,
        env: Mapping[str, str],
        directory: Path,
        arguments: list[str],
        size: tuple[int, int],
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self._tmux = ["tmux", "-S", str(directory / "tmux.sock"), "-f", "/dev/null"]
        self._env = dict(env)
        command = f"{shlex.join([*program, *arguments])}; echo LEFT WITH $?; exec sleep 1000"
        self._do("new-session", "-d", "-x", str(size[0]), "-y", str(size[1]), command)

    def press(self, *keys: str) -> None:
        """Send keys by tmux's names."""
        self._do("send-keys", *keys)

    def text(self) -> str:
        """What the terminal shows."""
        return self._do("capture-pane", "-p")

    def wait_for(self, pattern: str) -> str:
        """Wait until the screen shows a match; returns the screen."""
        deadline = time.monotonic() + PATIENCE_S
        while not re.search(pattern, shown := self.text()):
            assert time.monotonic() < deadline, f"{pattern!r} never came; the screen:\n{shown}"
            # A terminal tells nobody that it has changed: looking again is all there is.
            signal.sigtimedwait([], POLL_S)
        return shown

    def close(self) -> None:
        """End the server and all in it."""
        subprocess.run([*self._tmux, "kill-server"], env=self._env, capture_output=True, check=False)

    def _do(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._tmux, *arguments], env=self._env, capture_output=True, text=True, check=True
        )
        return done.stdout
