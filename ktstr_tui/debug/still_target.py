"""A guest at one instant, for a debugger: its registers and the kernel's memory, and nothing that changes them.

Registers are those that a capture keeps, by name. Memory is read through the kernel's own page tables, so addresses
of user space lead nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import trio

from ktstr_tui.capture.debug_access import Resume
from ktstr_tui.capture.stop.debugger import DebuggerStop
from ktstr_tui.capture.watch.debugger_points import Point
from ktstr_tui.guest.gdb_registers import DESCRIPTION, answer_registers
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.model.errors import UsageError

ReadMemory = Callable[[int, int], bytes]
"""Reads bytes at a kernel address; raises `MemoryReadError` where there is none."""
_MEMORY = re.compile(r"m([0-9a-f]+),([0-9a-f]+)", re.IGNORECASE)


class StillTarget:
    """A guest that does not run.

    Args:
        registers: Of each vCPU, by name; those that are missing are unavailable.
        describe: What a vCPU did; must not raise.
        read: Reads memory. Blocks.
        how_on: What to do for a guest that runs.
    """

    description: Mapping[str, str] = DESCRIPTION
    goes_back = False

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

    async def run(self) -> None:
        """Nothing."""

    async def wait_stop(self) -> DebuggerStop:
        """Wait for ever: it has stopped before."""
        await trio.sleep_forever()
        raise AssertionError

    async def interrupt(self) -> None:
        """Do nothing: it does not run."""

    async def resume(self, how: Resume) -> None:
        """Refuse."""
        raise self._refusal("nothing runs in it")

    async def go_back(self, vcpu: int, *, step: bool) -> None:
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
        if request[:1] not in ("g", "p"):
            return ""
        return answer_registers(self._registers[vcpu], request)

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

    def _memory(self, address: int, count: int) -> str:
        # What lies before the first byte that cannot be read is an answer, as in every stub.
        for end in (address + count, (address | 0xFFF) + 1):
            try:
                return self._read(address, min(end, address + count) - address).hex()
            except MemoryReadError:
                continue
        return "E14"
