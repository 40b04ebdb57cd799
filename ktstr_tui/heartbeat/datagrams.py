"""Received datagrams in memory that C can fill and the tracker can read, without a Python object for each.

An array is filled either by `DatagramArray.append`, or by C code that receives straight into
``struct ktb_datagram`` (``native/heartbeat/ktstr_tracker.h``) and then sets ``count``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ktstr_tui._native import ffi, lib
from ktstr_tui.heartbeat.tracked import Datagram, Origin
from ktstr_tui.model.errors import InternalError
from ktstr_tui.wire.c_layout import c_struct
from ktstr_tui.wire.vlp import FRAME_BYTES

KNOWN_NAMESPACE: Final = lib.KTB_KNOWN_NAMESPACE
"""Flags of ``enum ktb_known``: what is known of a sender besides its frame."""
KNOWN_GENERATION: Final = lib.KTB_KNOWN_GENERATION
KNOWN_PEER: Final = lib.KTB_KNOWN_PEER
RECEIVE_BYTES: Final = FRAME_BYTES + 1
"""What to receive of a datagram at most: one byte more than a frame, to see that it is too long."""

_DATAGRAM: Final = c_struct(
    "struct ktb_datagram",
    "bytes",
    "source.pid_ns_inode",
    "source.generation",
    "source.origin",
    "source.known",
    "length",
    "peer_pid",
    "peer_uid",
)


class DatagramArray:
    """A fixed number of places for datagrams.

    Args:
        room: How many.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.count = 0
        """Places in use, from the first on."""
        self.handle = ffi.new(f"struct ktb_datagram[{room}]")
        """For C: the places."""
        self._bytes = ffi.buffer(self.handle)

    def clear(self) -> None:
        """Make all places free."""
        self.count = 0

    def append(self, datagram: Datagram) -> None:
        """Use the next place.

        Raises:
            InternalError: There is none.
        """
        if self.count >= self.room:
            raise InternalError(f"an array of {self.room} datagrams is full")
        known = 0
        if datagram.pid_ns_inode is not None:
            known |= KNOWN_NAMESPACE
        if datagram.generation is not None:
            known |= KNOWN_GENERATION
        if datagram.peer_pid is not None:
            known |= KNOWN_PEER
        self._bytes[self.count * _DATAGRAM.size : (self.count + 1) * _DATAGRAM.size] = _DATAGRAM.pack(
            datagram.data,
            datagram.pid_ns_inode or 0,
            datagram.generation or 0,
            datagram.origin,
            known,
            len(datagram.data),
            datagram.peer_pid or 0,
            datagram.peer_uid or 0,
        )
        self.count += 1

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Datagram]:
        """Yield the datagrams as values, cut after `RECEIVE_BYTES`. Peer uids are given where peer pids are known."""
        for fields in _DATAGRAM.iter_unpack(self._bytes[: self.count * _DATAGRAM.size]):
            data, namespace, generation, origin, known, length, peer_pid, peer_uid = fields
            peer = bool(known & KNOWN_PEER)
            yield Datagram(
                data=data[: min(length, RECEIVE_BYTES)],
                origin=Origin(origin),
                peer_pid=peer_pid if peer else None,
                peer_uid=peer_uid if peer else None,
                pid_ns_inode=namespace if known & KNOWN_NAMESPACE else None,
                generation=generation if known & KNOWN_GENERATION else None,
            )
