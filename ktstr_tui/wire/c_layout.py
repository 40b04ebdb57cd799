"""Read C structures many at a time: the layout comes from cffi, so that no format string repeats a header."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ktstr_tui._native import ffi
from ktstr_tui.model.errors import InternalError

if TYPE_CHECKING:
    from ktstr_tui._native import CType

_CODES = {
    "uint8_t": "B",
    "uint16_t": "H",
    "int32_t": "i",
    "uint32_t": "I",
    "int64_t": "q",
    "uint64_t": "Q",
}


def c_struct(name: str, *members: str) -> struct.Struct:
    """Make the unpacker of a structure's members; what lies between and behind them is skipped.

    Args:
        name: The C type.
        members: Their names, in the order of their places; those of a structure inside as ``outer.inner``.

    Raises:
        InternalError: The members are not in order, or one is of a type that this cannot read.
    """
    codes, at = ["<"], 0
    for member in members:
        offset, ctype = _find(name, member)
        if offset < at:
            raise InternalError(f"{name}.{member} lies before the member named in front of it")
        codes += ["x" * (offset - at), _code(ctype)]
        at = offset + ffi.sizeof(ctype)
    return struct.Struct("".join([*codes, "x" * (ffi.sizeof(name) - at)]))


def _find(name: str, member: str) -> tuple[int, CType]:
    ctype, offset = ffi.typeof(name), 0
    for part in member.split("."):
        field = dict(ctype.fields)[part]
        ctype, offset = field.type, offset + field.offset
    return offset, ctype


def _code(ctype: CType) -> str:
    if ctype.kind == "array" and ctype.item.cname == "uint8_t":
        return f"{ctype.length}s"
    if ctype.cname not in _CODES:
        raise InternalError(f"no member of type {ctype.cname} can be read")
    return _CODES[ctype.cname]
