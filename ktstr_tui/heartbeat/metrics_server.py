"""Answers ``GET /metrics`` on a loopback port, to those who know the token.

Every user of the machine can reach a loopback port, hence the bearer token; it lies in a file with mode 0600. A body
is made at most once in `MIN_INTERVAL_S`, so that asking often costs the observer nothing.

The hard thing is who connects and says nothing. A client has `CLIENT_S` to ask and to listen, and at most
`MAX_WAITING` connections wait for a request: the next one takes the place of the oldest. So connections that stay idle,
however many, do not keep out a client that asks at once.

The library's own server is not used: it has neither a token nor a bound on threads, and it would read the observers'
state from other threads than the one that changes it. Headers are read by the standard library.
"""

from __future__ import annotations

import hmac
import http.client
import secrets
import time
from collections.abc import Callable
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import Final

import msgspec
import trio
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

MIN_INTERVAL_S: Final = 1.0
CLIENT_S: Final = 2.0
MAX_WAITING: Final = 32
MAX_REQUEST_BYTES: Final = 4096


class ScrapeStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of the server."""

    served: int
    auth_failures: int
    dropped: int
    """Connections that were closed without an answer: too many, too slow, or no request."""


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
        self._render = render
        self._clock = clock
        self._body = b""
        self._made_s: float | None = None
        self._waiting: dict[trio.SocketStream, trio.CancelScope] = {}
        self._served = self._auth_failures = self._dropped = 0

    def write_token(self, path: Path) -> None:
        """Write the token into a file that only this user can read."""
        path.unlink(missing_ok=True)
        path.touch(mode=0o600, exist_ok=False)
        path.write_text(self.token + "\n")

    async def run(
        self, port: int = 0, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until cancelled; `task_status` gets the port in use.

        Raises:
            OSError: The port cannot be opened.
        """
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
        task_status.started(int(listeners[0].socket.getsockname()[1]))
        await trio.serve_listeners(self._serve, listeners)

    def statistics(self) -> ScrapeStatistics:
        """Return the counters so far."""
        return ScrapeStatistics(served=self._served, auth_failures=self._auth_failures, dropped=self._dropped)

    async def _serve(self, stream: trio.SocketStream) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.pop(next(iter(self._waiting))).cancel()
        with trio.move_on_after(CLIENT_S) as scope:
            self._waiting[stream] = scope
            try:
                await self._answer(stream)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._dropped += 1
        self._waiting.pop(stream, None)
        self._dropped += scope.cancelled_caught
        await trio.aclose_forcefully(stream)

    async def _answer(self, stream: trio.SocketStream) -> None:
        request = await self._read(stream)
        if request is None:
            self._dropped += 1
            return
        self._waiting.pop(stream, None)
        head, _, rest = request.partition(b"\r\n")
        words = head.split(b" ")
        if not self._knows_token(rest):
            self._auth_failures += 1
            await stream.send_all(
                _response(
                    HTTPStatus.UNAUTHORIZED, b"a bearer token is needed\n", "WWW-Authenticate: Bearer\r\n"
                )
            )
        elif len(words) != 3 or words[0] != b"GET" or words[1] != b"/metrics":
            await stream.send_all(_response(HTTPStatus.NOT_FOUND, b"only GET /metrics\n"))
        else:
            self._served += 1
            await stream.send_all(_response(HTTPStatus.OK, self._current_body()))

    async def _read(self, stream: trio.SocketStream) -> bytes | None:
        request = b""
        while b"\r\n\r\n" not in request:
            data = await stream.receive_some(MAX_REQUEST_BYTES)
            request += data
            if not data or len(request) > MAX_REQUEST_BYTES:
                return None
        return request

    def _knows_token(self, headers: bytes) -> bool:
        try:
            given = http.client.parse_headers(BytesIO(headers)).get("Authorization", "")
        except http.client.HTTPException:
            return False
        scheme, _, token = given.strip().partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self.token.encode())

    def _current_body(self) -> bytes:
        now_s = self._clock()
        if self._made_s is None or now_s - self._made_s >= MIN_INTERVAL_S:
            self._made_s = now_s
            self._body = self._render().encode()
        return self._body


def _response(status: HTTPStatus, body: bytes, more: str = "") -> bytes:
    fixed = (
        f"Content-Type: {CONTENT_TYPE_PLAIN_0_0_4}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    )
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n{fixed}{more}\r\n".encode() + body
