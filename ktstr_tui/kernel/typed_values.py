"""Bytes of a known type as a number and as text: what an operation read, as a person would write it.

Enumerators are named, pointers hexadecimal and with the symbol they point to, ``char`` arrays text, signed integers
signed. A struct of one member is that member: so an ``atomic_t`` is its number.

The types come from the guest and may be damaged: what cannot be decoded is None, and the bytes speak for themselves.
"""

from __future__ import annotations

from typing import NamedTuple

from ktstr_tui.kernel.btf import INT_BOOL, INT_SIGNED, Btf, BtfError, Kind, TypeRecord
from ktstr_tui.kernel.c_types import CType, CTypes
from ktstr_tui.kernel.render import Renderer
from ktstr_tui.kernel.symbols import Symbols

MAX_VALUES = 256
"""Numbers in the text of one struct or array."""
MAX_ELEMENTS = 64
"""Elements in the text of one array."""
_DAMAGE = (LookupError, ValueError, TypeError, OverflowError, RecursionError)
_MAX_CHAIN = 8
"""Structs of one member within each other."""


class TypedValue(NamedTuple):
    """A value, decoded."""

    number: int | None
    """With its sign; None for what is no scalar."""
    text: str


class TypedValues:
    """Decodes values of one kernel.

    Args:
        btf: Its BTF.
        symbols: Its kallsyms, to name what pointers point to; None to name nothing.
    """

    def __init__(self, btf: Btf, symbols: Symbols | None) -> None:
        self._btf = btf
        self._types = CTypes(btf)
        self._symbols = symbols

    def decode(self, kind: CType, data: bytes) -> TypedValue | None:
        """Decode the object that ``data`` holds.

        Returns:
            None when the type has another size than the data, or cannot be read.
        """
        try:
            if self._types.size_of(kind) != len(data):
                return None
            if kind.around:
                return self._pointer(data) if kind.around[0] is None else None
            return self._decode(self._innermost(kind.id), data)
        except (BtfError, *_DAMAGE):
            return None

    def _innermost(self, type_id: int) -> TypeRecord:
        """The type itself or, of structs of one member, that of the member."""
        record = self._btf.resolve(type_id)
        for _ in range(_MAX_CHAIN):
            members = self._btf.members(record.id) if record.kind == Kind.STRUCT else ()
            if len(members) != 1 or members[0].bit_size or members[0].bit_offset:
                break
            inner = self._btf.resolve(members[0].type_id)
            if self._btf.size_of(inner.id) != self._btf.size_of(record.id):
                break
            record = inner
        return record

    def _decode(self, record: TypeRecord, data: bytes) -> TypedValue:
        number = int.from_bytes(data, "little")
        if record.kind == Kind.PTR:
            return self._pointer(data)
        if record.kind == Kind.INT:
            return self._integer(record, number, len(data))
        if record.kind in (Kind.ENUM, Kind.ENUM64):
            value = _signed(number, len(data)) if record.flag else number
            name = next((it for it, known in self._btf.enumerators(record.id) if known == value), None)
            return TypedValue(value, f"{value} ({value:#x})" if name is None else f"{name} ({value})")
        renderer = Renderer(self._btf, max_array=MAX_ELEMENTS, max_values=MAX_VALUES)
        whole = renderer.render(record.id, data)
        return TypedValue(None, f'"{whole}"' if isinstance(whole, str) else _text(whole))

    def _integer(self, record: TypeRecord, number: int, size: int) -> TypedValue:
        encoding = self._btf.int_encoding(record.id)[0]
        if encoding & INT_BOOL and number < 2:
            return TypedValue(number, str(bool(number)).lower())
        value = _signed(number, size) if encoding & INT_SIGNED else number
        return TypedValue(value, f"{value} ({number:#x})")

    def _pointer(self, data: bytes) -> TypedValue:
        address = int.from_bytes(data, "little")
        if not address:
            return TypedValue(0, "NULL")
        name = None if self._symbols is None else self._symbols.describe(address)
        return TypedValue(address, f"{address:#x}" + (f" ({name.removesuffix('+0x0')})" if name else ""))


def _text(value: object) -> str:
    """A rendered value as in C's initializers."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}={_text(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_text(inner) for inner in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _signed(number: int, size: int) -> int:
    return number - (1 << 8 * size) if number >> (8 * size - 1) else number
