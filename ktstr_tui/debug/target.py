"""What a debugger is attached to, as the stub needs it: a live guest, or something that never runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, TypeAlias

import msgspec

from ktstr_tui.capture.debug_access import DebugAccess, Resume
from ktstr_tui.capture.stop.debugger import DebuggerStop
from ktstr_tui.capture.watch.debugger_points import Point
from ktstr_tui.model.errors import GuestError, UsageError
from ktstr_tui.model.text import counted

SymbolFile = Callable[[], Awaitable[bytes | None]]
"""Makes the file that names the kernel's symbols; None while its memory cannot be read by type."""


class Said(msgspec.Struct, frozen=True):
    """Words for the debugger's console, which it shows while it waits for a stop."""

    words: str


Told: TypeAlias = DebuggerStop | Said


class Target(Protocol):
    """Something that a debugger looks at. What takes a vCPU counts from 0; registers are hex text as in ``g`` packets.

    Every method that waits may raise a `KtstrError`: refused, no such thing, or gone.
    """

    @property
    def vcpus(self) -> int:
        """How many there are."""
        ...

    @property
    def description(self) -> Mapping[str, str]:
        """The target description: XML by the name of its document."""
        ...

    @property
    def goes_back(self) -> bool:
        """Whether `go_back` can be had."""
        ...

    def describe(self, vcpu: int) -> str:
        """Say what a vCPU does, in some words."""
        ...

    async def run(self) -> None:
        """Do what the target has to do by itself while it is looked at; until cancelled, or until that is all."""
        ...

    async def wait_stop(self) -> Told:
        """Wait for the next stop, or for words."""
        ...

    async def interrupt(self) -> None:
        """Stop it."""
        ...

    async def resume(self, how: Resume) -> None:
        """Let it run."""
        ...

    async def go_back(self, vcpu: int, *, step: bool) -> None:
        """Let it run backwards: one step of that vCPU, or to the last breakpoint or watchpoint before."""
        ...

    async def ask(self, vcpu: int, request: str) -> str:
        """Answer a request about registers or memory as that vCPU sees it: ``g``, ``p`` or ``m`` of gdb's protocol."""
        ...

    async def write(self, vcpu: int, request: str) -> str:
        """Answer a request that writes: ``G``, ``P`` or ``M``."""
        ...

    def want(self, point: Point) -> None:
        """Set a breakpoint or watchpoint."""
        ...

    def drop(self, point: Point) -> None:
        """Remove one."""
        ...


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a debugger wrote, for the audit."""

    what: str
    """``memory`` or ``registers``, with the place."""
    ok: bool


class LiveTarget:
    """A guest that runs.

    Args:
        access: The guest as a debugger has it.
        vcpus: How many it has.
        describe: What a vCPU does; must not raise.
        may_write: Whether the run allows writes to the kernel.
        record: Takes what was written, or refused.
        write_memory: Writes bytes to an address in place of QEMU's stub; None where that does it.
    """

    goes_back = False

    def __init__(
        self,
        access: DebugAccess,
        vcpus: int,
        describe: Callable[[int], str],
        may_write: bool,
        record: Callable[[Written], object],
        write_memory: Callable[[int, bytes], Awaitable[None]] | None = None,
    ) -> None:
        self.vcpus = vcpus
        self.describe = describe
        self.description = access.engine.description
        self.interrupt = access.interrupt
        self.resume = access.resume
        self.want = access.want
        self.drop = access.drop
        self._access = access
        self._may_write = may_write
        self._record = record
        self._write_memory = write_memory

    async def run(self) -> None:
        """Nothing: the guest runs by itself."""

    async def wait_stop(self) -> Told:
        """Wait for the next stop."""
        return await self._access.wait_stop()

    async def go_back(self, vcpu: int, *, step: bool) -> None:
        """Refuse."""
        raise UsageError("only a run with a seed goes back in time", "start it with --seed N")

    async def ask(self, vcpu: int, request: str) -> str:
        """Let QEMU answer."""
        chosen, answer = await self._access.ask(f"Hg{vcpu + 1:x}", request)
        if chosen != "OK":
            raise GuestError(f"there is no vCPU {vcpu}")
        return answer

    async def write(self, vcpu: int, request: str) -> str:
        """Write, if the run allows that, and write it down.

        Raises:
            UsageError: The run allows no writes, or none there.
        """
        what = _what(vcpu, request)
        if not self._may_write:
            self._record(Written(what=what, ok=False))
            raise UsageError("this run allows no writes", "start it with --allow-writes")
        answer = ""
        try:
            answer = await self._write(vcpu, request)
        finally:
            self._record(Written(what=what, ok=answer == "OK"))
        return answer

    async def _write(self, vcpu: int, request: str) -> str:
        if request[:1] != "M" or self._write_memory is None:
            return await self.ask(vcpu, request)
        where, _, data = request[1:].partition(":")
        await self._write_memory(int(where.partition(",")[0], 16), bytes.fromhex(data))
        return "OK"


def _what(vcpu: int, request: str) -> str:
    if request[:1] == "M":
        address, _, length = request[1:].partition(":")[0].partition(",")
        return f"memory: {counted(int(length, 16), 'byte')} at 0x{address}, as vCPU {vcpu} sees it"
    if request[:1] == "P":
        return f"register {int(request[1:].partition('=')[0], 16)} of vCPU {vcpu}"
    return f"all registers of vCPU {vcpu}"
