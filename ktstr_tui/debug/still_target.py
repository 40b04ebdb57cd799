"""A guest at one instant, for a debugger: its registers and the kernel's memory, and nothing that changes them.

What gdb is told of the registers is made here: those that a capture keeps, by name, the x87 registers, which gdb wants
of every x86 and which are not kept, as unavailable. Memory is read through the kernel's own page tables, so addresses
of user space lead nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import trio

from ktstr_tui.capture.debug_access import Resume
from ktstr_tui.capture.stop.debugger import DebuggerStop
from ktstr_tui.capture.watch.debugger_points import Point
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.model.errors import UsageError

ReadMemory = Callable[[int, int], bytes]
"""Reads bytes at a kernel address; raises `MemoryReadError` where there is none."""
_GENERAL = (
    "rax",
    "rbx",
    "rcx",
    "rdx",
    "rsi",
    "rdi",
    "rbp",
    "rsp",
    *(f"r{number}" for number in range(8, 16)),
)
_SEGMENTS = ("cs", "ss", "ds", "es", "fs", "gs")
_X87 = ("fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop")
_MACHINE = ("fs_base", "gs_base", "k_gs_base", "cr0", "cr2", "cr3", "cr4", "cr8", "efer")
_SIZES: dict[str, int] = {
    **dict.fromkeys((*_GENERAL, "rip"), 8),
    **dict.fromkeys(("eflags", *_SEGMENTS), 4),
    **dict.fromkeys((f"st{number}" for number in range(8)), 10),
    **dict.fromkeys(_X87, 4),
    **dict.fromkeys(_MACHINE, 8),
}
"""Bytes of each register, in gdb's order."""
_TYPES = {"rip": "code_ptr", "rsp": "data_ptr", "rbp": "data_ptr"}
_MEMORY = re.compile(r"m([0-9a-f]+),([0-9a-f]+)", re.IGNORECASE)


def _describe_registers() -> str:
    def of(names: Sequence[str]) -> str:
        kinds = ((name, "i387_ext" if name[:2] == "st" else f"int{_SIZES[name] * 8}") for name in names)
        return "".join(
            f'<reg name="{name}" bitsize="{_SIZES[name] * 8}" type="{_TYPES.get(name, kind)}"/>'
            for name, kind in kinds
        )

    core = of([name for name in _SIZES if name not in _MACHINE])
    return (
        '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target><architecture>i386:x86-64</architecture>'
        f'<feature name="org.gnu.gdb.i386.core">{core}</feature>'
        f'<feature name="org.ktstr.machine">{of(_MACHINE)}</feature></target>'
    )


class StillTarget:
    """A guest that does not run.

    Args:
        registers: Of each vCPU, by name; those that are missing are unavailable.
        describe: What a vCPU did; must not raise.
        read: Reads memory. Blocks.
        how_on: What to do for a guest that runs.
    """

    description: Mapping[str, str] = {"target.xml": _describe_registers()}

    def __init__(
        self,
        registers: Sequence[Mapping[str, int]],
        describe: Callable[[int], str],
        read: ReadMemory,
        how_on: str,
    ) -> None:
        self.describe = describe
        self._registers = registers
        self._read = read
        self._how_on = how_on

    @property
    def vcpus(self) -> int:
        """How many there are."""
        return len(self._registers)

    async def wait_stop(self) -> DebuggerStop:
        """Wait for ever: it has stopped before."""
        await trio.sleep_forever()
        raise AssertionError

    async def interrupt(self) -> None:
        """Do nothing: it does not run."""

    async def resume(self, how: Resume) -> None:
        """Refuse."""
        raise self._refusal("nothing runs in it")

    async def ask(self, vcpu: int, request: str) -> str:
        """Answer from what was kept.

        Raises:
            KtstrError: A page of the snapshot cannot be had.
        """
        form = _MEMORY.fullmatch(request)
        if form is not None:
            return await trio.to_thread.run_sync(self._memory, int(form[1], 16), int(form[2], 16))
        if request == "g":
            return "".join(self._register(vcpu, name) for name in _SIZES)
        number = int(request[1:], 16)
        return self._register(vcpu, list(_SIZES)[number]) if number < len(_SIZES) else "E01"

    async def write(self, vcpu: int, request: str) -> str:
        """Refuse."""
        raise self._refusal("it stays as it is")

    def want(self, point: Point) -> None:
        """Refuse."""
        raise self._refusal("nothing runs in it, so no breakpoint can be hit")

    def drop(self, point: Point) -> None:
        """Do nothing: there is none."""

    def _refusal(self, why: str) -> UsageError:
        return UsageError(f"this is a snapshot: {why}", self._how_on)

    def _register(self, vcpu: int, name: str) -> str:
        size, value = _SIZES[name], self._registers[vcpu].get(name)
        if value is None:
            return "xx" * size
        return (value & ((1 << 8 * size) - 1)).to_bytes(size, "little").hex()

    def _memory(self, address: int, count: int) -> str:
        # What lies before the first byte that cannot be read is an answer, as in every stub.
        for end in (address + count, (address | 0xFFF) + 1):
            try:
                return self._read(address, min(end, address + count) - address).hex()
            except MemoryReadError:
                continue
        return "E14"
