"""C types by name, and what is inside them, from BTF: what an expression needs to know.

A type here is a BTF id with pointers and arrays around it, because a cast or a table may name a pointer or an
array that BTF itself has no record of.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ktstr_tui.kernel.btf import Btf, Kind, MemberPath
from ktstr_tui.model.errors import UsageError

_MAX_ANONYMOUS = 256
"""Structs and unions without names that are looked into for the names of members."""
_SUGGESTIONS = 5
_MAX_NAME_PARTS = 32
_QUALIFYING = (Kind.CONST, Kind.VOLATILE, Kind.RESTRICT, Kind.TYPE_TAG)
_TAGS = {
    Kind.STRUCT: "struct ",
    Kind.UNION: "union ",
    Kind.ENUM: "enum ",
    Kind.ENUM64: "enum ",
    Kind.FWD: "struct ",
}
_QUALIFIERS = frozenset(("const", "volatile", "signed"))
_TAGGED = {"struct": (Kind.STRUCT,), "union": (Kind.UNION,), "enum": (Kind.ENUM, Kind.ENUM64)}
TYPE_WORDS = {*_TAGGED, "unsigned", "signed", "int", "long", "short", "char", "_Bool", "void", "const"}
_INT_NAMES = {
    "unsigned": "unsigned int",
    "unsigned char": "unsigned char",
    "short": "short int",
    "unsigned short": "short unsigned int",
    "long": "long int",
    "unsigned long": "long unsigned int",
    "long long": "long long int",
    "unsigned long long": "long long unsigned int",
}
"""What C calls an integer to what gcc calls it in debugging information; clang keeps the name of C."""


class ExpressionError(UsageError):
    """The expression cannot mean anything in this kernel."""


@dataclass(frozen=True, slots=True)
class CType:
    """A BTF type with pointers (None) and arrays (their lengths) around it, outermost first."""

    id: int
    around: tuple[int | None, ...] = ()


def near(name: str, names: Iterable[str]) -> list[str]:
    """Names that look like ``name``, the most alike first."""
    half = max(3, len(name) // 2)
    parts = {name[:half].lower(), name[-half:].lower()}
    alike = {it for it in names if any(part in it.lower() for part in parts)}
    return difflib.get_close_matches(name, sorted(alike, key=len)[:2000], _SUGGESTIONS, 0.5)


class CTypes:
    """Types of one kernel.

    Args:
        btf: Its BTF.
    """

    def __init__(self, btf: Btf) -> None:
        self._btf = btf

    def named(self, text: str) -> CType | None:
        """The type that C calls ``text``: a name, stars, array lengths; None when this kernel has none."""
        words, _, lengths = text.partition("[")
        stars = words.count("*")
        name = " ".join(it for it in words.replace("*", " ").split() if it not in _QUALIFIERS)
        tag, _, rest = name.partition(" ")
        if name == "void":
            found: int | None = 0
        elif tag in _TAGGED:
            found = self._btf.find(rest, *_TAGGED[tag])
        else:
            kinds = (Kind.INT, Kind.TYPEDEF)
            found = self._btf.find(name, *kinds) or self._btf.find(_INT_NAMES.get(name, name), *kinds)
        if found is None:
            return None
        arrays = tuple(int(it) for it in re.findall(r"\d+", lengths))
        return CType(found, arrays + (None,) * stars)

    def name_of(self, kind: CType) -> str:
        """The name of a type as C writes it, arrays behind stars: ``struct rq``, ``u32``, ``char [16]``."""
        parts = ["*" if one is None else f"[{one}]" for one in kind.around]
        type_id = kind.id
        for _ in range(_MAX_NAME_PARTS):
            record = self._btf.record(type_id)
            if record.kind == Kind.PTR:
                parts.append("*")
                type_id = record.size_or_type
            elif record.kind == Kind.ARRAY:
                type_id, count = self._btf.array_of(record.id)
                parts.append(f"[{count}]")
            elif record.kind in _QUALIFYING:
                type_id = record.size_or_type
            else:
                break
        words = f"{_TAGS.get(record.kind, '')}{record.name or '(anonymous)'}"
        stars = "".join(part for part in reversed(parts) if part == "*")
        lengths = "".join(part for part in parts if part != "*")
        return " ".join(part for part in (words, stars, lengths) if part)

    def target_of(self, kind: CType) -> CType | None:
        """What a pointer points to; None when ``kind`` is no pointer."""
        if kind.around:
            return CType(kind.id, kind.around[1:]) if kind.around[0] is None else None
        record = self._btf.resolve(kind.id)
        return CType(record.size_or_type) if record.kind == Kind.PTR else None

    def is_integer(self, kind: CType) -> bool:
        """Whether it is an integer."""
        return not kind.around and self._btf.resolve(kind.id).kind == Kind.INT

    def array_of(self, kind: CType) -> tuple[CType, int] | None:
        """Element and length of an array; None when ``kind`` is none."""
        if kind.around:
            return (CType(kind.id, kind.around[1:]), kind.around[0]) if kind.around[0] is not None else None
        record = self._btf.resolve(kind.id)
        if record.kind != Kind.ARRAY:
            return None
        element, count = self._btf.array_of(record.id)
        return CType(element), count

    def size_of(self, kind: CType) -> int:
        """Bytes of an object; 0 for void and incomplete types."""
        size = 1
        for one in kind.around:
            if one is None:
                return 8 * size
            size *= one
        return size * self._btf.size_of(kind.id)

    def member(self, kind: CType, name: str) -> MemberPath:
        """Where a member is; raises ``ExpressionError`` with the names of those that there are."""
        record = self._btf.resolve(kind.id)
        if kind.around or record.kind not in (Kind.STRUCT, Kind.UNION):
            opaque = f"struct {record.name} is opaque" if record.kind == Kind.FWD else "it is not a struct"
            raise ExpressionError(f"no member {name}: {opaque}")
        place = self._btf.place(record.id, name)
        if place is None:
            names = list(self._names(record.id, set()))
            alike = near(name, names) or names[:_SUGGESTIONS]
            what = f"{record.kind.name.lower()} {record.name}".rstrip()
            raise ExpressionError(f"{what} has no member {name!r}", f"Did you mean {', '.join(alike)}?")
        if place.bit_size or place.bit_offset % 8:
            raise ExpressionError(
                f"{name} is a bit field and has no address of its own", "watch the word that contains it"
            )
        return place

    def _names(self, struct_id: int, seen: set[int]) -> Iterable[str]:
        # Damaged types may hold themselves, many times over: each is listed once.
        seen.add(struct_id)
        for member in self._btf.members(struct_id):
            if member.name:
                yield member.name
            elif len(seen) < _MAX_ANONYMOUS:
                inner = self._btf.resolve(member.type_id)
                if inner.kind in (Kind.STRUCT, Kind.UNION) and inner.id not in seen:
                    yield from self._names(inner.id, seen)
