"""A debugger on a guest at one instant: it reads registers and memory, and is refused all else in words."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from ktstr_tui.debug.still_target import StillTarget
from ktstr_tui.kernel.address import NotMapped
from tests.unit.debug.serving import serving

BASE = 0xFFFFFFFF81000000
REGISTERS = ({"rax": 0x1122, "rip": BASE, "eflags": 0x246, "cr3": 0x5000}, {"rip": BASE + 1})
HOW_ON = "ktstr-tui restore tour/kept starts a guest from it"


def read(address: int, count: int) -> bytes:
    """One page of memory."""
    if not BASE <= address <= address + count <= BASE + 0x1000:
        raise NotMapped(f"{address:#x} is not mapped", address)
    return bytes((address + at) & 0xFF for at in range(count))


def target() -> StillTarget:
    return StillTarget(REGISTERS, lambda vcpu: f"CPU {vcpu}: spin[{vcpu}]", read, HOW_ON)


def names() -> list[tuple[str, int]]:
    root = ET.fromstring(target().description["target.xml"].partition("?>")[2])
    return [(it.attrib["name"], int(it.attrib["bitsize"]) // 8) for it in root.iter("reg")]


async def test_registers_come_in_the_order_of_their_description_and_what_was_not_kept_is_unavailable() -> (
    None
):
    async with serving(target()) as debugger:
        found = {}
        text = await debugger.ask("g")
        for name, size in names():
            found[name], text = text[: 2 * size], text[2 * size :]
        assert text == ""
        assert found["rax"] == (0x1122).to_bytes(8, "little").hex()
        assert found["eflags"] == (0x246).to_bytes(4, "little").hex()
        assert found["cr3"] == (0x5000).to_bytes(8, "little").hex()
        assert found["st0"] == "xx" * 10
        number = [name for name, _ in names()].index("rip")
        assert await debugger.ask("Hg2") == "OK"
        assert await debugger.ask(f"p{number:x}") == (BASE + 1).to_bytes(8, "little").hex()
        assert await debugger.ask("pfff") == "E01"


async def test_memory_is_read_up_to_where_it_ends() -> None:
    async with serving(target()) as debugger:
        assert await debugger.ask(f"m{BASE:x},4") == "00010203"
        assert await debugger.ask(f"m{BASE + 0xFFE:x},8") == "feff"
        assert await debugger.ask("m1000,8") == "E14"
        assert await debugger.ask(f"m{BASE:x},4") == "00010203", "the session goes on"


async def test_what_would_change_it_is_refused_in_words() -> None:
    async with serving(target()) as debugger:
        for request in ("vCont;c", "vCont;s:1", "c", "s"):
            said = await debugger.ask(request)
            assert (
                bytes.fromhex(said[1:]).decode()
                == f"ktstr-tui: this is a snapshot: nothing runs in it ({HOW_ON})\n"
            )
            assert await debugger.receive() == "E01"
        for request in (f"M{BASE:x},1:00", "P0=0000000000000000", f"Z0,{BASE:x},1", f"Z2,{BASE:x},4"):
            assert (await debugger.ask(request)).startswith("E.this is a snapshot: "), request
        said = bytes.fromhex((await debugger.ask("c"))[1:]).decode()
        why = "this is a snapshot: nothing runs in it, so no breakpoint can be hit"
        assert said == f"ktstr-tui: refused before: {why} ({HOW_ON})\n"
        assert (await debugger.receive())[:1] == "O"
        assert await debugger.receive() == "E01"
        assert await debugger.ask("qThreadExtraInfo,2") == b"CPU 1: spin[1]".hex()
        assert await debugger.ask("?") == "T02thread:01;"
