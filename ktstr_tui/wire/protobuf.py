"""Messages of protocol buffers, written field by field: what a few kinds of message need, without a library.

A field is a varint of its number and its kind of value, then the value: a varint, eight bytes, or a length and bytes.
A negative number is written as its 64-bit two's complement. See the encoding guide of protocol buffers.
"""

from __future__ import annotations

import struct

_MASK64 = (1 << 64) - 1
_VARINT, _FIXED64, _BYTES = 0, 1, 2


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    value &= _MASK64
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int | None) -> bytes:
    """An integer or enum; nothing for None."""
    return b"" if value is None else varint(field << 3 | _VARINT) + varint(value)


def real(field: int, value: float | None) -> bytes:
    """A double; nothing for None."""
    return b"" if value is None else varint(field << 3 | _FIXED64) + struct.pack("<d", value)


def text(field: int, value: str | None) -> bytes:
    """A string; nothing for None."""
    return b"" if value is None else message(field, value.encode("utf-8", "replace"))


def message(field: int, body: bytes) -> bytes:
    """A message in a message, or bytes."""
    return varint(field << 3 | _BYTES) + varint(len(body)) + body
