"""Framing of the gdb remote protocol: ``$text#checksum`` packets in a stream that may hold other things."""

from __future__ import annotations

MAX_PACKET_BYTES = 1 << 20
_ESCAPE = 0x7D


def encode(text: str) -> bytes:
    """A packet. ``text`` is ASCII without ``$``, ``#``, ``}`` or ``*``, as all requests of ours are."""
    data = text.encode("ascii")
    return b"$%s#%02x" % (data, sum(data) & 0xFF)


class PacketReader:
    """Finds packets in a stream.

    Everything outside of packets is skipped and counted, a packet with a wrong checksum likewise, and one
    that grows beyond `MAX_PACKET_BYTES` is given up.
    """

    junk_bytes: int
    bad_checksums: int

    def __init__(self) -> None:
        self.junk_bytes = 0
        self.bad_checksums = 0
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[str]:
        """Take bytes and return the packets that are complete now, unescaped."""
        self._buffer += data
        packets = []
        while (text := self._next()) is not None:
            packets.append(text)
        return packets

    def _next(self) -> str | None:
        while True:
            start = self._buffer.find(b"$")
            if start < 0:
                self._skip(len(self._buffer))
                return None
            self._skip(start)
            end = self._buffer.find(b"#")
            # A "$" inside means that the beginning before it was never finished.
            again = self._buffer.find(b"$", 1, end if end >= 0 else len(self._buffer))
            if again > 0:
                self._skip(again)
                continue
            if end < 0 or len(self._buffer) < end + 3:
                if len(self._buffer) > MAX_PACKET_BYTES:
                    self._skip(len(self._buffer))
                return None
            body, checksum = bytes(self._buffer[1:end]), bytes(self._buffer[end + 1 : end + 3])
            del self._buffer[: end + 3]
            if checksum.lower() == b"%02x" % (sum(body) & 0xFF):
                return _expand(body).decode("latin-1")
            self.bad_checksums += 1

    def _skip(self, count: int) -> None:
        # Acknowledgements are not junk.
        self.junk_bytes += sum(byte not in b"+-" for byte in self._buffer[:count])
        del self._buffer[:count]


def _expand(body: bytes) -> bytes:
    """Undo escapes (``}`` and the byte xor 0x20) and run lengths (``X*n``: n minus 29 further ``X``)."""
    if b"}" not in body and b"*" not in body:
        return body
    out = bytearray()
    position = 0
    while position < len(body):
        byte = body[position]
        if byte == _ESCAPE and position + 1 < len(body):
            out.append(body[position + 1] ^ 0x20)
            position += 2
        elif byte == ord("*") and out and position + 1 < len(body):
            out += out[-1:] * max(body[position + 1] - 29, 0)
            position += 2
        else:
            out.append(byte)
            position += 1
    return bytes(out)
