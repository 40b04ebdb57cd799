"""A drgn program over any memory that holds a kernel, without debug files.

The order matters: the note gives the page tables and kallsyms, kallsyms gives the bounds of BTF, BTF gives
types. The direct map and the image are also given to drgn as plain memory segments. Its own way, a walk of
five page table levels through a callback for each read, is right but many times slower; it stays in use for
vmalloc.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from drgn import (
    Architecture,
    FaultError,
    MissingDebugInfoError,
    Platform,
    PlatformFlags,
    Program,
)

from ktstr_tui.kernel.address import AddressSpace
from ktstr_tui.kernel.btf import MAX_BTF_BYTES, Btf
from ktstr_tui.kernel.finders import load_btf
from ktstr_tui.kernel.kallsyms import SymbolFinder, load_symbols
from ktstr_tui.kernel.memory import MemoryReadError, PhysicalMemory, RamImage
from ktstr_tui.kernel.vmcoreinfo import START_KERNEL_MAP, Vmcoreinfo, find_vmcoreinfo
from ktstr_tui.model.errors import GuestError

_PLATFORM = Platform(Architecture.X86_64, PlatformFlags.IS_LITTLE_ENDIAN | PlatformFlags.IS_64_BIT)
DIRECT_MAP = 0xFFFF888000000000
"""Where the direct map begins without CONFIG_RANDOMIZE_MEMORY (Documentation/arch/x86/x86_64/mm.rst)."""


class KernelNotFound(GuestError):
    """No kernel can be read in this memory, or not yet."""


@dataclass(frozen=True, slots=True)
class KernelParts:
    """A drgn program and what it was made of."""

    prog: Program
    info: Vmcoreinfo
    space: AddressSpace
    symbols: SymbolFinder
    btf: Btf


def open_program(memory: RamImage, vmcoreinfo: bytes | None = None) -> Program:
    """A drgn program over live RAM or a snapshot, typed from the kernel's own BTF.

    Args:
        memory: Guest-physical memory.
        vmcoreinfo: The kernel's note, when the caller has it already.

    Raises:
        KernelNotFound: If there is no note in memory, or its kernel has no kallsyms or no BTF.
    """
    return open_parts(memory, vmcoreinfo).prog


def open_parts(memory: RamImage, vmcoreinfo: bytes | None = None) -> KernelParts:
    """Like ``open_program``, with the parts that a ``KernelView`` needs besides."""
    note = vmcoreinfo if vmcoreinfo is not None else find_vmcoreinfo(memory)
    if note is None:
        raise KernelNotFound("there is no vmcoreinfo note in guest memory", "the kernel may not be up yet")
    info = Vmcoreinfo(note)
    prog = Program(_PLATFORM, vmcoreinfo=note)
    prog.add_memory_segment(0, memory.end, _reader(memory), physical=True)
    prog.set_linux_kernel_custom(note, True)
    early = AddressSpace(memory, info)
    image = _reader(memory, early.image_shift)
    prog.add_memory_segment(START_KERNEL_MAP, early.image_end - START_KERNEL_MAP, image)
    try:
        symbols = load_symbols(prog, early, info)
    except (LookupError, ValueError, FaultError, MissingDebugInfoError) as problem:
        raise KernelNotFound(
            f"kernel {info.release} has no readable kallsyms: {problem}",
            "build it with CONFIG_KALLSYMS_ALL=y",
        ) from problem
    prog.register_symbol_finder("kallsyms", symbols, enable_index=0)
    page_offset = _page_offset(prog, early)
    prog.add_memory_segment(page_offset, memory.end, _reader(memory, -page_offset))
    space = AddressSpace(memory, info, page_offset)
    btf = load_btf(prog, data=_kernel_btf(prog, space, info))
    return KernelParts(prog, info, space, symbols, btf)


def direct_map_of(memory: RamImage, vmcoreinfo: bytes) -> int:
    """Return where the direct map of all memory begins, as a virtual address.

    Raises:
        KernelNotFound: If there is no kernel in this memory.
    """
    return _page_offset(open_parts(memory, vmcoreinfo).prog, AddressSpace(memory, Vmcoreinfo(vmcoreinfo)))


def _reader(memory: PhysicalMemory, shift: int = 0) -> Callable[[int, int, int, bool], bytes]:
    """A callback for drgn that reads the addresses of a segment ``shift`` bytes away."""

    def read(address: int, count: int, _offset: int, _physical: bool) -> bytes:
        try:
            return memory.read(address + shift, count)
        except MemoryReadError as problem:
            raise FaultError(problem.message, problem.address) from problem

    return read


def _page_offset(prog: Program, early: AddressSpace) -> int:
    try:
        return early.u64(prog.symbol("page_offset_base").address)
    except LookupError:
        return DIRECT_MAP


def _kernel_btf(prog: Program, space: AddressSpace, info: Vmcoreinfo) -> bytes:
    try:
        start, stop = prog.symbol("__start_BTF").address, prog.symbol("__stop_BTF").address
    except LookupError as problem:
        hint = "build it with CONFIG_DEBUG_INFO_BTF=y"
        raise KernelNotFound(f"kernel {info.release} carries no BTF", hint) from problem
    if not 0 < stop - start <= MAX_BTF_BYTES:
        raise KernelNotFound(f"kernel {info.release} has implausible BTF bounds {start:#x}-{stop:#x}")
    return space.read(start, stop - start)
