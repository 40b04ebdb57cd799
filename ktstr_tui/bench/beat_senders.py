"""Processes that beat as fast or as often as a bench asks, and the socket that they beat to."""

from __future__ import annotations

import os
import socket
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ktstr_tui._native import ffi, lib
from ktstr_tui.heartbeat.gate import Rules, own_namespace

SENDERS: Final = 64
PERIOD_NS: Final = 4_000_000
"""Time between two bursts of one sender."""
THRESHOLD_NS: Final = 3600 * 10**9
"""So long that no sender is silent."""
_COUNTS: Final = struct.Struct("<4Q")


def open_rules() -> Rules:
    """Make rules without a limit on the rate, with all other checks."""
    return Rules(max_rate_per_pid=0, max_rate=0, uid=os.getuid(), pid_ns_inode=own_namespace())


class Senders:
    """Processes that beat to a socket.

    Args:
        path: The socket.
        count: How many processes.
        per_s: Beats of all of them in a second; 0 for as many as the socket takes.
        seconds: For how long.
    """

    def __init__(self, path: Path, count: int, *, per_s: float, seconds: float) -> None:
        self._count = count
        self._read_fd, write_fd = os.pipe()
        self._pids = [self._start(path, write_fd, per_s / count, seconds) for _ in range(count)]
        os.close(write_fd)

    def _start(self, path: Path, write_fd: int, per_s: float, seconds: float) -> int:
        pid = os.fork()
        if pid:
            return pid
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.connect(str(path))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 200_000))
                sent = ffi.new("struct ktr_sent *")
                burst = max(1, round(per_s * PERIOD_NS / 1e9)) if per_s else 16
                period_ns = int(burst * 1e9 / per_s) if per_s else 0
                lib.ktr_send_beats(
                    sock.fileno(), os.getpid(), period_ns, burst, int(seconds * 1e9), not per_s, sent
                )
                os.write(write_fd, _COUNTS.pack(sent.sent, sent.refused, sent.failed, sent.last_nonce))
        finally:
            os._exit(0)

    def wait(self) -> dict[str, int]:
        """Wait until all have ended, and add up what they sent."""
        for pid in self._pids:
            os.waitpid(pid, 0)
        data = b""
        while part := os.read(self._read_fd, 65536):
            data += part
        os.close(self._read_fd)
        rows = list(_COUNTS.iter_unpack(data))
        return {
            "sent": sum(row[0] for row in rows),
            "refused_by_kernel": sum(row[1] for row in rows),
            "failed": sum(row[2] for row in rows) + self._count - len(rows),
        }


@contextmanager
def socket_path() -> Iterator[Path]:
    """Name a socket in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="ktstr-beats-") as name:
        yield Path(name) / "beats.sock"
