"""Copies of kernel stacks: taken while the guest is frozen, unwound when it runs again."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import MappingProxyType

from ktstr_tui.kernel.address import KERNEL_HALF, AddressSpace
from ktstr_tui.kernel.memory import PAGE_BYTES, MemoryReadError
from ktstr_tui.kernel.orc import OrcRefused, RawFrame
from ktstr_tui.kernel.symbols import BpfSymbol, Symbols, describe_bpf
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.report import Stack, StackFrame

_U64 = struct.Struct("<Q")


class StackCopy:
    """Runs of stack memory, readable by word.

    Args:
        sp: The stack pointer at the stop.
        runs: ``(address, bytes)`` each.
    """

    __slots__ = ("runs", "sp")

    def __init__(self, sp: int, runs: list[tuple[int, bytes]]) -> None:
        self.sp = sp
        self.runs = runs

    def u64(self, address: int) -> int:
        """The word at ``address``; raises ``MemoryReadError`` when it was not copied."""
        for start, data in self.runs:
            if start <= address and address + 8 <= start + len(data):
                return int(_U64.unpack_from(data, address - start)[0])
        raise MemoryReadError(f"stack word at {address:#x} was not copied at the stop", address)

    def words_between(self, low: int, high: int) -> list[int]:
        """The words that may be addresses from ``low`` up to ``high``, which is excluded."""
        found = []
        for _, data in self.runs:
            found += [word for word in memoryview(data[: len(data) & ~7]).cast("Q") if low <= word < high]
        return found


def copy_stack(space: AddressSpace, sp: int, stack: int, size: int) -> StackCopy | None:
    """Copy from ``sp`` to the end of its stack; None for a user-mode stack pointer.

    A CPU in an interrupt is on another stack than its task's; then both are copied, the interrupt's as
    far as it is mapped, because from there the way leads back to the task's.

    Args:
        space: Where to read.
        sp: The stack pointer.
        stack: Lowest address of the task's stack.
        size: Bytes of a task's stack.
    """
    if sp < KERNEL_HALF:
        return None
    if stack <= sp < stack + size:
        return StackCopy(sp, [(sp, space.read(sp, stack + size - sp))])
    return StackCopy(sp, [(sp, _mapped(space, sp, size)), (stack, _mapped(space, stack, size))])


def _mapped(space: AddressSpace, start: int, size: int) -> bytes:
    """As much of ``size`` bytes as is mapped without a gap."""
    parts, at = [], start
    while at < start + size:
        part = min(start + size - at, PAGE_BYTES - at % PAGE_BYTES)
        try:
            parts.append(space.read(at, part))
        except MemoryReadError:
            break
        at += part
    return b"".join(parts)


def cpu_stack(
    view: KernelView,
    copy: StackCopy | None,
    registers: dict[str, int],
    bpf: tuple[BpfSymbol, ...],
    lines: Mapping[int, str] = MappingProxyType({}),
) -> Stack:
    """The stack of a vCPU from its registers and the copy taken at the stop.

    Args:
        view: The kernel.
        copy: Its stack.
        registers: Its registers.
        bpf: BPF programs.
        lines: Source lines of addresses in them.
    """
    unwinder = view.unwinder
    if isinstance(unwinder, OrcRefused):
        return Stack((), unwinder.message)
    if not {"rip", "rsp", "rbp"} <= registers.keys():
        return Stack((), "no registers")
    if copy is None and registers["rip"] >= KERNEL_HALF:
        return Stack((), "the stack pointer is not in the kernel")
    read = copy.u64 if copy else None
    frames, end = unwinder.unwind_registers(
        registers["rip"], registers["rsp"], registers["rbp"], registers, read
    )
    return _named(view.symbols, frames, end, bpf, lines)


def task_stack(view: KernelView, copy: StackCopy | None, bpf: tuple[BpfSymbol, ...]) -> Stack | None:
    """The stack of a task that was not running; None without a copy."""
    unwinder = view.unwinder
    if copy is None:
        return None
    if isinstance(unwinder, OrcRefused):
        return Stack((), unwinder.message)
    frames, end = unwinder.unwind_task(copy.sp, copy.u64)
    return _named(view.symbols, frames, end, bpf, {})


def _named(
    symbols: Symbols,
    frames: list[RawFrame],
    end: str,
    bpf: tuple[BpfSymbol, ...],
    lines: Mapping[int, str],
) -> Stack:
    named = []
    for frame in frames:
        name = symbols.describe(frame.address, exact=frame.exact) or describe_bpf(bpf, frame.address)
        named.append(StackFrame(frame.address, name, frame.guess, lines.get(frame.address)))
    return Stack(tuple(named), end)
