"""What a debugger is answered about a machine that the observer holds."""

from __future__ import annotations

import pytest

from ktstr_tui.guest.engine import Registers
from ktstr_tui.guest.gdb_registers import DESCRIPTION
from ktstr_tui.guest.gdb_target import parse_features
from ktstr_tui.guest.held_stub import MAX_BREAKS, HeldStub, parse_memory, stepped_vcpu
from ktstr_tui.model.errors import UsageError

CODE = 0xFFFFFFFF81001000
ENDBR_SEALED = b"\x0f\x1f\x40\xd6"
NOP5 = b"\x0f\x1f\x44\x00\x00"


class Machine:
    """Two vCPUs, and memory from `CODE` on."""

    def __init__(self, memory: bytes) -> None:
        self.memory = memory
        self.changes = 0
        self.stub = HeldStub(self._registers, self._read, self._change)

    def _change(self) -> None:
        self.changes += 1

    async def _registers(self, vcpu: int) -> Registers:
        known = dict.fromkeys(Registers.__struct_fields__, vcpu) | {"rip": CODE, "cr8": None}
        return Registers(**known)  # type: ignore[arg-type]

    async def _read(self, vcpu: int, address: int, count: int) -> str:
        data = self.memory[address - CODE :][:count]
        lines = [data[at : at + 8] for at in range(0, len(data), 8)]
        text = "".join(
            f"{address + 8 * number:x}:{''.join(f' 0x{byte:02x}' for byte in line)}\r\n"
            for number, line in enumerate(lines)
        )
        return text if len(data) == count else f"{text}{address + len(data):x}: Cannot access memory\r\n"

    async def rip(self, vcpu: int) -> int:
        """The instruction pointer as the debugger is shown it."""
        await self.stub.answer(f"Hg{vcpu + 1:x}")
        return int.from_bytes(bytes.fromhex(await self.stub.answer("p10")), "little")


async def test_registers_are_as_the_description_says_and_what_is_missing_is_unavailable() -> None:
    machine = Machine(b"")
    assert await machine.stub.answer("Hg2") == "OK"
    packet = await machine.stub.answer("g")
    layout = parse_features(DESCRIPTION.values())
    assert len(packet) == 2 * layout.length_bytes
    found = layout.decode(bytes.fromhex(packet.replace("x", "0")))
    assert (found.rip, found.rax, found.cs, found.efer) == (CODE, 1, 1, 1)
    assert packet.count("xx") == 8 * 10 + 8 * 4 + 8  # x87, and CR8
    assert await machine.stub.answer("pff") == "E01"


async def test_memory_is_answered_up_to_the_first_byte_that_cannot_be_read() -> None:
    machine = Machine(bytes(range(20)))
    assert await machine.stub.answer(f"m{CODE + 1:x},3") == "010203"
    assert await machine.stub.answer(f"m{CODE + 16:x},40") == "10111213"
    assert await machine.stub.answer(f"m{CODE + 20:x},1") == "E14"
    assert parse_memory("rubbish") == b""


async def test_registers_are_not_written_and_what_is_unknown_is_answered_with_nothing() -> None:
    machine = Machine(b"")
    for request in ("P0=00", "G00"):
        with pytest.raises(UsageError, match="cannot be changed in a run with a seed"):
            await machine.stub.answer(request)
    assert [await machine.stub.answer(it) for it in (f"Z3,{CODE:x},8", "vFlashDone")] == ["", ""]


async def test_breakpoints_of_both_kinds_are_kept_within_what_the_observer_has() -> None:
    machine = Machine(b"")
    for request in (f"Z0,{CODE:x},1", f"Z1,{CODE + 1:x},1", f"z0,{CODE:x},1", f"z0,{CODE:x},1"):
        assert await machine.stub.answer(request) == "OK"
    assert machine.stub.breaks == {CODE + 1}
    assert machine.changes == 4
    for number in range(MAX_BREAKS - 1):
        await machine.stub.answer(f"Z0,{CODE + 2 + number:x},1")
    with pytest.raises(UsageError, match="set already"):
        await machine.stub.answer(f"Z0,{CODE:x},1")


async def test_a_breakpoint_behind_what_does_nothing_is_shown_as_met_until_the_machine_goes_on() -> None:
    machine = Machine(ENDBR_SEALED + NOP5 + b"\x55\x48")
    after = CODE + len(ENDBR_SEALED + NOP5)
    await machine.stub.meet(1, after, CODE)
    assert (await machine.rip(1), await machine.rip(0)) == (after, CODE)
    machine.stub.part()
    assert await machine.rip(1) == CODE
    # Behind an instruction that does something it is where the block begins.
    for address, begin in ((after + 1, CODE), (CODE, CODE), (after, None), (CODE + 2, CODE)):
        await machine.stub.meet(1, address, begin)
        assert await machine.rip(1) == CODE


def test_the_vcpu_that_steps_is_told_from_those_that_go_on() -> None:
    assert [stepped_vcpu(it) for it in ("c", "s:2;c", "s:a", "c:1")] == [None, 1, 9, None]
