"""A map of fixed size from 32-bit keys to slot numbers, whose every operation is bounded whatever the keys are.

Open addressing with linear probing over a table at most half full, and never more than `MAX_PROBE` places per
operation. A hostile sender chooses its keys, so they are spread by a mixer, and a key that finds no place is
refused and counted instead of searched for without end.

The hard thing is removal. The place of a removed key becomes a tombstone, so that searches go on past it, and
with keys that come and go all places become tombstones some day. A table that wants an empty place to end its
search would then refuse some keys for ever; this one takes a tombstone when there is nothing better.

The work is done in C (``native/heartbeat/ktstr_probe.c``); `tests.oracles.probe_table` is the same in
Python. A dict would do neither: it grows, and the tracker in C needs the table too.
"""

from __future__ import annotations

from typing import Final

from ktstr_tui._native import ffi, lib
from ktstr_tui.model.errors import InternalError

__all__ = ["MAX_CAPACITY", "MAX_PROBE", "MAX_SLOT", "ProbeExhausted", "ProbeTable", "mix32"]

MAX_PROBE: Final = lib.KTB_MAX_PROBE
"""Places that one operation looks at, at most."""
MAX_SLOT: Final = lib.KTB_MAX_SLOT
"""The largest slot number; the two values above it mark places."""
MAX_CAPACITY: Final = lib.KTB_MAX_PLACES // 2
"""Keys of the largest table."""
_ABSENT: Final = lib.KTB_EMPTY


class ProbeExhausted(Exception):
    """Raised when no place within reach of a key is free. The table is unchanged."""


def mix32(x: int) -> int:
    """Spread the bits of a 32-bit key: the finaliser of MurmurHash3."""
    return lib.ktb_mix32(x)


class ProbeTable:
    """Maps keys of 32 bits to slots, at most `MAX_SLOT`.

    Args:
        capacity: How many keys should find a place; more may.

    Raises:
        InternalError: ``capacity`` is out of range.
    """

    def __init__(self, capacity: int) -> None:
        if not 0 <= capacity <= MAX_CAPACITY:
            raise InternalError(f"a probe table of {capacity} keys is out of range")
        handle = lib.ktb_probe_create(capacity)
        if handle == ffi.NULL:
            raise MemoryError("no memory for a probe table")
        self._handle = ffi.gc(handle, lib.ktb_probe_destroy)
        self.size: int = self._handle.mask + 1
        """Places."""

    def get(self, key: int) -> int | None:
        """Return the slot of a key, or None."""
        slot = lib.ktb_probe_get(self._handle, key)
        return None if slot == _ABSENT else slot

    def insert(self, key: int, slot: int) -> None:
        """Keep or change the slot of a key.

        Raises:
            ProbeExhausted: No place is left for it; the table is as before.
        """
        if not lib.ktb_probe_insert(self._handle, key, slot):
            raise ProbeExhausted(key)

    def remove(self, key: int) -> int | None:
        """Forget a key. Returns the slot it had, or None."""
        slot = lib.ktb_probe_remove(self._handle, key)
        return None if slot == _ABSENT else slot

    def __len__(self) -> int:
        return int(self._handle.live)

    def probe_exhausted(self) -> int:
        """Return how many inserts were refused since the table was made."""
        return int(self._handle.exhausted)
