"""BTF: the type information that a kernel, and every BPF object, carries with it.

A blob is a header, a table of variable-sized type records and a table of strings. A type is named by its
place in the table, so nothing can be looked up before one pass over all records; that pass (125,000 records
for a stock kernel) is all that happens up front, in C and without decoding a name. A *split*
blob continues the ids and the strings of a base.

Mirrors include/uapi/linux/btf.h (Documentation/bpf/btf.rst), all words little-endian:

- ``struct btf_header``: u16 magic, u8 version, u8 flags, then u32 hdr_len, offset and length of both tables, counted
  from the end of the header;
- ``struct btf_type``: u32 name_off, u32 info (vlen in bits 0-15, kind in bits 24-28, kind_flag in bit 31), and one word
  that is a size or a type id, as the kind has it; what follows depends on the kind;
- ``struct btf_member``: name_off, type, offset in bits; with kind_flag, bits 24-31 of it are the width of a bit field;
- ``struct btf_enum`` and ``btf_enum64``: name_off and value, which kind_flag makes signed;
- ``BTF_INT``: encoding in bits 24-27, offset in bits 16-23, width in bits 0-7.

Why not drgn's? It has none yet: ``Module.load_btf()`` is proposed in osandov/drgn#625. `finders.load_btf` has the shape
of that call, so that this module is needed for the fast layouts (`layout`) and for maps only, once drgn has it.
A guest test compares every type with what bpftool reads.

The blob may come from a hostile guest: every id, offset and count is checked against the tables, and
recursion is bounded by the caller.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple

from ktstr_tui._native import ffi, lib
from ktstr_tui.model.errors import GuestError

MAX_BTF_BYTES = 32 << 20
_MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")


class Kind(IntEnum):
    """``BTF_KIND_…`` of include/uapi/linux/btf.h."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


_NAMED = (1 << Kind.INT | 1 << Kind.STRUCT | 1 << Kind.UNION | 1 << Kind.ENUM | 1 << Kind.TYPEDEF) | (
    1 << Kind.VAR | 1 << Kind.DATASEC | 1 << Kind.FLOAT | 1 << Kind.ENUM64
)
_TRANSPARENT = {Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG}
_MAX_CHAIN = 32
_MAX_ANONYMOUS = 256
"""Anonymous structs and unions that are searched for one member; a task_struct has about ten."""

INT_SIGNED, INT_CHAR, INT_BOOL = 1, 2, 4


class BtfError(GuestError):
    """The type information is damaged, or lacks what was asked for."""


class Member(NamedTuple):
    """A member of a struct or union."""

    name: str
    type_id: int
    bit_offset: int
    bit_size: int
    """0 for a plain member."""


class SectionVariable(NamedTuple):
    """Where a data section has one of its variables."""

    type_id: int
    """A ``VAR``, or a ``FUNC`` in sections of external symbols."""
    offset_bytes: int
    size_bytes: int


class MemberPath(NamedTuple):
    """Where a path of members leads: relative to the outermost struct."""

    bit_offset: int
    bit_size: int
    type_id: int


@dataclass(frozen=True, slots=True)
class TypeRecord:
    """The fixed part of a type record."""

    id: int
    kind: Kind
    name: str
    vlen: int
    flag: bool
    size_or_type: int
    at: int
    """Index of the first word behind the fixed part."""


