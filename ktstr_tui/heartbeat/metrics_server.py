"""Answers ``GET /metrics`` on a loopback port, to those who know the token.

Every user of the machine can reach a loopback port, hence the bearer token; it lies in a file with mode 0600. A body
is made at most once in `MIN_INTERVAL_S`, so that asking often costs the observer nothing. A client has `CLIENT_S` to
ask and to listen, and at most `MAX_CLIENTS` are served at a time.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import trio

MIN_INTERVAL_S: Final = 1.0
CLIENT_S: Final = 2.0
MAX_CLIENTS: Final = 8
MAX_REQUEST_BYTES: Final = 4096
_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class ScrapeStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of the server."""

    served: int
    auth_failures: int
    dropped: int
    """Connections that were closed unanswered: too many, too slow, or no request."""


class MetricsServer:
    """Serves the metrics.

    Args:
        render: Makes the body.
        token: What clients must know; made when None.
        clock: Seconds, for the age of the body.
    """

    def __init__(
        self,
        render: Callable[[], str],
        token: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.token = token or secrets.token_hex(32)
        self.port = 0
        """The port in use, once `run` has started."""
        self._render = render
        self._clock = clock
        self._body = b""
        self._made_s: float | None = None
        self._clients = self._served = self._auth_failures = self._dropped = 0

    def write_token(self, path: Path) -> None:
        """Leave the token where its user finds it, readable for this user only."""
        path.unlink(missing_ok=True)
        path.touch(mode=0o600, exist_ok=False)
        path.write_text(self.token + "\n")

    async def run(
        self, port: int = 0, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled; raises ``OSError`` when the port cannot be had."""
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
        self.port = int(listeners[0].socket.getsockname()[1])
        task_status.started(self.port)
        await trio.serve_listeners(self._serve, listeners)

    def statistics(self) -> ScrapeStatistics:
        """Counters so far."""
        return ScrapeStatistics(served=self._served, auth_failures=self._auth_failures, dropped=self._dropped)

    async def _serve(self, stream: trio.SocketStream) -> None:
        if self._clients >= MAX_CLIENTS:
            self._dropped += 1
            await trio.aclose_forcefully(stream)
            return
        self._clients += 1
        try:
            with trio.move_on_after(CLIENT_S) as late:
                await self._answer(stream)
            self._dropped += late.cancelled_caught
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._dropped += 1
        finally:
            self._clients -= 1
            await trio.aclose_forcefully(stream)

    async def _answer(self, stream: trio.SocketStream) -> None:
        request = await self._read(stream)
        if request is None:
            self._dropped += 1
            return
        head, _, rest = request.partition(b"\r\n")
        words = head.split(b" ")
        if not self._knows_token(rest):
            self._auth_failures += 1
            await stream.send_all(
                _response("401 Unauthorized", b"who asks?\n", "WWW-Authenticate: Bearer\r\n")
            )
        elif len(words) != 3 or words[0] != b"GET" or words[1] != b"/metrics":
            await stream.send_all(_response("404 Not Found", b"only GET /metrics\n"))
        else:
            self._served += 1
            await stream.send_all(_response("200 OK", self._current_body()))

    async def _read(self, stream: trio.SocketStream) -> bytes | None:
        request = b""
        while b"\r\n\r\n" not in request:
            data = await stream.receive_some(MAX_REQUEST_BYTES)
            request += data
            if not data or len(request) > MAX_REQUEST_BYTES:
                return None
        return request

    def _knows_token(self, headers: bytes) -> bool:
        wanted = b"bearer " + self.token.encode()
        for line in headers.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"authorization":
                scheme, _, token = value.strip().partition(b" ")
                return hmac.compare_digest(scheme.lower() + b" " + token.strip(), wanted)
        return False

    def _current_body(self) -> bytes:
        now_s = self._clock()
        if self._made_s is None or now_s - self._made_s >= MIN_INTERVAL_S:
            self._made_s = now_s
            self._body = self._render().encode()
        return self._body


def _response(status: str, body: bytes, more: str = "") -> bytes:
    fixed = f"Content-Type: {_TYPE}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    return f"HTTP/1.1 {status}\r\n{fixed}{more}\r\n".encode() + body
