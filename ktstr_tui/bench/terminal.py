"""A terminal that a bench holds: a program runs in it, keys go in, and what comes out is searched for words.

No emulator: sequences that move the cursor or colour are taken out, and what is left is text in the order in which it
was painted. A key's time is that from writing it until the words came that only its effect paints.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from ktstr_tui.model.errors import InternalError

PATIENCE_S: Final = 60.0
_SEQUENCE: Final = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|P[^\x1b]*\x1b\\|[()].|[=>78])"
)
_READ_BYTES: Final = 1 << 16
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class Terminal:
    """Runs a program in a terminal of its own.

    Args:
        words: The program and its arguments.
        size: Columns and rows.
        env: Its environment.
    """

    def __init__(self, words: Sequence[str], size: tuple[int, int], env: Mapping[str, str]) -> None:
        self._fd, theirs = pty.openpty()
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        self.started_ns = time.monotonic_ns()
        self._process = subprocess.Popen(
            words, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, env=dict(env)
        )
        os.close(theirs)
        self._raw, self.text = b"", b""
        self.painted_bytes = 0

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._fd)

    def wait_for(self, *words: str, since_ns: int | None = None) -> float:
        """Wait until all words have been painted since the last key; milliseconds since then, or since a time.

        Raises:
            InternalError: They do not come.
        """
        wanted = [it.encode() for it in words]
        since_ns = self.started_ns if since_ns is None else since_ns
        deadline, came_ns = time.monotonic() + PATIENCE_S, time.monotonic_ns()
        while not all(it in self.text for it in wanted):
            if time.monotonic() > deadline or self._process.poll() is not None:
                shown = self.text[-400:].decode(errors="replace")
                raise InternalError(f"the screen does not paint {', '.join(words)}: {shown!r}")
            came_ns = self._take(0.5) or came_ns
        return (came_ns - since_ns) / 1e6

    def press(self, key: str, *words: str) -> float:
        """Press a key and wait for what it paints; the milliseconds."""
        self.rest(0)
        self.text = b""
        pressed_ns = time.monotonic_ns()
        os.write(self._fd, key.encode())
        return self.wait_for(*words, since_ns=pressed_ns)

    def rest(self, seconds: float) -> None:
        """Take what is painted meanwhile."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            if self._take(max(0.0, left)) == 0 and left <= 0:
                return

    def cpu_s(self) -> float:
        """CPU time of the program so far, in seconds."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S

    def resident_bytes(self) -> int:
        """Its memory."""
        return int(self._proc("statm").split()[1]) * _PAGE_BYTES

    def _proc(self, name: str) -> str:
        return Path(f"/proc/{self._process.pid}/{name}").read_text()

    def _take(self, timeout_s: float) -> int:
        """Take what there is; when it came, 0 for nothing."""
        if not select.select([self._fd], [], [], timeout_s)[0]:
            return 0
        try:
            data = os.read(self._fd, _READ_BYTES)
        except OSError:
            # The other end is closed.
            return 0
        came_ns = time.monotonic_ns()
        self.painted_bytes += len(data)
        raw = self._raw + data
        cut = raw.rfind(b"\x1b", max(0, len(raw) - 64))
        whole = cut < 0 or _SEQUENCE.match(raw, cut)
        raw, self._raw = (raw, b"") if whole else (raw[:cut], raw[cut:])
        self.text += _SEQUENCE.sub(b"", raw)
        return came_ns