class Btf:
    """A parsed blob, types decoded on demand. Immutable after construction but for caches.

    Args:
        data: The blob, with its header.
        base: What it is split on, for the BTF of modules and of some BPF programs.

    Raises:
        BtfError: If the header or the type table is not well-formed.
    """

    def __init__(self, data: bytes, base: Btf | None = None) -> None:
        if len(data) < _HEADER.size or len(data) > MAX_BTF_BYTES:
            raise BtfError(f"BTF of {len(data)} bytes")
        magic, _, _, header, type_off, type_len, str_off, str_len = _HEADER.unpack_from(data)
        type_end, str_end = header + type_off + type_len, header + str_off + str_len
        if magic != _MAGIC or max(type_end, str_end) > len(data) or type_len % 4:
            raise BtfError("not BTF, or cut short")
        self.base = base
        self.first_id: int = base.end_id if base else 1
        self.first_string: int = base.end_string if base else 0
        self._strings = data[header + str_off : str_end]
        self.end_string: int = self.first_string + len(self._strings)
        self._words = array("I", data[header + type_off : type_end])
        self._starts: array[int]
        self._names: dict[int, int]
        self.end_id: int = self.first_id + self._index()
        self._records: dict[int, TypeRecord] = {}
        self._members: dict[int, tuple[Member, ...]] = {}

    def _index(self) -> int:
        """One pass over all records: where each starts, and names (as string offsets) to ids; their count."""
        words, most = self._words, len(self._words) // 3 + 1
        starts, places, names = (
            array("I", bytes(4 * most)),
            array("I", bytes(4 * most)),
            array("Q", bytes(8 * most)),
        )
        views = [ffi.from_buffer(kind, it) for kind, it in (("uint32_t[]", starts), ("uint64_t[]", names))]
        views += [ffi.from_buffer("uint32_t[]", it) for it in (places, words)]
        index = ffi.new("struct ktb_index *", [*views[:3], _NAMED])
        damaged = lib.ktb_index(views[3], len(words), index) != 0
        for view in views:
            ffi.release(view)
        if damaged and index.at < len(words) - 2:
            kind = words[index.at + 1] >> 24 & 31
            raise BtfError(f"unknown BTF kind {kind} at type {self.first_id + index.count}")
        if damaged:
            raise BtfError("BTF type table is cut short")
        del starts[index.count :]
        self._starts = starts
        # The first type of a name is found, so it is entered last.
        first = self.first_id
        last_first = zip(names[: index.named][::-1], places[: index.named][::-1], strict=True)
        self._names = {name: first + place for name, place in last_first}
        return int(index.count)

    def __len__(self) -> int:
        """Return the number of types, those of the base included."""
        return self.end_id - 1

    def string(self, offset: int) -> str:
        """Return the string at ``offset``; raises ``BtfError`` outside the table."""
        if offset < self.first_string:
            if self.base is None:
                raise BtfError(f"string offset {offset} in a missing base")
            return self.base.string(offset)
        at = offset - self.first_string
        end = self._strings.find(b"\0", at)
        if end < 0:
            raise BtfError(f"string offset {offset} outside BTF")
        return self._strings[at:end].decode("utf-8", "replace")

    def record(self, type_id: int) -> TypeRecord:
        """Return the type of that id; id 0 is void."""
        found = self._records.get(type_id)
        if found is None:
            found = self._records[type_id] = self._record(type_id)
        return found

    def _record(self, type_id: int) -> TypeRecord:
        if type_id == 0:
            return TypeRecord(0, Kind.VOID, "void", 0, False, 0, 0)
        if type_id < self.first_id:
            if self.base is None:
                raise BtfError(f"type {type_id} in a missing base")
            return self.base.record(type_id)
        if type_id >= self.end_id:
            raise BtfError(f"type {type_id} of {len(self)}")
        at = self._starts[type_id - self.first_id]
        name, info, size = self._words[at : at + 3]
        kind = Kind(info >> 24 & 31)
        return TypeRecord(type_id, kind, self.string(name), info & 0xFFFF, bool(info >> 31), size, at + 3)

    def find(self, name: str, *kinds: Kind) -> int | None:
        """Find the id of the first type of that name and one of those kinds."""
        for offset in self._offsets(name):
            for kind in kinds:
                found = self._names.get(offset << 5 | kind)
                if found is not None:
                    return found
        return self.base.find(name, *kinds) if self.base else None

    def _offsets(self, name: str) -> Iterator[int]:
        """Where a string is in the table of strings."""
        wanted = b"\0" + name.encode() + b"\0"
        at = self._strings.find(wanted)
        while at >= 0:
            yield at + 1 + self.first_string
            at = self._strings.find(wanted, at + 1)

    def _owner(self, type_id: int) -> Btf:
        return self if type_id >= self.first_id or self.base is None else self.base._owner(type_id)

    def words(self, type_id: int, count: int) -> array[int]:
        """Return ``count`` words behind the fixed part of a type's record."""
        record, owner = self.record(type_id), self._owner(type_id)
        return owner._words[record.at : record.at + count]

    def members(self, type_id: int) -> tuple[Member, ...]:
        """Return the members of a struct or union in declaration order; anonymous ones have an empty name."""
        found = self._members.get(type_id)
        if found is None:
            record = self.record(type_id)
            rows = self.words(type_id, 3 * record.vlen)
            out = []
            for k in range(0, len(rows), 3):
                where = rows[k + 2]
                offset, bits = (where & 0xFFFFFF, where >> 24) if record.flag else (where, 0)
                out.append(Member(self.string(rows[k]), rows[k + 1], offset, bits))
            found = self._members[type_id] = tuple(out)
        return found

    def enumerators(self, type_id: int) -> tuple[tuple[str, int], ...]:
        """Return names and values of an enum, signed where the enum is."""
        record = self.record(type_id)
        if record.kind == Kind.ENUM64:
            rows = self.words(type_id, 3 * record.vlen)
            triples = ((rows[k], rows[k + 1] | rows[k + 2] << 32) for k in range(0, len(rows), 3))
            return tuple((self.string(n), _signed(v, 64) if record.flag else v) for n, v in triples)
        rows = self.words(type_id, 2 * record.vlen)
        pairs = ((rows[k], rows[k + 1]) for k in range(0, len(rows), 2))
        return tuple((self.string(n), _signed(v, 32) if record.flag else v) for n, v in pairs)

    def parameters(self, type_id: int) -> tuple[tuple[str, int], ...]:
        """Return name and type id of each parameter of a function prototype; a last one of type 0 is ``...``."""
        rows = self.words(type_id, 2 * self.record(type_id).vlen)
        return tuple((self.string(rows[k]), rows[k + 1]) for k in range(0, len(rows), 2))

    def section(self, type_id: int) -> tuple[SectionVariable, ...]:
        """Return what a data section (``.bss``, ``.data``, …) holds, in order of offset."""
        rows = self.words(type_id, 3 * self.record(type_id).vlen)
        return tuple(SectionVariable(*rows[k : k + 3]) for k in range(0, len(rows), 3))

    def enumerator(self, name: str) -> tuple[int, int] | None:
        """Find the first enumerator of a name: the id of its type, and its value."""
        for offset in self._offsets(name):
            type_id = self._enumerator_types.get(offset)
            if type_id is not None:
                return type_id, dict(reversed(self.enumerators(type_id)))[name]
        return None

    @cached_property
    def _enumerator_types(self) -> dict[int, int]:
        """The string of every enumerator to the id of the first type that has it; built at first use."""
        words, starts = (
            ffi.from_buffer("uint32_t[]", self._words),
            ffi.from_buffer("uint32_t[]", self._starts),
        )
        count = lib.ktb_enumerators(words, starts, len(self._starts), ffi.NULL, ffi.NULL)
        names, places = ffi.new("uint32_t[]", count), ffi.new("uint32_t[]", count)
        lib.ktb_enumerators(words, starts, len(self._starts), names, places)
        pairs = zip(reversed(ffi.unpack(names, count)), reversed(ffi.unpack(places, count)), strict=True)
        return {name: self.first_id + place for name, place in pairs}

    @cached_property
    def function_index(self) -> dict[str, int]:
        """Every function's name to its type id; built at first use (40 ms for a stock kernel)."""
        found: dict[str, int] = {} if self.base is None else dict(self.base.function_index)
        for place, at in enumerate(self._starts):
            if self._words[at + 1] >> 24 & 31 == Kind.FUNC:
                found.setdefault(self.string(self._words[at]), self.first_id + place)
        return found

    def enum_value(self, name: str, default: int) -> int:
        """Return the value of an enumerator, or ``default`` where this kernel has none of that name."""
        found = self.enumerator(name)
        return default if found is None else found[1]

    def resolve(self, type_id: int) -> TypeRecord:
        """Follow typedefs, qualifiers and tags to the type behind them."""
        record = self.record(type_id)
        for _ in range(_MAX_CHAIN):
            if record.kind not in _TRANSPARENT:
                return record
            record = self.record(record.size_or_type)
        raise BtfError(f"type {type_id} is a chain of more than {_MAX_CHAIN} typedefs")

    def array_of(self, type_id: int) -> tuple[int, int]:
        """Return element type id and number of elements of an array type."""
        element, _, count = self.words(type_id, 3)
        return element, count

    def size_of(self, type_id: int, depth: int = 0) -> int:
        """Return the bytes of a type; 0 for void, functions and forward declarations."""
        record = self.resolve(type_id)
        if record.kind == Kind.PTR:
            return 8
        if record.kind == Kind.ARRAY:
            if depth > _MAX_CHAIN:
                raise BtfError(f"type {type_id} nests too many arrays")
            element, count = self.array_of(record.id)
            return self.size_of(element, depth + 1) * count
        if record.kind == Kind.VAR:
            return self.size_of(record.size_or_type, depth + 1) if depth <= _MAX_CHAIN else 0
        sized = (Kind.INT, Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.ENUM64, Kind.FLOAT, Kind.DATASEC)
        return record.size_or_type if record.kind in sized else 0

    def int_encoding(self, type_id: int) -> tuple[int, int, int]:
        """Return ``(encoding bits, bit offset, bits)`` of an integer type."""
        (word,) = self.words(type_id, 1)
        return word >> 24 & 15, word >> 16 & 255, word & 255

    def place(self, struct_id: int, path: str) -> MemberPath | None:
        """Find where ``path`` (``scx.dsq_list.node``) is within a struct; None when a member is not there.

        Members of anonymous structs and unions count as members of what contains them.
        """
        here = MemberPath(0, 0, struct_id)
        for name in path.split("."):
            step = self._member(here.type_id, name, set())
            if step is None:
                return None
            here = MemberPath(here.bit_offset + step.bit_offset, step.bit_size, step.type_id)
        return here

    def _member(self, type_id: int, name: str, seen: set[int]) -> MemberPath | None:
        # No type is searched twice: damaged ones may hold themselves, many times over.
        record = self.resolve(type_id)
        if record.kind not in (Kind.STRUCT, Kind.UNION) or record.id in seen or len(seen) > _MAX_ANONYMOUS:
            return None
        seen.add(record.id)
        for member in self.members(record.id):
            if member.name == name:
                return MemberPath(member.bit_offset, member.bit_size, member.type_id)
            if not member.name:
                inner = self._member(member.type_id, name, seen)
                if inner is not None:
                    return MemberPath(member.bit_offset + inner.bit_offset, inner.bit_size, inner.type_id)
        return None


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value
