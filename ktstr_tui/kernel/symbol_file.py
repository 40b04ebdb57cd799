"""A file that names the kernel's addresses for debuggers: an ELF with a symbol table and no code.

It is made of kallsyms as this boot has it, so the addresses are those of the running kernel whatever KASLR did. Named
are also JIT-compiled BPF code and the variables of the scheduler that is loaded, as in its source; where the kernel has
something of that name, with ``.bpf`` behind it. Its sections say only where code is and where data is: what is there a
debugger reads from the guest. How frames are unwound is in it (`frame_table`); there are no types and no lines.

How exact is this? BPF code and variables that are loaded later are not in it, nor is the code of modules. A symbol of
the kernel's image reaches to the next one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from drgn import SymbolKind

from ktstr_tui.kernel.btf import BtfError
from ktstr_tui.kernel.frame_table import make_frame_table
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.orc import Unwinder
from ktstr_tui.kernel.scheduler_values import SchedulerValuesReader, VariablePlace
from ktstr_tui.kernel.symbols import BpfSymbols, Symbols
from ktstr_tui.kernel.view import KernelView

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_IDENT = b"\x7fELF\x02\x01\x01" + bytes(9)
_ET_EXEC, _EM_X86_64 = 2, 62
_SHT_PROGBITS, _SHT_SYMTAB, _SHT_STRTAB, _SHT_NOBITS = 1, 2, 3, 8
_WRITE, _ALLOC, _EXECUTE = 1, 2, 4
_SHN_ABS = 0xFFF1
_LOCAL, _GLOBAL = 0 << 4, 1 << 4
_NOTYPE, _OBJECT, _FUNC = 0, 1, 2


class Section(NamedTuple):
    """A range of addresses that holds code or data."""

    name: str
    start: int
    end: int
    code: bool


class Name(NamedTuple):
    """A symbol."""

    name: str
    address: int
    size: int
    code: bool | None
    """Whether it is a function; None when that is not known."""


def make_symbol_file(view: KernelView) -> bytes:
    """Make the file for a kernel; some tenths of a second for a stock one.

    Raises:
        LookupError: kallsyms lacks the bounds of the kernel's text.
    """
    symbols = view.symbols
    names = list(_image_names(symbols))
    sections = [
        Section(".text", symbols.address("_text"), symbols.address("_etext"), True),
        Section(".data", symbols.address("_etext"), symbols.address("_end"), False),
    ]
    bpf = BpfSymbols(view.btf, symbols).read(view.fresh_space())
    if bpf:
        sections.append(Section(".bpf", bpf[0].start, max(it.end for it in bpf), True))
        names += [Name(it.name, it.start, it.end - it.start, True) for it in bpf]
    names += variable_names(_variables(view), [it.name for it in names])
    unwinder, frames = view.unwinder, b""
    if isinstance(unwinder, Unwinder):
        jit = (sections[-1].start, sections[-1].end) if bpf else None
        frames = make_frame_table(unwinder.rows(), unwinder.end, unwinder.numbers, jit)
    return encode_elf(sections, names, frames)


def encode_elf(sections: list[Section], names: Iterable[Name], frames: bytes = b"") -> bytes:
    """Encode an ELF file with these sections, none of which has content, these symbols, and how frames are unwound."""
    strings, table = bytearray(b"\0"), [bytes(_SYMBOL.size)]
    for name in sorted(names, key=lambda it: it.address):
        within = next((k for k, it in enumerate(sections, 1) if it.start <= name.address < it.end), _SHN_ABS)
        kind = _NOTYPE if name.code is None else _FUNC if name.code else _OBJECT
        info = _GLOBAL | kind
        table.append(_SYMBOL.pack(len(strings), info, 0, within, name.address, name.size))
        strings += name.name.encode("utf-8", "replace").replace(b"\0", b"?") + b"\0"
    return _assemble(sections, b"".join(table), bytes(strings), frames)


def _assemble(sections: list[Section], table: bytes, strings: bytes, frames: bytes) -> bytes:
    labels = bytearray(b"\0")

    def label(text: str) -> int:
        labels.extend(text.encode() + b"\0")
        return len(labels) - len(text) - 1

    headers = [bytes(_SECTION.size)]
    for it in sections:
        flags = _ALLOC | (_EXECUTE if it.code else _WRITE)
        headers.append(
            _SECTION.pack(
                label(it.name), _SHT_NOBITS, flags, it.start, _HEADER.size, it.end - it.start, 0, 0, 16, 0
            )
        )
    at, first_global = _HEADER.size, 1
    symbols_at, strings_at = at, at + len(table)
    strings_index = len(sections) + 2
    for text, kind, offset, size, link, info, entry in (
        (".symtab", _SHT_SYMTAB, symbols_at, len(table), strings_index, first_global, _SYMBOL.size),
        (".strtab", _SHT_STRTAB, strings_at, len(strings), 0, 0, 0),
    ):
        headers.append(_SECTION.pack(label(text), kind, 0, 0, offset, size, link, info, 8, entry))
    frames_at = strings_at + len(strings)
    headers.append(
        _SECTION.pack(label(".debug_frame"), _SHT_PROGBITS, 0, 0, frames_at, len(frames), 0, 0, 8, 0)
    )
    labels_at = frames_at + len(frames)
    own = label(".shstrtab")
    headers.append(_SECTION.pack(own, _SHT_STRTAB, 0, 0, labels_at, len(labels), 0, 0, 1, 0))
    headers_at = labels_at + len(labels)
    header = _HEADER.pack(
        _IDENT, _ET_EXEC, _EM_X86_64, 1, 0, 0, headers_at, 0, _HEADER.size, 0, 0,
        _SECTION.size, len(headers), len(headers) - 1,
    )  # fmt: skip
    return b"".join((header, table, strings, frames, bytes(labels), *headers))


def variable_names(places: Iterable[VariablePlace], taken: Iterable[str]) -> list[Name]:
    """Name the variables of a scheduler; those of which the kernel has the name already get ``.bpf`` behind it."""
    kernel = set(taken)
    return [
        Name(f"{it.name}.bpf" if it.name in kernel else it.name, it.address, it.size, False) for it in places
    ]


def _variables(view: KernelView) -> list[VariablePlace]:
    """Those of the scheduler; none where there is none, or its memory cannot be read just now."""
    with suppress(BtfError, MemoryReadError):
        return list(SchedulerValuesReader(view).places())
    return []


def _image_names(symbols: Symbols) -> Iterable[Name]:
    functions = (SymbolKind.FUNC, SymbolKind.IFUNC)
    for it in symbols.all():
        code = True if it.kind in functions else False if it.kind == SymbolKind.OBJECT else None
        yield Name(it.name, it.address, it.size, code)
