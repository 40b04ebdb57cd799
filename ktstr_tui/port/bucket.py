"""Frames kept for the verdict, bounded by number and bytes."""

from __future__ import annotations

from collections import deque

import msgspec

from ktstr_tui.wire.messages import MsgType


class VerdictEntry(msgspec.Struct, frozen=True):
    """One frame kept for the verdict."""

    index: int
    """Position among all entries since the start; gaps are evicted entries."""
    kind: MsgType
    payload: bytes
    crc_ok: bool


class Bucket:
    """The entries of one type, the newest of them."""

    def __init__(self) -> None:
        self.entries: deque[VerdictEntry] = deque()
        self.payload_bytes = 0

    def push(self, entry: VerdictEntry, most_entries: int, most_bytes: int) -> int:
        """Keep an entry; how many old ones had to go for it.

        Args:
            entry: Is kept whatever its size.
            most_entries: Entries kept.
            most_bytes: Payload bytes kept, unless one entry alone has more.
        """
        self.entries.append(entry)
        self.payload_bytes += len(entry.payload)
        evicted = 0
        while len(self.entries) > 1 and (len(self.entries) > most_entries or self.payload_bytes > most_bytes):
            self.payload_bytes -= len(self.entries.popleft().payload)
            evicted += 1
        return evicted
