"""kallsyms: the symbols of a kernel's image, read from its memory in a few pieces and unpacked in C.

drgn reads the same tables byte by byte, which through a callback of Python costs more than all else that opening a
kernel takes. What is found here is what drgn finds (a test compares every symbol), and a program asks it in the same
way. A kernel whose tables have another form is left to drgn (`load_symbols`).

The address of a symbol is made of an offset in one of three ways (kernel/kallsyms.c): relative to
``kallsyms_relative_base``; the same but for per-CPU variables, up to Linux 6.14; or relative to where the offset is,
when the kernel's note names no base. Which, the note's own ``_stext`` decides. kallsyms has no sizes: a symbol reaches
to the next address.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable
from typing import Final

from drgn import Program, Symbol, SymbolBinding, SymbolKind
from drgn.helpers.linux.kallsyms import load_vmlinux_kallsyms

from ktstr_tui._native import ffi, lib
from ktstr_tui.kernel.address import AddressSpace
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.vmcoreinfo import Vmcoreinfo

SymbolFinder = Callable[[Program | None, str | None, int | None, bool], list[Symbol]]
"""Finds symbols by name, by an address that they cover, or all; the first of them alone when the last is true."""

MAX_SYMBOLS: Final = 1 << 21
MAX_NAMES_BYTES: Final = 32 << 20
_TOKENS: Final = 256
_LONGEST_TOKEN: Final = 512
_USUAL_BYTES: Final = 64
"""Room for each unpacked name; a stock kernel's have 24 bytes on average."""
_GAP_BYTES: Final = 1 << 16
"""So far from the next symbol, one is not taken to reach to it, as in drgn."""
_WEAK: Final = "vwVW"
_DATA: Final = "srbgncd"


def load_symbols(prog: Program, space: AddressSpace, info: Vmcoreinfo) -> SymbolFinder:
    """Read the symbols of a kernel's image.

    Raises:
        LookupError, ValueError, FaultError, MissingDebugInfoError: It has none that can be read.
    """
    try:
        return KallsymsIndex(space, info)
    except (KeyError, ValueError, MemoryReadError):
        found: SymbolFinder = load_vmlinux_kallsyms(prog)
        return found


