"""Where a write may land: the last check before memory of a kernel is changed.

A kernel protects its code and its constants by page tables, and a write from outside passes by all of them. So
they are asked here: a page that the kernel itself may not write to, or that it may execute (its own text, a
module's, what BPF compiled), is not written to. That is not enough by itself, because one physical page can be
mapped twice, as text is in the image and in the direct map; so the physical ranges of text and of read-only
data are refused whatever the address that leads there.
"""

from __future__ import annotations

from typing import NamedTuple

from ktstr_tui.kernel.address import KERNEL_HALF, MASK64, AddressSpace
from ktstr_tui.kernel.memory import PAGE_BYTES, MemoryReadError
from ktstr_tui.kernel.symbols import Symbols
from ktstr_tui.model.errors import UsageError

_READ_ONLY = (
    ("_stext", "_etext", "kernel text"),
    ("__start_rodata", "__end_rodata", "read-only data of the kernel"),
)


class WriteRefused(UsageError):
    """A write that must not happen; nothing was changed by it."""


class Run(NamedTuple):
    """Contiguous guest-physical memory."""

    physical: int
    length: int


class _ReadOnly(NamedTuple):
    start: int
    end: int
    what: str


class WriteGuard:
    """Decides where may be written.

    Args:
        symbols: The kernel's kallsyms.
        space: Its memory, to find out where its text lies.

    Raises:
        WriteRefused: The bounds of its text or its read-only data are not known.
    """

    def __init__(self, symbols: Symbols, space: AddressSpace) -> None:
        self._read_only = [_bounds(symbols, space, *names) for names in _READ_ONLY]

    def runs(self, space: AddressSpace, address: int, length: int) -> list[Run]:
        """Where the bytes at a kernel address lie in guest-physical memory.

        Args:
            space: Memory with no remembered translations.
            address: Where to write.
            length: How many bytes.

        Raises:
            WriteRefused: They must not be written to; the message says why.
        """
        if address < KERNEL_HALF or address + length - 1 > MASK64:
            raise WriteRefused(f"{address:#x} is not an address of the kernel")
        found: list[Run] = []
        at, end = address, address + length
        while at < end:
            part = min(end - at, PAGE_BYTES - at % PAGE_BYTES)
            found.append(self._run(space, at, part))
            at += part
        return found

    def _run(self, space: AddressSpace, address: int, length: int) -> Run:
        # Within one page.
        try:
            page = space.walk(address & -PAGE_BYTES)
        except MemoryReadError as problem:
            raise WriteRefused(problem.message) from problem
        start = page.frame + address % PAGE_BYTES
        for low, high, what in self._read_only:
            if start < high and start + length > low:
                raise WriteRefused(f"{address:#x} is {what}")
        if page.executable:
            raise WriteRefused(f"{address:#x} is code: the kernel may execute that page")
        if not page.writable:
            raise WriteRefused(f"{address:#x} is read-only: the kernel itself may not write to that page")
        try:
            space.memory.read(start, length)
        except MemoryReadError as problem:
            raise WriteRefused(problem.message) from problem
        return Run(start, length)


def _bounds(symbols: Symbols, space: AddressSpace, start: str, end: str, what: str) -> _ReadOnly:
    low, high = symbols.find(start), symbols.find(end)
    if low is None or high is None or low >= high:
        raise WriteRefused(f"where this kernel has its {what} is not known ({start} to {end})")
    return _ReadOnly(space.physical(low), space.physical(high - 1) + 1, what)
