"""Reading a few members of a kernel struct with one copy and one decode.

drgn's objects are right and general, and cost microseconds per member. The sampler reads the same dozen
members of the same structs ten times a second from a machine that runs on; it wants them
together, from one copy. A ``Layout`` asks BTF once where the members are and of which width, and turns each
look into a single ``struct.unpack``. A member that this kernel does not have is None in every look: absence
is not zero.

Kernel differences are decided here, by members and never by versions: a path may be a tuple of places, newest kernel
first, of which the first that BTF has counts.

How exact is this? One copy of memory is not one moment: the kernel may write between two of its bytes. A word that is
aligned, as members of up to 8 bytes are, is never half old and half new on x86-64, but two members of one look may be
of two moments. Who needs them to agree looks twice and compares (see `cpus.Cpus.sample`).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from ktstr_tui.kernel.address import AddressSpace
from ktstr_tui.kernel.btf import INT_SIGNED, Btf, BtfError, Kind, MemberPath

Paths = Mapping[str, str | tuple[str, ...]]
_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
_MAX_BYTES = 4096
"""Of a member that is read as bytes."""
_MAX_SPAN_BYTES = 1 << 20
"""From the first to the last member that are read together."""


class Layout:
    """Some members of one struct of one kernel.

    Args:
        btf: The kernel's BTF.
        struct_name: Name of the struct, without the keyword.
        paths: Name of a value to where it is (``scx.dsq``), or to several places, of which the first that
            this kernel has counts. Values are integers, pointers, enums, or ``char`` arrays (given as bytes).

    Raises:
        BtfError: If this kernel has no such struct.
    """

    def __init__(self, btf: Btf, struct_name: str, paths: Paths) -> None:
        self.struct_name = struct_name
        found = btf.find(struct_name, Kind.STRUCT)
        if found is None:
            raise BtfError(f"this kernel's BTF has no struct {struct_name}")
        self._btf = btf
        self._id = found
        self.size = btf.size_of(found)
        fields: list[tuple[int, int, str, str]] = []
        bits: dict[str, MemberPath] = {}
        self._absent: dict[str, Any] = {}
        for name, path in paths.items():
            place = self._first_place((path,) if isinstance(path, str) else path)
            if place is None:
                self._absent[name] = None
            elif place.bit_size or place.bit_offset % 8:
                bits[name] = place
            else:
                size, code = self._code(place.type_id)
                fields.append((place.bit_offset // 8, size, code, name))
        self._compile(sorted(fields), bits)

    def _first_place(self, paths: tuple[str, ...]) -> MemberPath | None:
        return next((p for p in (self._btf.place(self._id, path) for path in paths) if p is not None), None)

    def _code(self, type_id: int) -> tuple[int, str]:
        record = self._btf.resolve(type_id)
        size = self._btf.size_of(type_id)
        if record.kind == Kind.INT:
            signed = bool(self._btf.int_encoding(record.id)[0] & INT_SIGNED)
        elif record.kind in (Kind.ENUM, Kind.ENUM64):
            signed = record.flag
        elif size <= _MAX_BYTES:
            return size, "Q" if record.kind == Kind.PTR else f"{size}s"
        else:
            raise BtfError(f"{self.struct_name} has a member of {size} bytes")
        if size not in _CODES:
            raise BtfError(f"{self.struct_name} has an integer of {size} bytes")
        return size, _CODES[size].lower() if signed else _CODES[size]

    def _compile(self, fields: list[tuple[int, int, str, str]], bits: dict[str, MemberPath]) -> None:
        spans = [(o, o + n) for o, n, _, _ in fields]
        spans += [(p.bit_offset // 8, (p.bit_offset + p.bit_size + 7) // 8) for p in bits.values()]
        self.start = min((a for a, _ in spans), default=0)
        self.end = max((b for _, b in spans), default=0)
        if self.end - self.start > _MAX_SPAN_BYTES:
            raise BtfError(f"{self.struct_name} spans {self.end - self.start} bytes")
        at, codes = self.start, ["<"]
        for offset, size, code, name in fields:
            if offset < at:
                raise BtfError(f"{self.struct_name}: {name} overlaps another member that is read with it")
            codes.append(f"{offset - at}x{code}" if offset > at else code)
            at = offset + size
        self._unpack = struct.Struct("".join(codes)).unpack_from
        self._names = tuple(name for _, _, _, name in fields)
        self._bits = {
            name: (p.bit_offset - 8 * self.start, (1 << (p.bit_size or 1)) - 1) for name, p in bits.items()
        }

    def offset(self, path: str) -> int:
        """Return the bytes from the start of the struct to a member.

        Raises:
            BtfError: If this kernel's struct has no such member.
        """
        found = self.find_offset(path)
        if found is None:
            raise BtfError(f"struct {self.struct_name} of this kernel has no member {path}")
        return found

    def find_offset(self, path: str) -> int | None:
        """Do as ``offset``, with None for a member that is not there."""
        place = self._btf.place(self._id, path)
        return None if place is None else place.bit_offset // 8

    def decode(self, data: bytes) -> dict[str, Any]:
        """Decode values from the bytes between ``start`` and ``end`` of the struct."""
        values = dict(zip(self._names, self._unpack(data), strict=True))
        if self._bits:
            whole = int.from_bytes(data, "little")
            for name, (shift, mask) in self._bits.items():
                values[name] = whole >> shift & mask
        values.update(self._absent)
        return values

    def read(self, space: AddressSpace, address: int) -> dict[str, Any]:
        """Read the values of the struct at ``address``, all from one copy; raises ``MemoryReadError``."""
        return self.decode(space.read(address + self.start, self.end - self.start))
