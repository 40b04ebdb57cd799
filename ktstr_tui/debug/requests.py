"""The stub's side of gdb's protocol as bytes: finds requests in what a debugger sends, and wraps answers.

A debugger may be anything that reached the socket. So nothing here grows without bound: a request longer than
`MAX_REQUEST_BYTES` is thrown away, and what is no request is counted and skipped. Until the debugger turns
acknowledgements off (``QStartNoAckMode``), each request is answered with ``+``, and one with a wrong checksum with
``-``, so that it is sent again.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

PACKET_BYTES = 0x20000
"""What the debugger is told: the longest packet in either direction, in bytes (``PacketSize``). Large, so that the file
of symbols takes some hundred requests and not some thousand."""
MAX_REQUEST_BYTES = PACKET_BYTES + 16
"""Of a request."""
_INTERRUPT, _START, _END, _ESCAPE = 0x03, ord("$"), ord("#"), ord("}")
_TO_ESCAPE = b"}$#*"
"""The escape itself comes first, so that those of the others are not escaped again."""


class Asked(msgspec.Struct, frozen=True):
    """A request."""

    data: bytes
    """Its text, which may hold any byte."""


class Interrupt(msgspec.Struct, frozen=True):
    """The debugger wants the guest to stop: the byte 0x03 between packets."""


class Damaged(msgspec.Struct, frozen=True):
    """A request whose checksum is wrong."""


Heard: TypeAlias = Asked | Interrupt | Damaged


class RequestReader:
    """Finds requests in a stream of bytes."""

    def __init__(self) -> None:
        self.junk_bytes = 0
        """Bytes outside of requests, and those of requests that were too long."""
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Heard]:
        """Take bytes, and return what is complete now, in order."""
        self._buffer += data
        heard: list[Heard] = []
        while (one := self._next()) is not None:
            heard.append(one)
        return heard

    def _next(self) -> Heard | None:
        while self._buffer:
            first = self._buffer[0]
            if first == _START:
                return self._request()
            del self._buffer[0]
            if first == _INTERRUPT:
                return Interrupt()
            # Acknowledgements are not junk.
            self.junk_bytes += first not in b"+-"
        return None

    def _request(self) -> Heard | None:
        end = self._buffer.find(_END)
        if end < 0 or len(self._buffer) < end + 3:
            if len(self._buffer) > MAX_REQUEST_BYTES:
                self.junk_bytes += len(self._buffer)
                self._buffer.clear()
                return Damaged()
            return None
        body, checksum = bytes(self._buffer[1:end]), bytes(self._buffer[end + 1 : end + 3])
        del self._buffer[: end + 3]
        if checksum.lower() != b"%02x" % (sum(body) & 0xFF):
            return Damaged()
        return Asked(_unescaped(body))


def encode_answer(data: bytes) -> bytes:
    """Wrap an answer, whatever bytes it holds."""
    body = data
    for byte in _TO_ESCAPE:
        body = body.replace(bytes((byte,)), bytes((_ESCAPE, byte ^ 0x20)))
    return b"$%s#%02x" % (body, sum(body) & 0xFF)


def _unescaped(body: bytes) -> bytes:
    if _ESCAPE not in body:
        return body
    out, escaped = bytearray(), False
    for byte in body:
        if escaped or byte != _ESCAPE:
            out.append(byte ^ 0x20 if escaped else byte)
            escaped = False
        else:
            escaped = True
    return bytes(out)
