"""What a debugger asks of a machine that the observer holds, answered in place of QEMU's stub.

The stub would stop the machine, and what comes after a stop is the host's doing. So registers and memory are read as
the monitor prints them, which changes nothing, and breakpoints are probes of the observer. Nothing is written here: a
register that is changed in the middle of a block of translated code need not be the one that the block goes on with,
and a write to memory is a person's intervention, which the run writes down.

A probe holds the machine before the block of code that it is in. Most breakpoints are where a block begins. One behind
the first instructions of a function, which is where gdb puts it, is not, but those do nothing: then the debugger is
shown its own address. For any other it is shown where the block begins.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping

from ktstr_tui.guest.engine import Registers
from ktstr_tui.guest.gdb_registers import DESCRIPTION, answer_registers
from ktstr_tui.model.errors import UsageError

__all__ = ["MAX_BREAKS", "HeldStub", "parse_memory", "stepped_vcpu"]

MAX_BREAKS = 256
_NO_OPS = re.compile(rb"(?:\xf3\x0f\x1e\xfa|\x0f\x1f\x44\x00\x00|\x0f\x1f\x40.|\x66\x90|\x90)*", re.DOTALL)
"""What functions begin with where nothing traces them: ``endbr64`` and ``nop`` of 1 to 5 bytes."""
_MEMORY = re.compile(r"m([0-9a-f]+),([0-9a-f]+)", re.IGNORECASE)
_BREAK = re.compile(r"([Zz])[01],([0-9a-f]+),[0-9a-f]+", re.IGNORECASE)
_STEP = re.compile(r"s:([0-9a-f]+)", re.IGNORECASE)
_CANNOT = "E14"


class HeldStub:
    """Answers requests, and keeps the breakpoints.

    Args:
        registers_of: Reads the registers of a vCPU.
        read: Has QEMU's monitor print memory as a vCPU sees it: its number, the address, how many bytes.
        changed: Called when there is another breakpoint, or one less.
    """

    description: Mapping[str, str] = DESCRIPTION

    def __init__(
        self,
        registers_of: Callable[[int], Awaitable[Registers]],
        read: Callable[[int, int, int], Awaitable[str]],
        changed: Callable[[], object],
    ) -> None:
        self.breaks: set[int] = set()
        """Addresses of breakpoints."""
        self._registers_of, self._read, self._changed = registers_of, read, changed
        self._vcpu = 0
        self._shown: tuple[int, int] | None = None

    async def answer(self, request: str) -> str:
        """Answer one request; with nothing when it is not known.

        Raises:
            UsageError: It would change registers, or set too many breakpoints.
        """
        form = _MEMORY.fullmatch(request)
        if form is not None:
            return await self._memory(int(form[1], 16), int(form[2], 16))
        form = _BREAK.fullmatch(request)
        if form is not None:
            self._set_break(int(form[2], 16), wanted=form[1] == "Z")
            return "OK"
        match request[:1]:
            case "H":
                self._vcpu = max(int(request[2:], 16) - 1, 0)
                return "OK"
            case "g" | "p":
                return answer_registers(await self._registers(), request)
            case "G" | "P":
                raise UsageError(
                    "registers cannot be changed in a run with a seed: the observer holds the machine within its code",
                    "write to memory: ktstr-tui op write; or run with --no-seed",
                )
        return ""

    async def meet(self, vcpu: int, address: int, begin: int | None) -> None:
        """Note that the machine is held for a breakpoint.

        Args:
            vcpu: That is about to come to it.
            address: Of the breakpoint.
            begin: Where the vCPU is; None when that is not known.
        """
        self._shown = None
        if begin is None or not 0 < address - begin < 64:
            return
        before = parse_memory(await self._read(vcpu, begin, address - begin))
        if len(before) == address - begin and _NO_OPS.fullmatch(before):
            self._shown = (vcpu, address)

    def part(self) -> None:
        """The machine goes on."""
        self._shown = None

    async def _registers(self) -> Mapping[str, int]:
        values = (await self._registers_of(self._vcpu)).by_name()
        if self._shown is not None and self._shown[0] == self._vcpu:
            values["rip"] = self._shown[1]
        return values

    async def _memory(self, address: int, count: int) -> str:
        data = parse_memory(await self._read(self._vcpu, address, count))
        return data[:count].hex() or _CANNOT

    def _set_break(self, address: int, *, wanted: bool) -> None:
        if wanted:
            if len(self.breaks) >= MAX_BREAKS:
                raise UsageError(f"{MAX_BREAKS} breakpoints are set already", "delete some")
            self.breaks.add(address)
        else:
            self.breaks.discard(address)
        self._changed()


def parse_memory(text: str) -> bytes:
    """Read the bytes that QEMU's monitor prints for ``x /Nbx``, up to the first that it cannot read."""
    data = bytearray()
    for line in text.splitlines():
        words = line.partition(":")[2].split()
        if not words or not all(word.startswith("0x") for word in words):
            break
        data += bytes(int(word, 16) for word in words)
    return bytes(data)


def stepped_vcpu(actions: str) -> int | None:
    """The vCPU, from 0, that actions of ``vCont`` step; None for none."""
    form = _STEP.match(actions)
    return None if form is None else int(form[1], 16) - 1
