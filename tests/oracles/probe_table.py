"""The probe table in plain Python: the specification to read, and the oracle of the one in C.

Same interface as `ktstr_tui.heartbeat.probe_table`, where its idea is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ktstr_tui.heartbeat.probe_table import MAX_PROBE, ProbeExhausted

_EMPTY: Final = 0xFFFFFFFF
_TOMBSTONE: Final = 0xFFFFFFFE
_MASK32: Final = 0xFFFFFFFF


def mix32(x: int) -> int:
    """Spread the bits of a 32-bit key: the finaliser of MurmurHash3."""
    x ^= x >> 16
    x = x * 0x85EBCA6B & _MASK32
    x ^= x >> 13
    x = x * 0xC2B2AE35 & _MASK32
    return x ^ x >> 16


def table_size(capacity: int) -> int:
    """Places for so many keys: a power of two, at least twice as many."""
    return 1 << (max(2, 2 * capacity) - 1).bit_length()


class PyProbeTable:
    """Keys of 32 bits and the slot of each.

    Args:
        capacity: How many keys should find a place; more may.
    """

    def __init__(self, capacity: int) -> None:
        self.size = table_size(capacity)
        self._keys = [0] * self.size
        self._slots = [_EMPTY] * self.size
        self._live = 0
        self._exhausted = 0

    def _places(self, key: int) -> Iterator[int]:
        home = mix32(key)
        return ((home + step) & (self.size - 1) for step in range(min(MAX_PROBE, self.size)))

    def _find(self, key: int) -> int | None:
        for place in self._places(key):
            if self._slots[place] == _EMPTY:
                return None
            if self._slots[place] != _TOMBSTONE and self._keys[place] == key:
                return place
        return None

    def get(self, key: int) -> int | None:
        """The slot of a key, or None."""
        place = self._find(key)
        return None if place is None else self._slots[place]

    def insert(self, key: int, slot: int) -> None:
        """Keep or change the slot of a key.

        Raises:
            ProbeExhausted: No place is left for it.
        """
        place = self._find(key)
        if place is None:
            place = self._free_place(key)
            self._live += 1
        self._keys[place] = key
        self._slots[place] = slot

    def _free_place(self, key: int) -> int:
        for place in self._places(key):
            if self._slots[place] in (_EMPTY, _TOMBSTONE):
                return place
        self._exhausted += 1
        raise ProbeExhausted(key)

    def remove(self, key: int) -> int | None:
        """Forget a key. Returns the slot it had, or None."""
        place = self._find(key)
        if place is None:
            return None
        slot = self._slots[place]
        self._slots[place] = _TOMBSTONE
        self._live -= 1
        return slot

    def __len__(self) -> int:
        return self._live

    def probe_exhausted(self) -> int:
        """Inserts refused since the table was made."""
        return self._exhausted
