"""Names of kernel addresses and addresses of kernel names, BPF's JIT-compiled code included.

The image's symbols come from kallsyms (`kernel.kallsyms`), which has no sizes: a symbol reaches to the next one.
Several static symbols may share a name.

JIT-compiled code is not in it. Mirrors ``struct bpf_ksym`` (include/linux/bpf.h): the list ``bpf_kallsyms``
(kernel/bpf/core.c) links all programs, trampolines and dispatchers with their bounds.

How exact is this? The list is read without its lock; a program that is loaded or freed meanwhile may be missing, and a
name may be that of code which is gone. An address that is in no range has no name, rather than a wrong one.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from drgn import Symbol

from ktstr_tui.kernel.address import KERNEL_HALF, AddressSpace
from ktstr_tui.kernel.btf import Btf
from ktstr_tui.kernel.kallsyms import SymbolFinder
from ktstr_tui.kernel.layout import Layout
from ktstr_tui.kernel.memory import MemoryReadError

MAX_BPF_SYMBOLS = 1024
_MAX_REMEMBERED = 65536


class BpfSymbol(NamedTuple):
    """A piece of JIT-compiled code: a program, a trampoline or a dispatcher."""

    start: int
    end: int
    name: str
    ksym: int = 0
    """Address of the ``struct bpf_ksym`` of a program; 0 for other code."""


class Symbols:
    """kallsyms, with answers remembered: a capture asks for the same few dozen names.

    Args:
        index: The symbols of the kernel's image.
    """

    def __init__(self, index: SymbolFinder) -> None:
        self.index = index
        """Those of the kernel's image."""
        self._addresses: dict[str, int | None] = {}
        self._names: dict[int, str | None] = {}

    def find(self, name: str) -> int | None:
        """Return the address of a symbol, or None where this kernel has none of that name."""
        if name not in self._addresses:
            found = self.index(None, name, None, True)
            self._addresses[name] = found[0].address if found else None
        return self._addresses[name]

    def address(self, name: str) -> int:
        """Do as ``find``; raises ``LookupError`` when there is none."""
        found = self.find(name)
        if found is None:
            raise LookupError(f"this kernel has no symbol {name}")
        return found

    def find_all(self, name: str) -> list[int]:
        """Return the addresses of all symbols of a name: static ones of several files may share it."""
        return sorted({found.address for found in self.index(None, name, None, False)})

    def room(self, name: str) -> int | None:
        """Return the bytes from a symbol to the next one, which its object cannot exceed; None if unknown."""
        found = self.index(None, name, None, True)
        return found[0].size or None if found else None

    def all(self) -> list[Symbol]:
        """Return all symbols of the image, in no order."""
        return list(self.index(None, None, None, False))

    def names(self) -> set[str]:
        """Return all names; computed at each call (20 ms for a stock kernel)."""
        return {found.name for found in self.all()}

    def describe(self, address: int, *, exact: bool = True) -> str | None:
        """Return ``name+0xoffset``, or None when no symbol covers the address.

        Args:
            address: A code address.
            exact: False for a return address: the function is the one that holds the call before it, and may
                end there when what it called never returns.
        """
        key = address if exact else ~address
        if key not in self._names:
            found = self.index(None, None, address if exact else address - 1, True)
            text = f"{found[0].name}+{address - found[0].address:#x}" if found else None
            if len(self._names) > _MAX_REMEMBERED:
                self._names.clear()
            self._names[key] = text
        return self._names[key]


class BpfSymbols:
    """Names of JIT-compiled code, as the kernel itself lists them (``bpf_kallsyms``).

    Args:
        btf: The kernel's BTF.
        symbols: Its kallsyms.
    """

    def __init__(self, btf: Btf, symbols: Symbols) -> None:
        self._head = symbols.find("bpf_kallsyms")
        paths = {"start": "start", "end": "end", "name": "name", "next": "lnode.next", "prog": "prog"}
        self._layout = Layout(btf, "bpf_ksym", paths)
        self._node = self._layout.offset("lnode")

    def read(self, space: AddressSpace) -> tuple[BpfSymbol, ...]:
        """Read all of them, sorted by address; what was read so far when the list ends in garbage."""
        found: list[BpfSymbol] = []
        if self._head is None:
            return ()
        try:
            node = space.u64(self._head)
            while node != self._head and node >= KERNEL_HALF and len(found) < MAX_BPF_SYMBOLS:
                row = self._layout.read(space, node - self._node)
                name = row["name"].partition(b"\0")[0].decode("ascii", "replace")
                ksym = node - self._node if row["prog"] else 0
                found.append(BpfSymbol(row["start"], row["end"], name, ksym))
                node = row["next"]
        except MemoryReadError:
            pass
        return tuple(sorted(found))


def find_bpf(symbols: tuple[BpfSymbol, ...], address: int) -> BpfSymbol | None:
    """Return the JIT-compiled code that holds an address, or None."""
    at = bisect_right(symbols, (address, 1 << 64, "")) - 1
    return symbols[at] if at >= 0 and symbols[at].start <= address < symbols[at].end else None


def describe_bpf(symbols: tuple[BpfSymbol, ...], address: int) -> str | None:
    """``name+0xoffset`` of JIT-compiled code, or None when the address is in none of it."""
    found = find_bpf(symbols, address)
    return None if found is None else f"{found.name}+{address - found.start:#x}"
