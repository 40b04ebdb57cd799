"""Hand-made BTF and hand-made kernels for tests that need to know every byte."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from drgn import Symbol, SymbolBinding, SymbolIndex, SymbolKind

from ktstr_tui.kernel.address import AddressSpace
from ktstr_tui.kernel.btf import Kind
from ktstr_tui.kernel.memory import OutOfRange
from ktstr_tui.kernel.symbols import Symbols
from ktstr_tui.kernel.vmcoreinfo import START_KERNEL_MAP, Vmcoreinfo

PAGE_OFFSET = 0xFFFF888000000000
IMAGE = START_KERNEL_MAP
NOTE = (
    b"OSRELEASE=6.99.0-test\nSYMBOL(init_uts_ns)=ffffffff80001000\nOFFSET(uts_namespace.name)=0\n"
    b"SYMBOL(swapper_pg_dir)=ffffffff80008000\nNUMBER(phys_base)=0\nNUMBER(pgtable_l5_enabled)=0\n"
)


class BlobBuilder:
    """Writes BTF type by type; every method returns the new type's id.

    Args:
        first_id: Id of the first type; for split BTF one past the base's last.
        first_string: Offset of the first string; for split BTF the length of the base's table.
    """

    def __init__(self, first_id: int = 1, first_string: int = 0) -> None:
        self._types = bytearray()
        self._first_string = first_string
        self._strings = bytearray(b"\0" if first_string == 0 else b"")
        self._next = first_id

    def string(self, text: str) -> int:
        """Offset of a string."""
        if not text:
            return 0
        at = self._strings.find(b"\0" + text.encode() + b"\0")
        if at >= 0:
            return self._first_string + at + 1
        at = len(self._strings)
        self._strings += text.encode() + b"\0"
        return self._first_string + at

    def add(
        self, kind: int, name: str, size: int, words: list[int], vlen: int = 0, flag: bool = False
    ) -> int:
        """A type record of any kind."""
        info = kind << 24 | vlen | (1 << 31 if flag else 0)
        self._types += struct.pack("<III", self.string(name), info, size)
        self._types += struct.pack(f"<{len(words)}I", *(w & 0xFFFFFFFF for w in words))
        self._next += 1
        return self._next - 1

    def integer(self, name: str, size: int, encoding: int = 0) -> int:
        """An integer type; encoding 1 is signed, 4 bool."""
        return self.add(Kind.INT, name, size, [encoding << 24 | size * 8])

    def pointer(self, target: int) -> int:
        """A pointer."""
        return self.add(Kind.PTR, "", target, [])

    def array(self, element: int, count: int) -> int:
        """An array."""
        return self.add(Kind.ARRAY, "", 0, [element, element, count])

    def compound(
        self, name: str, size: int, members: list[tuple[str, int, int]], kind: Kind = Kind.STRUCT
    ) -> int:
        """A struct of ``(name, type, byte offset)``."""
        words = [w for n, t, at in members for w in (self.string(n), t, 8 * at)]
        return self.add(kind, name, size, words, len(members))

    def bit_fields(self, name: str, size: int, members: list[tuple[str, int, int, int]]) -> int:
        """A struct of ``(name, type, bit offset, bit size)``."""
        words = [w for n, t, at, bits in members for w in (self.string(n), t, bits << 24 | at)]
        return self.add(Kind.STRUCT, name, size, words, len(members), flag=True)

    def enum(self, name: str, rows: list[tuple[str, int]], signed: bool = False) -> int:
        """A four-byte enum."""
        words = [w for n, v in rows for w in (self.string(n), v)]
        return self.add(Kind.ENUM, name, 4, words, len(rows), flag=signed)

    def enum64(self, name: str, rows: list[tuple[str, int]]) -> int:
        """An eight-byte unsigned enum."""
        words = [w for n, v in rows for w in (self.string(n), v & 0xFFFFFFFF, v >> 32)]
        return self.add(Kind.ENUM64, name, 8, words, len(rows))

    def wrap(self, kind: Kind, name: str, target: int) -> int:
        """A typedef, qualifier or tag."""
        return self.add(kind, name, target, [])

    def variable(self, name: str, target: int) -> int:
        """A global variable."""
        return self.add(Kind.VAR, name, target, [1])

    def section(self, name: str, size: int, rows: list[tuple[int, int, int]]) -> int:
        """A data section of ``(variable, offset, size)``."""
        return self.add(Kind.DATASEC, name, size, [w for row in rows for w in row], len(rows))

    def build(self) -> bytes:
        """The blob."""
        types, strings = bytes(self._types), bytes(self._strings)
        header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
        return header + types + strings


class FakeMemory:
    """A megabyte of physical memory that may change under its reader.

    Args:
        size: Bytes of it.
    """

    def __init__(self, size: int = 1 << 20) -> None:
        self.data = bytearray(size)
        self.reads = 0
        self.on_read: Callable[[int], None] | None = None
        """Called with the number of each read before it happens."""

    @property
    def end(self) -> int:
        """One past the last address."""
        return len(self.data)

    def read(self, phys: int, n: int) -> bytes:
        """As ``GuestRam.read``."""
        self.reads += 1
        if self.on_read is not None:
            self.on_read(self.reads)
        if phys < 0 or phys + n > len(self.data):
            raise OutOfRange(f"{phys:#x} is outside", phys)
        return bytes(self.data[phys : phys + n])

    def u64(self, phys: int) -> int:
        """As ``GuestRam.u64``."""
        return int.from_bytes(self.read(phys, 8), "little")

    def data_ranges(self) -> Iterator[tuple[int, int]]:
        """All of it."""
        yield 0, len(self.data)

    def put(self, address: int, value: int, size: int = 8) -> None:
        """Write a number at a virtual address of the direct map or the image."""
        at = address - (PAGE_OFFSET if address < IMAGE else IMAGE)
        self.data[at : at + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")

    def put_bytes(self, address: int, value: bytes) -> None:
        """Write bytes at a virtual address of the direct map or the image."""
        at = address - (PAGE_OFFSET if address < IMAGE else IMAGE)
        self.data[at : at + len(value)] = value

    def space(self, note: bytes = NOTE) -> AddressSpace:
        """This memory by virtual address: the image and the direct map both begin at physical 0."""
        return AddressSpace(self, Vmcoreinfo(note), PAGE_OFFSET)


def symbol_index(**addresses: int) -> SymbolIndex:
    """What drgn makes of kallsyms, with these symbols, 16 bytes each."""
    return SymbolIndex(
        [
            Symbol(name, address, 16, SymbolBinding.GLOBAL, SymbolKind.OBJECT)
            for name, address in addresses.items()
        ]
    )


def symbols(**addresses: int) -> Symbols:
    """kallsyms with these symbols, 16 bytes each."""
    return Symbols(symbol_index(**addresses))
