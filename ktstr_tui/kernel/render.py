"""Bytes and a type to plain JSON values: how a scheduler's own globals and maps become readable.

The bytes and the BTF both come from the guest, and a type may describe far more data than there is. So depth,
array length and the number of values are bounded, and whatever is left out says so in its place.
"""

from __future__ import annotations

import struct

from ktstr_tui.kernel.btf import INT_BOOL, INT_SIGNED, Btf, BtfError, Kind, TypeRecord

MAX_DEPTH = 32
MAX_ARRAY = 4096
MAX_VALUES = 50_000
MORE = "…"
"""Begins every text in place of something left out."""
_FLOATS = {4: struct.Struct("<f"), 8: struct.Struct("<d")}


class Renderer:
    """Renders values of one BTF.

    Args:
        btf: Where the types are.
        max_depth: Structs and arrays within each other.
        max_array: Elements of one array.
        max_values: Values of one rendering altogether.
    """

    def __init__(
        self, btf: Btf, max_depth: int = MAX_DEPTH, max_array: int = MAX_ARRAY, max_values: int = MAX_VALUES
    ) -> None:
        self._btf = btf
        self._max_depth = max_depth
        self._max_array = max_array
        self._budget = self._max_values = max_values
        self.truncated = False
        """Whether anything was left out since construction."""

    def render(self, type_id: int, data: bytes) -> object:
        """Decode the value that ``data`` holds, as dict, list, str, int, float, bool or None (an empty void).

        Integers stay integers, enums become ``NAME (3)``, pointers hexadecimal text, ``char`` arrays text.
        """
        self._budget = self._max_values
        try:
            return self._value(type_id, data, 0, 0)
        except BtfError as problem:
            self.truncated = True
            return f"{MORE} {problem.message}"

    def _cut(self, why: str) -> str:
        self.truncated = True
        return f"{MORE} {why}"

    def _value(self, type_id: int, data: bytes, at: int, depth: int) -> object:
        self._budget -= 1
        if self._budget < 0:
            return self._cut("too many values")
        if depth > self._max_depth:
            return self._cut("too deep")
        record = self._btf.resolve(type_id)
        if record.kind in (Kind.STRUCT, Kind.UNION):
            return self._struct(record, data, at, depth)
        if record.kind == Kind.ARRAY:
            return self._array(record, data, at, depth)
        if record.kind == Kind.DATASEC:
            return self._datasec(record, data, at, depth)
        size = self._btf.size_of(record.id)
        if size == 0:
            return None if record.kind == Kind.VOID else f"<{record.kind.name.lower()} {record.name}>"
        raw = data[at : at + size]
        return self._scalar(record, raw) if len(raw) == size else self._cut("no bytes")

    def _scalar(self, record: TypeRecord, raw: bytes) -> object:
        number = int.from_bytes(raw, "little")
        if record.kind == Kind.PTR:
            return f"{number:#x}"
        if record.kind == Kind.FLOAT:
            decoder = _FLOATS.get(len(raw))
            return float(decoder.unpack(raw)[0]) if decoder else raw.hex()
        return self._number(record, number, 8 * len(raw))

    def _number(self, record: TypeRecord, number: int, bits: int) -> object:
        """An integer or enum of ``bits`` bits, given without its sign."""
        if record.kind in (Kind.ENUM, Kind.ENUM64):
            value = _signed(number, bits) if record.flag else number
            name = next((n for n, v in self._btf.enumerators(record.id) if v == value), None)
            return value if name is None else f"{name} ({value})"
        if record.kind != Kind.INT:
            return f"<{record.kind.name.lower()} {record.name}>"
        encoding = self._btf.int_encoding(record.id)[0]
        if encoding & INT_BOOL:
            return bool(number)
        value = _signed(number, bits) if encoding & INT_SIGNED else number
        return value if bits <= 64 else f"{value:#x}"

    def _struct(self, record: TypeRecord, data: bytes, at: int, depth: int) -> dict[str, object]:
        out: dict[str, object] = {}
        for member in self._btf.members(record.id):
            if self._budget < 0:
                out[MORE] = self._cut("too many values")
                break
            if member.bit_size or member.bit_offset % 8:
                value: object = self._bits(member.type_id, data, 8 * at + member.bit_offset, member.bit_size)
            else:
                value = self._value(member.type_id, data, at + member.bit_offset // 8, depth + 1)
            if member.name:
                out[member.name] = value
            elif isinstance(value, dict):
                out.update(value)
        return out

    def _bits(self, type_id: int, data: bytes, bit: int, width: int) -> object:
        record = self._btf.resolve(type_id)
        width = width or 8 * self._btf.size_of(record.id)
        raw = data[bit // 8 : (bit + width + 7) // 8]
        if len(raw) * 8 < width + bit % 8:
            return self._cut("no bytes")
        number = int.from_bytes(raw, "little") >> bit % 8 & ((1 << width) - 1)
        return self._number(record, number, width)

    def _array(self, record: TypeRecord, data: bytes, at: int, depth: int) -> object:
        element, count = self._btf.array_of(record.id)
        inner = self._btf.resolve(element)
        size = self._btf.size_of(element)
        if inner.kind == Kind.INT and size == 1 and inner.name == "char":
            return data[at : at + min(count, self._max_array)].partition(b"\0")[0].decode("utf-8", "replace")
        shown = min(count, self._max_array)
        if size:
            shown = min(shown, max(0, len(data) - at) // size)
        out = []
        for k in range(shown):
            if self._budget < 0:
                break
            out.append(self._value(element, data, at + k * size, depth + 1))
        if len(out) < count:
            out.append(self._cut(f"{count - len(out)} more"))
        return out

    def _datasec(self, record: TypeRecord, data: bytes, at: int, depth: int) -> dict[str, object]:
        out: dict[str, object] = {}
        for type_id, offset, _ in self._btf.section(record.id):
            variable = self._btf.record(type_id)
            inner = variable.size_or_type if variable.kind == Kind.VAR else type_id
            out[variable.name or f"+{offset:#x}"] = self._value(inner, data, at + offset, depth + 1)
        return out


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value
