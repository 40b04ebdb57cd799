"""Beats: the 32-byte frames of the Varta Lifeline Protocol (VLP) 0.2, by which a process reports that it is alive.

A frame holds a status, the sender's pid, its clock, a nonce that grows by one with each beat and a free word,
closed by a CRC-32C. The work is done in C (``native/heartbeat/ktstr_vlp.c``, where the bytes are drawn);
`tests.oracles.vlp` is the same in Python, to read and to test against. No library speaks
this protocol.

The hard thing is the order of the checks, which is part of the protocol: a frame that is wrong in two ways
has one right answer. A terminal frame, with the nonce `NONCE_TERMINAL`, is the last word of a dying process
and legal only with the status critical.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

import msgspec

from ktstr_tui._native import ffi, lib
from ktstr_tui.model.errors import KtstrError

FRAME_BYTES: Final = lib.KTV_FRAME_SIZE
"""Size of a frame; a datagram of any other size is none."""
VERSION: Final = 2
"""The version byte; 1 is the protocol's past and refused."""
NONCE_TERMINAL: Final = lib.KTV_NONCE_TERMINAL
"""Nonce of a terminal frame; regular nonces stay below and go on with 0 after the last."""
TIMESTAMP_REFUSED: Final = (1 << 64) - 1
"""The one timestamp that is not legal."""
KINDS: Final = (
    "BadMagic",
    "BadVersion",
    "BadStatus",
    "BadPid",
    "BadTimestamp",
    "BadNonce",
    "StallOnWire",
    "BadCrc",
)
"""The kinds of `VlpError` that the protocol names, in its order (that of exported counters)."""
BAD_LENGTH: Final = "BadLength"
"""Our kind for what is not 32 bytes long, and therefore dropped before it is decoded."""

# Indexed by the C enumeration ktv_error.
_KIND_OF_ERROR: Final = ("", *KINDS, BAD_LENGTH)
assert len(_KIND_OF_ERROR) == lib.KTV_ERRORS
_FIELDS: Final = struct.Struct("<3xBIQQI")
_HEAD: Final = struct.Struct("<2sBBIQQI")
_CRC: Final = struct.Struct("<I")
_WHY: Final = {
    "BadMagic": "it does not begin with VA",
    "BadVersion": "it is of another version of the protocol",
    "BadStatus": "its status is unknown",
    "BadPid": "its pid is 0 or 1",
    "BadTimestamp": "its timestamp is out of range",
    "BadNonce": "its nonce is the terminal one, but its status is not critical",
    "StallOnWire": "its status is stall, which only an observer may report",
    "BadCrc": "its CRC is wrong",
    BAD_LENGTH: f"it is not {FRAME_BYTES} bytes long",
}


class Status(IntEnum):
    """How a sender says it is."""

    OK = lib.KTV_OK
    DEGRADED = lib.KTV_DEGRADED
    CRITICAL = lib.KTV_CRITICAL
    STALL = lib.KTV_STALL
    """Stated by observers only, never on the wire."""


_STATUSES: Final = tuple(Status)


class Beat(msgspec.Struct, frozen=True, gc=False):
    """One beat. Values are not checked here: what is legal is for `decode` to judge."""

    status: Status
    pid: int
    """In the sender's pid namespace."""
    timestamp: int
    """The sender's own clock, usually ns since it connected; not interpreted."""
    nonce: int
    payload: int = 0
    """A word of the application's: a queue depth, an errno, …"""

    @property
    def is_terminal(self) -> bool:
        """Whether this is the last word of a dying process."""
        return self.nonce == NONCE_TERMINAL


class VlpError(KtstrError):
    """Bytes that are no legal frame.

    Args:
        kind: One of `KINDS`, or `BAD_LENGTH`.
    """

    fault = "guest"

    def __init__(self, kind: str) -> None:
        super().__init__(f"A heartbeat was refused: {_WHY[kind]} ({kind}).")
        self.kind = kind


def crc32c(data: bytes | bytearray | memoryview) -> int:
    """Compute the CRC-32C (Castagnoli) of some bytes: for programs and tests that make frames themselves."""
    return lib.ktv_crc32c(0, ffi.from_buffer(data), len(data))


def encode(beat: Beat) -> bytes:
    """Encode a beat as a frame.

    An illegal beat is encoded too: refusing it is the receiver's affair, and tests need to send some.

    Raises:
        struct.error: A field does not fit its place.
    """
    head = _HEAD.pack(b"VA", VERSION, beat.status, beat.pid, beat.timestamp, beat.nonce, beat.payload)
    return head + _CRC.pack(lib.ktv_crc32c(0, head, len(head)))


def decode(data: bytes | bytearray | memoryview) -> Beat:
    """Read a frame.

    Raises:
        VlpError: It is not one. The kind is that of the first check to fail: length, magic, version, CRC, status,
            stall on the wire, pid, timestamp, nonce.
    """
    data = data if type(data) is bytes else bytes(data)
    error = lib.ktv_check(data, len(data))
    if error:
        raise VlpError(_KIND_OF_ERROR[error])
    status, pid, timestamp, nonce, payload = _FIELDS.unpack_from(data)
    return Beat(_STATUSES[status], pid, timestamp, nonce, payload)
