"""The page that is shared with the observer, as ``native/observer/page.h`` lays it out.

The backend writes commands, which the observer copies and checks when the machine goes on; the observer writes why the
machine is held. While it is held, neither side changes what the other reads.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

import msgspec

from ktstr_tui.guest.engine import Registers

PAGE_BYTES = 512000
MAX_WATCHES = 16384
MAX_PROBES = 1024
MAX_VCPUS = 256
MAX_NOTED = 256
"""Functions, and ranges, that are noted."""
MAX_NOTES = 4096
"""Notes that are kept, the newest."""
_MAGIC, _LAYOUT = 0x4F42534B, 5
_STOP, _GENERATION, _HOLD_AT, _STEP, _NR_WATCHES, _NR_PROBES, _HELD = 16, 20, 24, 32, 40, 44, 48
_TURN, _NEXT, _CLOCK = 488, 492, 496
_REGISTERS_KNOWN, _REGISTERS, _COUNTS, _PROBES, _WATCHES = 112, 120, 512, 4096, 12288
_NR_NOTED, _NR_NOTES, _NOTED_PROBES, _NOTED_RANGES, _BEGUN, _NOTES = 384, 400, 274432, 276480, 280576, 313344


_NOTE_VCPU = 392
_NOTE = struct.Struct("<QQQQQII")


class _Lists(NamedTuple):
    """Where ranges, probes and their numbers are, and how many there may be."""

    ranges: int
    probes: int
    numbers: int
    most_ranges: int
    most_probes: int


_HELD_AT = _Lists(_WATCHES, _PROBES, _NR_WATCHES, MAX_WATCHES, MAX_PROBES)
_NOTED = _Lists(_NOTED_RANGES, _NOTED_PROBES, _NR_NOTED, MAX_NOTED, MAX_NOTED)


class HoldReason(IntEnum):
    """Why the observer holds the machine."""

    COUNT = 1
    STEP = 2
    STOP = 3
    WRITE = 4
    CALL = 5
    TURN = 6
    NEXT = 7


class Held(msgspec.Struct, frozen=True):
    """A machine that is held."""

    reason: HoldReason
    vcpu: int
    total: int
    """Instructions that all vCPUs have executed."""
    address: int
    """Of the store, or of the probe in the block that is about to be executed; what the last one left for the other
    reasons."""
    value: int
    """What was stored."""
    width: int
    """Bytes that were stored."""
    counts: tuple[int, ...]
    """Instructions that each vCPU has executed."""
    in_block: bool = False
    """Whether it is held within a block, at a store; ``total`` counts all of that block already."""


class Note(msgspec.Struct, frozen=True):
    """A store or an execution that was noted; its block begins and ends after so many instructions of all vCPUs."""

    began: int
    ended: int
    address: int
    """Of the store, or of the probe."""
    next_ip: int
    """Behind the store; for a probe where its block begins."""
    value: int
    """What was stored, its low 8 bytes."""
    vcpu: int
    width: int
    """Bytes that were stored; 0 for a probe."""


class Notes(msgspec.Struct, frozen=True):
    """What an observer has noted: the newest of each kind, oldest first."""

    notes: tuple[Note, ...]
    begun: tuple[int, ...]
    """Instructions executed by all vCPUs before each block of the vCPU that was asked for."""
    complete: bool
    """Whether ``notes`` is all that was noted."""
    begun_complete: bool


class ObserverPage:
    """A page of one machine; closed by its owner."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("ktstr-observer")
        os.ftruncate(self.fd, PAGE_BYTES)
        self._map = mmap.mmap(self.fd, PAGE_BYTES)

    def close(self) -> None:
        """Give the memory back."""
        self._map.close()
        os.close(self.fd)

    @property
    def ready(self) -> bool:
        """Whether an observer of this layout has taken the page."""
        return struct.unpack_from("<II", self._map, 0) == (_MAGIC, _LAYOUT)

    @property
    def refused(self) -> int:
        """Commands that the observer did not take, because they were out of bounds."""
        return self._u32(12)

    def ask_stop(self, wanted: bool) -> None:
        """Have the machine held as soon as possible, or not any more."""
        struct.pack_into("<I", self._map, _STOP, wanted)

    @property
    def step(self) -> int:
        """Instructions of which each multiple is held at; 0 for none."""
        value: int = struct.unpack_from("<Q", self._map, _STEP)[0]
        return value

    def set_step(self, instructions: int) -> None:
        """Have the machine held at each multiple; 0 for never."""
        struct.pack_into("<Q", self._map, _STEP, instructions)

    def hold_at_time(self, address: int, due: int) -> None:
        """Have the machine held once, as at a step, when 8 bytes of at least ``due`` are stored at ``address``."""
        struct.pack_into("<QQ", self._map, _CLOCK, address, due)

    def tell_turn(self, vcpu: int) -> None:
        """Say which vCPU it is that executes for the first time, while the machine is held for that."""
        struct.pack_into("<I", self._map, _TURN, vcpu)

    def hold_at_next(self, vcpu: int | None) -> None:
        """Have the machine held whenever this vCPU is about to execute another block; None for never."""
        struct.pack_into("<I", self._map, _NEXT, 0 if vcpu is None else vcpu + 1)

    def hold_at(self, instructions: int) -> None:
        """Have the machine held once, when so many instructions were executed; 0 for never."""
        struct.pack_into("<Q", self._map, _HOLD_AT, instructions)

    def watch(self, ranges: Iterable[tuple[int, int]], probes: Iterable[int] = ()) -> None:
        """Hold the machine at stores and at executions, in place of those that were given before.

        Args:
            ranges: First address and length in bytes of each; may overlap. At most `MAX_WATCHES` once merged.
            probes: Addresses of instructions; the machine is held before the block of code that such a one is in.

        Raises:
            ValueError: They are too many.
        """
        self._put(_HELD_AT, ranges, probes)
        self._next_generation()

    def note(self, ranges: Iterable[tuple[int, int]], probes: Iterable[int], vcpu: int | None) -> None:
        """Write down stores, executions and the blocks of a vCPU, in place of those that were asked for before.

        Args:
            ranges: First address and length in bytes of each; may overlap.
            probes: Addresses of instructions.
            vcpu: Whose blocks; None for nobody's.

        Raises:
            ValueError: They are too many.
        """
        self._put(_NOTED, ranges, probes)
        struct.pack_into("<I", self._map, _NOTE_VCPU, 0 if vcpu is None else vcpu + 1)
        struct.pack_into("<QQ", self._map, _NR_NOTES, 0, 0)
        self._next_generation()

    def notes(self) -> Notes:
        """What was noted since `note`."""
        nr_notes, nr_begun = struct.unpack_from("<QQ", self._map, _NR_NOTES)
        notes = [Note(*_NOTE.unpack_from(self._map, _NOTES + at)) for at in _places(nr_notes, _NOTE.size)]
        begun = [struct.unpack_from("<Q", self._map, _BEGUN + at)[0] for at in _places(nr_begun, 8)]
        kept = nr_notes <= MAX_NOTES, nr_begun <= MAX_NOTES
        return Notes(tuple(notes), tuple(begun), *kept)

    def held(self) -> Held:
        """Why and where the machine is held.

        Raises:
            ValueError: What stands there is of no observer.
        """
        found = struct.unpack_from("<IIQQQQQII", self._map, _HELD)
        reason, vcpu, total, address, low, high, _, width, in_block = found
        nr = min(self._u32(8), MAX_VCPUS)
        counts = struct.unpack_from(f"<{nr}Q", self._map, _COUNTS)
        value = low | high << 64
        return Held(HoldReason(reason), vcpu, total, address, value, width, counts, bool(in_block))

    def registers(self) -> Registers | None:
        """The registers of the vCPU that holds, without the arithmetic flags; None when one could not be read."""
        names = Registers.__struct_fields__
        (known,) = struct.unpack_from("<Q", self._map, _REGISTERS_KNOWN)
        if known != (1 << len(names)) - 1:
            return None
        return Registers(*struct.unpack_from(f"<{len(names)}Q", self._map, _REGISTERS))

    def _put(self, lists: _Lists, ranges: Iterable[tuple[int, int]], probes: Iterable[int]) -> None:
        merged, addresses = merge(ranges), sorted(set(probes))
        if len(merged) > lists.most_ranges or len(addresses) > lists.most_probes:
            raise ValueError(f"{len(merged)} ranges and {len(addresses)} probes are too many")
        flat = [address for pair in merged for address in pair]
        struct.pack_into(f"<{len(flat)}Q", self._map, lists.ranges, *flat)
        struct.pack_into(f"<{len(addresses)}Q", self._map, lists.probes, *addresses)
        struct.pack_into("<II", self._map, lists.numbers, len(merged), len(addresses))

    def _next_generation(self) -> None:
        struct.pack_into("<I", self._map, _GENERATION, (self._u32(_GENERATION) + 1) & 0xFFFF_FFFF)

    def _u32(self, offset: int) -> int:
        value: int = struct.unpack_from("<I", self._map, offset)[0]
        return value


def merge(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges (address, bytes) as disjoint ascending (first, last)."""
    merged: list[tuple[int, int]] = []
    for first, length in sorted(ranges):
        last = first + length - 1
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def _places(count: int, size: int) -> Iterable[int]:
    """Where the newest of ``count`` entries are in a ring, oldest first, in bytes from its beginning."""
    return (number % MAX_NOTES * size for number in range(max(0, count - MAX_NOTES), count))
