"""The sender in Python: reports that this process is alive, and never waits or fails because of it.

::

    with BeatClient.unix("/run/user/1000/ktstr/tour/beats.sock") as client:
        while work():
            client.beat(payload=queue_depth)

A beat that cannot be delivered is counted with its reason, and nothing else: a program must not suffer from being
watched. The nonce grows only with beats that left; after ``fork`` the child counts its own.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ktstr_tui.model.errors import UsageError
from ktstr_tui.wire.vlp import NONCE_TERMINAL, Beat, Status, encode

SENT: Final = "sent"
DROP_REASONS: Final = {
    errno.EAGAIN: "kernel queue full",
    errno.ENOBUFS: "kernel queue full",
    errno.ECONNREFUSED: "no observer",
    errno.ENOENT: "no observer",
    errno.ECONNRESET: "peer gone",
    errno.ENOTCONN: "peer gone",
    errno.EPIPE: "peer gone",
    errno.ENOSPC: "storage full",
}
"""What a failed send means; other errors are failures by their own name."""


class BeatClient:
    """Sends beats.

    Args:
        family: ``AF_UNIX``, ``AF_INET`` or ``AF_INET6``.
        address: Where the observer listens.
        clock: This process's monotonic clock, in nanoseconds.
        seal: Turns a beat into a datagram; `ktstr_tui.wire.vlp_secure.Sealer.seal` encrypts it.
    """

    def __init__(
        self,
        family: int,
        address: str | tuple[str, int],
        clock: Callable[[], int] = time.monotonic_ns,
        seal: Callable[[Beat], bytes] = encode,
    ) -> None:
        self.counts: Counter[str] = Counter()
        """Beats by what became of them: ``sent``, a reason of `DROP_REASONS`, or the name of an error."""
        self.fork_recoveries = 0
        self._family = family
        self._address = address
        self._clock = clock
        self._seal = seal
        self._sock: socket.socket | None = None
        self._begin()

    @classmethod
    def unix(cls, path: str | Path) -> Self:
        """Make a client for the Unix socket of an observer on this machine."""
        return cls(socket.AF_UNIX, str(path))

    @classmethod
    def udp(cls, host: str, port: int, seal: Callable[[Beat], bytes] = encode) -> Self:
        """Make a client for an observer that takes UDP."""
        return cls(socket.AF_INET6 if ":" in host else socket.AF_INET, (host, port), seal=seal)

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._start_ns = self._clock()
        self._last_ns = 0
        self.nonce = 0
        """Of the last beat that was sent."""
        self._close()

    def beat(self, status: Status = Status.OK, payload: int = 0) -> str:
        """Send one beat.

        Args:
            status: How this process is; not stall, which only observers state.
            payload: A word of 32 bits for the reader.

        Returns:
            What became of it, as in `counts`.

        Raises:
            UsageError: The status is stall; no nonce is used up.
        """
        if status is Status.STALL:
            raise UsageError("a process cannot report itself as stalled", "send critical")
        if os.getpid() != self._pid:
            self.fork_recoveries += 1
            self._begin()
        nonce = 0 if self.nonce >= NONCE_TERMINAL - 1 else self.nonce + 1
        outcome = self._send(Beat(status, self._pid, self._time_ns(), nonce, payload & 0xFFFFFFFF))
        if outcome == SENT:
            self.nonce = nonce
        return outcome

    def last_word(self, payload: int = 0) -> str:
        """Send a terminal beat: this process is about to die."""
        return self._send(
            Beat(Status.CRITICAL, os.getpid(), self._time_ns(), NONCE_TERMINAL, payload & 0xFFFFFFFF)
        )

    def beat_last_word_on_crash(self) -> None:
        """Send a terminal beat when an exception ends this program, as Varta's clients do in their panic hooks."""
        before = sys.excepthook

        def hook(kind: type[BaseException], value: BaseException, trace: TracebackType | None) -> None:
            self.last_word()
            before(kind, value, trace)

        sys.excepthook = hook

    def close(self) -> None:
        """Close the socket; a later beat opens it again."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _time_ns(self) -> int:
        self._last_ns = max(self._last_ns, self._clock() - self._start_ns)
        return self._last_ns

    def _send(self, beat: Beat) -> str:
        outcome = SENT
        try:
            if self._sock is None:
                self._sock = self._connect()
            self._sock.send(self._seal(beat), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError as error:
            number = error.errno or 0
            outcome = DROP_REASONS.get(number, errno.errorcode.get(number, str(error)))
            if outcome in ("no observer", "peer gone"):
                self._close()  # another observer may come: connect again with the next beat
        self.counts[outcome] += 1
        return outcome

    def _connect(self) -> socket.socket:
        sock = socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            sock.connect(self._address)
        except OSError:
            sock.close()
            raise
        return sock

    def _close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None
