"""VLP frames in plain Python: the specification to read, and the oracle that the C code is tested against.

Same interface as `ktstr_tui.wire.vlp`, whose values and errors it uses. It is some ten times slower.
"""

from __future__ import annotations

import struct
from typing import Final

from ktstr_tui.wire.vlp import (
    BAD_LENGTH,
    FRAME_BYTES,
    NONCE_TERMINAL,
    TIMESTAMP_REFUSED,
    VERSION,
    Beat,
    Status,
    VlpError,
)

_FRAME: Final = struct.Struct("<2sBBIQQII")
_POLYNOMIAL: Final = 0x82F63B78  # 0x1EDC6F41, reflected


def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_TABLE: Final = _table()


def crc32c(data: bytes | bytearray | memoryview) -> int:
    """CRC-32C (Castagnoli) of some bytes: reflected, started with and finally inverted by all ones."""
    crc = 0xFFFFFFFF
    for byte in bytes(data):
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def encode(beat: Beat) -> bytes:
    """The frame of a beat, legal or not.

    Raises:
        struct.error: A field does not fit its place.
    """
    fields = (b"VA", VERSION, beat.status, beat.pid, beat.timestamp, beat.nonce, beat.payload)
    head = _FRAME.pack(*fields, 0)[:-4]
    return _FRAME.pack(*fields, crc32c(head))


def decode(data: bytes | bytearray | memoryview) -> Beat:
    """Read a frame; the first check to fail names the error.

    Raises:
        VlpError: It is not one.
    """
    data = bytes(data)
    if len(data) != FRAME_BYTES:
        raise VlpError(BAD_LENGTH)
    magic, version, status, pid, timestamp, nonce, payload, crc = _FRAME.unpack(data)
    checks = (
        ("BadMagic", magic == b"VA"),
        ("BadVersion", version == VERSION),
        ("BadCrc", crc == crc32c(data[:-4])),
        ("BadStatus", status <= Status.STALL),
        ("StallOnWire", status != Status.STALL),
        ("BadPid", pid > 1),
        ("BadTimestamp", timestamp != TIMESTAMP_REFUSED),
        ("BadNonce", nonce != NONCE_TERMINAL or status == Status.CRITICAL),
    )
    for kind, passed in checks:
        if not passed:
            raise VlpError(kind)
    return Beat(Status(status), pid, timestamp, nonce, payload)
