"""Several events in one message of the link: a byte that tells the format, then each with its length before it.

A message costs the sender and each viewer as much as the decoding of an event, so those that are emitted in one go
travel together. An event by itself is a batch of one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from ktstr_tui.wire.codec import CodecError
from ktstr_tui.wire.layout import BATCH_FORMAT

MAX_BATCH_BYTES: Final = 64 << 10
"""Bytes of events that travel together; a larger event travels alone."""
_LENGTH: Final = struct.Struct("<I")
_FORMAT: Final = bytes([BATCH_FORMAT])


def join_events(events: Iterable[bytes | memoryview]) -> bytes:
    """Pack encoded events into one message."""
    parts: list[bytes | memoryview] = [_FORMAT]
    for data in events:
        parts += (_LENGTH.pack(len(data)), data)
    return b"".join(parts)


def split_events(data: bytes) -> list[memoryview]:
    """The inverse of `join_events`; events of some bytes each, which may be anything.

    Raises:
        CodecError: The bytes are no such message; nothing of it is given.
    """
    if data[:1] != _FORMAT:
        told = f"has the format {data[0]}" if data else "is empty"
        raise CodecError(
            f"a message with events {told}; this program reads format {BATCH_FORMAT}",
            "use the same version of ktstr-tui on both sides",
        )
    view, at, found = memoryview(data), 1, list[memoryview]()
    while at < len(data):
        begin = at + _LENGTH.size
        if begin > len(data):
            raise CodecError("a message with events ends within a length")
        end = begin + int(_LENGTH.unpack_from(data, at)[0])
        if end > len(data):
            raise CodecError(f"a message with events ends {end - len(data)} bytes before an event's end")
        found.append(view[begin:end])
        at = end
    return found
