"""Asking a run on another machine for its snapshots: one connection, made again when it breaks.

All requests only read, so one whose answer did not come is simply asked again. A link that is away is waited for; what
came before is on disk (`ktstr_tui.memory.remote_pages`), so nothing of it has to come twice.
"""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import TypeVar

import msgspec

from ktstr_tui.memory import remote_messages as rm
from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.model.text import counted

_Kind = TypeVar("_Kind", rm.Listing, rm.FileBytes, rm.StoredPages)
PATIENCE_S = 60.0
"""How long a link that is away is waited for."""
_ANSWER_S = 10.0
_AGAIN_S = 0.2


class Travelled(msgspec.Struct):
    """What came over a link so far."""

    pages: int = 0
    bytes: int = 0
    """With everything around them."""
    losses: int = 0
    """How often the connection broke."""

    def words(self) -> str:
        """It in words."""
        often = "once" if self.losses == 1 else f"{self.losses} times"
        again = f"; the link was away {often}" if self.losses else ""
        size = f"{self.bytes / (1 << 20):.1f} MiB"
        return f"{counted(self.pages, 'page')} came from where the snapshot lies ({size}{again})"


class RemoteLink:
    """Asks the run behind a forwarded socket. Blocks; safe from any thread.

    Args:
        path: The socket.
        patience_s: How long to wait for a link that is away.
    """

    def __init__(self, path: Path, patience_s: float = PATIENCE_S) -> None:
        self.path = path
        self.travelled = Travelled()
        self._patience_s = patience_s
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def ask(self, asked: rm.Asked, kind: type[_Kind]) -> _Kind:
        """Ask, and wait for the answer.

        Args:
            asked: The request.
            kind: Of the answer.

        Raises:
            UsageError: The other end says that it cannot be done.
            HostError: The link stayed away, or what came is no answer.
        """
        data = rm.encode(asked)
        with self._lock:
            answer = rm.decode_answer(self._exchange(data))
        if isinstance(answer, rm.NotDone):
            raise UsageError(answer.message, answer.hint)
        if not isinstance(answer, kind):
            raise rm.MessageError(f"{type(answer).__name__} does not answer {type(asked).__name__}")
        return answer

    def close(self) -> None:
        """Close the connection; the next request makes another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchange(self, data: bytes) -> bytes:
        until, away = time.monotonic() + self._patience_s, False
        while True:
            try:
                return self._once(data)
            except OSError as error:
                self.close()
                self.travelled.losses += not away
                away = True
                if time.monotonic() >= until:
                    raise HostError(
                        f"the link to {self.path} is away: {error.strerror or error}",
                        "what came is kept: run the command again when it is back",
                    ) from error
                time.sleep(_AGAIN_S)

    def _once(self, data: bytes) -> bytes:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            self._socket.settimeout(_ANSWER_S)
            self._socket.connect(str(self.path))
        self._socket.sendall(data)
        (length,) = rm.LENGTH.unpack(self._exactly(self._socket, rm.LENGTH.size))
        if length > rm.MAX_ANSWER_BYTES:
            self.close()
            raise rm.MessageError(f"an answer of {length} bytes", "is this the socket of a run?")
        body = self._exactly(self._socket, length)
        self.travelled.bytes += rm.LENGTH.size + length
        return body

    @staticmethod
    def _exactly(connection: socket.socket, count: int) -> bytes:
        data = bytearray(count)
        view = memoryview(data)
        while view:
            got = connection.recv_into(view)
            if not got:
                raise ConnectionResetError("the connection was closed")
            view = view[got:]
        return bytes(data)
