"""What is copied of a BPF map, and the limits of copying: what the walks of all kinds of maps share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ktstr_tui.kernel.address import AddressSpace

MAX_KEY_BYTES = 4096
MAX_ENTRIES = 1024
MAX_MAP_BYTES = 1 << 20
MAX_TOTAL_BYTES = 8 << 20
MAX_CHAIN = 1024
MAX_BUCKETS = 1 << 17
_HIGH_BIT = bytes(byte >> 7 for byte in range(256))

Ready: TypeAlias = dict[str, Any]
"""A value that has no bytes of its own: what a pointer of the map leads to, in plain JSON values."""


@dataclass(slots=True)
class RawMap:
    """A map's description and the copied bytes of its entries."""

    row: dict[str, Any]
    type_name: str
    entries: list[tuple[bytes, bytes | tuple[bytes, ...] | Ready]] = field(default_factory=list)
    """Key, and value, one value per CPU, or what the value's pointer leads to."""
    truncated: bool = False
    error: str | None = None
    btf: RawBtf | None = None
    state: dict[str, Any] = field(default_factory=dict)
    """What the map says of itself beside its entries: positions of a ring, pages of an arena."""
    own_keys: bool = False
    """Keys are little-endian numbers of our own (cgroup ids, positions), not of the type that the map names."""
    count: int = 1
    """Maps that this one describes: nameless ones of one shape are folded."""
    pages: dict[int, bytes] = field(default_factory=dict)
    """Of an arena: the copied pages by their address in user space."""
    timers: dict[bytes, Ready] = field(default_factory=dict)
    """The state of the ``bpf_timer`` in each entry's value, by key."""
    value_address: int = 0
    """Of a section of globals: where its variables are in the kernel's memory; 0 of other maps."""


@dataclass(slots=True)
class RawBtf:
    """The copied BTF of one or more maps; without data when it is known already."""

    key: tuple[int, int]
    """``(btf->id, data_size)``; ids are not reused."""
    data: bytes | None
    kernel: bool
    split: bool


Copier: TypeAlias = Callable[[AddressSpace, int, RawMap, int], None]
"""Copies up to so many entries of the map at an address into a record."""


def filled(buckets: bytes, step: int) -> Iterator[int]:
    """Yield the first elements of those buckets that hold any, without a look at each of the empty ones.

    A table has many more buckets than elements. Pointers of the kernel have their highest bit set; an empty
    bucket is NULL or a small odd number.
    """
    marks = buckets[7::step].translate(_HIGH_BIT)
    at = marks.find(1)
    while at >= 0:
        yield int.from_bytes(buckets[at * step : at * step + 8], "little")
        at = marks.find(1, at + 1)


def index_key(index: int) -> bytes:
    """Make the key of an array: its index as four bytes."""
    return index.to_bytes(4, "little")
