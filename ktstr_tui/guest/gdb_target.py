"""Registers as the gdb stub's target description lays them out.

QEMU says by XML which registers the ``g`` packet holds, in which order and how wide. Reading that, instead of
assuming gdb's i386 table, gives the control registers and segment bases too, and survives QEMU versions that
add registers.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable

from ktstr_tui.guest.engine import Registers
from ktstr_tui.model.errors import InternalError

# QEMU does not declare the prefix, which makes its document no proper XML.
_INCLUDE = re.compile(r'<xi:include\s+href="([^"]+)"\s*/>')


class RegisterLayout:
    """Byte ranges of the `Registers` in a ``g`` packet.

    Args:
        fields: Name to (offset, size), both in bytes.

    Raises:
        InternalError: A register is not described.
    """

    def __init__(self, fields: dict[str, tuple[int, int]]) -> None:
        missing = [name for name in Registers.__struct_fields__ if name not in fields]
        if missing:
            raise InternalError(f"QEMU's gdb stub does not describe the registers {', '.join(missing)}")
        self._fields = [fields[name] for name in Registers.__struct_fields__]
        self.length_bytes = max(offset + size for offset, size in self._fields)

    def decode(self, packet: bytes) -> Registers:
        """Read the registers.

        Raises:
            ValueError: The packet is too short.
        """
        if len(packet) < self.length_bytes:
            raise ValueError(f"{len(packet)} bytes, {self.length_bytes} are described")
        values = (int.from_bytes(packet[offset : offset + size], "little") for offset, size in self._fields)
        return Registers(*values)


def includes(document: str) -> list[str]:
    """Names of the documents that a target description includes."""
    return _INCLUDE.findall(document)


def parse_features(documents: Iterable[str]) -> RegisterLayout:
    """The layout that the given documents, in the order of inclusion, describe.

    Raises:
        InternalError: They are not XML, or lack a register.
    """
    fields: dict[str, tuple[int, int]] = {}
    numbered: dict[int, tuple[str, int]] = {}
    number = 0
    for document in documents:
        for node in _parse(document).iter("reg"):
            number = int(node.get("regnum", number))
            numbered[number] = (node.get("name", ""), int(node.get("bitsize", "0")) // 8)
            number += 1
    offset = 0
    for number in sorted(numbered):
        name, size = numbered[number]
        fields[name] = (offset, size)
        offset += size
    return RegisterLayout(fields)


def _parse(document: str) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(_INCLUDE.sub("", document))
    except ElementTree.ParseError as error:
        raise InternalError(f"QEMU's target description is not XML: {error}") from error