class KallsymsIndex:
    """The symbols of a kernel's image, as a program's symbol finder.

    Args:
        space: The kernel's memory.
        info: Its note.

    Raises:
        KeyError: The note does not say where the tables are.
        ValueError: They are not of the form that is known here.
        MemoryReadError: They cannot be read.
    """

    def __init__(self, space: AddressSpace, info: Vmcoreinfo) -> None:
        self._count = count = space.u32(info.symbol("kallsyms_num_syms"))
        if not 0 < count <= MAX_SYMBOLS:
            raise ValueError(f"a kernel of {count} symbols")
        self._unpack(space, info)
        self._hash()
        self._addresses = self._place(space, info)

    def __call__(
        self, _prog: Program | None, name: str | None, address: int | None, one: bool
    ) -> list[Symbol]:
        """Called by drgn, and by `Symbols`."""
        if name is not None:
            found = self._named(name, one and address is None)
            if address is not None:
                found = [at for at in found if self._covers(at, address)]
        elif address is not None:
            last = bisect_right(self._addresses, address) - 1
            found = [last] if last >= 0 and self._covers(last, address) else []
        else:
            found = list(range(self._count))
        return [self._symbol(at) for at in (found[:1] if one else found)]

    def _unpack(self, space: AddressSpace, info: Vmcoreinfo) -> None:
        names, tokens = info.symbol("kallsyms_names"), info.symbol("kallsyms_token_table")
        index = space.read(info.symbol("kallsyms_token_index"), 2 * _TOKENS)
        # The tables lie one behind the other, the markers between the names and the tokens.
        names_bytes = tokens - names
        if not 0 < names_bytes <= MAX_NAMES_BYTES:
            raise ValueError(f"names of {names_bytes} bytes")
        tokens_bytes = int.from_bytes(index[-2:], "little") + _LONGEST_TOKEN
        blobs = (space.read(names, names_bytes), space.read(tokens, tokens_bytes), index)
        views = [ffi.from_buffer("uint8_t[]", blob) for blob in blobs]
        packed = ffi.new(
            "struct ktk_packed *", [views[0], names_bytes, views[1], tokens_bytes, views[2], self._count]
        )
        self._starts = ffi.new("uint32_t[]", self._count)
        size = _USUAL_BYTES * self._count
        self._text = ffi.new("char[]", size)
        if not lib.ktk_unpack(packed, self._text, size, self._starts):
            # Longer names than a kernel has, or damaged ones, which the first look tells apart.
            size = lib.ktk_unpack(packed, ffi.NULL, 0, ffi.NULL)
            self._text = ffi.new("char[]", size)
            if not size or not lib.ktk_unpack(packed, self._text, size, self._starts):
                raise ValueError("names that cannot be unpacked")

    def _hash(self) -> None:
        slots = 1 << self._count.bit_length()
        self._heads, self._next = ffi.new("uint32_t[]", slots), ffi.new("uint32_t[]", self._count)
        parts = [self._text, self._starts, self._heads, self._next]
        self._names = ffi.new("struct ktk_names *", [*parts, self._count, slots - 1])
        lib.ktk_hash(self._names)

    def _place(self, space: AddressSpace, info: Vmcoreinfo) -> array[int]:
        where, stext = info.symbol("kallsyms_offsets"), info.symbol("_stext")
        offsets = ffi.from_buffer("int32_t[]", space.read(where, 4 * self._count))
        known = self._named("_stext", True)
        if not known:
            raise ValueError("no symbol _stext")
        ways = [(where, lib.KTK_PLACE)]
        if (base := info.find_symbol("kallsyms_relative_base")) is not None:
            ways = [(space.u64(base), lib.KTK_RELATIVE), (space.u64(base), lib.KTK_PERCPU)]
        for start, how in ways:
            addresses = array("Q", bytes(8 * self._count))
            view = ffi.from_buffer("uint64_t[]", addresses)
            placed = lib.ktk_place(offsets, self._count, start, how, view) == 0
            ffi.release(view)
            if placed and addresses[known[0]] == stext:
                return addresses
        raise ValueError("_stext is not where the note says")

    def _named(self, name: str, one: bool) -> list[int]:
        wanted = name.encode()
        found: list[int] = []
        at = lib.ktk_find(self._names, wanted, len(wanted), -1)
        while at >= 0:
            found.append(at)
            if one:
                break
            at = lib.ktk_find(self._names, wanted, len(wanted), at)
        return found

    def _size(self, at: int) -> int:
        """To the next symbol, which is 0 for all but the last one of an address; 0, too, where a gap follows."""
        size = self._addresses[at + 1] - self._addresses[at] if at + 1 < self._count else 0
        return size if size < _GAP_BYTES else 0

    def _covers(self, at: int, address: int) -> bool:
        return self._addresses[at] <= address < self._addresses[at] + self._size(at)

    def _symbol(self, at: int) -> Symbol:
        text = ffi.string(self._text + self._starts[at]).decode("utf-8", "replace")
        return Symbol(text[1:], self._addresses[at], self._size(at), *_KINDS[text[0]])


def _meaning(code: str) -> tuple[SymbolBinding, SymbolKind]:
    """What a type of nm(1) says, as drgn has it."""
    kind = SymbolKind.UNKNOWN
    if code in "vV":
        kind = SymbolKind.OBJECT
    elif code in "tT":
        kind = SymbolKind.FUNC
    elif code.lower() in _DATA:
        kind = SymbolKind.OBJECT
    if code in _WEAK:
        return SymbolBinding.WEAK, kind
    return (SymbolBinding.GLOBAL if code.isupper() else SymbolBinding.UNKNOWN), kind


class _Kinds(dict[str, tuple[SymbolBinding, SymbolKind]]):
    def __missing__(self, code: str) -> tuple[SymbolBinding, SymbolKind]:
        found = self[code] = _meaning(code)
        return found


_KINDS = _Kinds()
