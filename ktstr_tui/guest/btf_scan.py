"""One question to a raw BTF blob: is there a struct of this name, with a member of that name?

The kernel room has the whole reader, over live memory and with drgn's types. Choosing a kernel needs this
little, before anything is booted, so it is read here in one pass without building anything.
"""

from __future__ import annotations

import struct

_MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_STRUCT = 4
_TRAILER_BYTES = {1: 4, 3: 12, 14: 4, 17: 4}
"""Bytes behind the common part, by kind: INT, ARRAY, VAR, DECL_TAG."""
_MEMBER_BYTES = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}
"""Bytes for each member, by kind: STRUCT, UNION, ENUM, FUNC_PROTO, DATASEC, ENUM64."""


def has_struct_member(btf: bytes, struct_name: str, member: str | None) -> bool:
    """Whether BTF describes ``struct struct_name`` and, unless None, a direct ``member`` of it.

    False also for a blob that is damaged.
    """
    try:
        return _scan(btf, struct_name.encode(), None if member is None else member.encode())
    except (struct.error, ValueError):
        return False


def _scan(btf: bytes, struct_name: bytes, member: bytes | None) -> bool:
    magic, _, _, header, type_at, type_size, string_at, string_size = _HEADER.unpack_from(btf)
    if magic != _MAGIC:
        return False
    strings = btf[header + string_at : header + string_at + string_size]
    # Names are stored once, so comparing their offsets compares the names.
    wanted = _offset(strings, struct_name)
    wanted_member = None if member is None else _offset(strings, member)
    position, end = header + type_at, header + type_at + type_size
    while position < end:
        name, info, _ = _TYPE.unpack_from(btf, position)
        kind, count = info >> 24 & 31, info & 0xFFFF
        position += _TYPE.size
        if kind == _STRUCT and name == wanted:
            if wanted_member is None:
                return True
            members = (struct.unpack_from("<I", btf, position + 12 * i)[0] for i in range(count))
            if wanted_member in members:
                return True
        position += _TRAILER_BYTES.get(kind, 0) + _MEMBER_BYTES.get(kind, 0) * count
    return False


def _offset(strings: bytes, name: bytes) -> int:
    return strings.index(b"\0" + name + b"\0") + 1
