"""The page that is shared with the observer, and what the monitor prints of registers."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.guest import observer_page
from ktstr_tui.guest.engine import Registers
from ktstr_tui.guest.monitor_registers import parse_registers
from ktstr_tui.guest.observer_page import HoldReason, ObserverPage, merge
from ktstr_tui.model.errors import InternalError

HEADER = Path(__file__).parents[3] / "native/observer/page.h"
SOURCE = HEADER.with_name("registers.c")
LONG_MODE = """
CPU#0
RAX=0000000000000001 RBX=ffffffff82a0 RCX=0000000000000002 RDX=4000000000000000
RSI=0000000000000003 RDI=0000000000000004 RBP=0000000000000005 RSP=ffffffff83203e58
R8 =0000000000000006 R9 =0000000000000007 R10=0000000000000008 R11=0000000000000009
R12=000000000000000a R13=000000000000000b R14=000000000000000c R15=000000000000000d
RIP=ffffffff821d0a0b RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=1
ES =0000 0000000000000000 ffffffff 00c00000
CS =0010 0000000000000000 ffffffff 00af9b00 DPL=0 CS64 [-RA]
SS =0018 0000000000000000 ffffffff 00cf9300 DPL=0 DS   [-WA]
DS =0000 0000000000000000 ffffffff 00c00000
FS =0000 0000000000000abc ffffffff 00c00000
GS =0000 ff25e97382ef0000 ffffffff 00c00000
LDT=0000 fffffe4800000000 00000000 00000000
CR0=80050033 CR2=00007ffc00000000 CR3=0000000002a3c000 CR4=00750ef0
DR0=0000000000000000 DR1=0000000000000000 DR2=0000000000000000 DR3=0000000000000000
EFER=0000000000000d01
"""


@pytest.fixture
def page() -> Iterator[ObserverPage]:
    with closing(ObserverPage()) as made:
        yield made


def test_both_sides_have_the_same_page() -> None:
    header = HEADER.read_text()
    offsets = {
        name: int(value)
        for name, value in re.findall(r"offsetof\(struct observer_page, (\w+)\) == (\d+)", header)
    }
    assert offsets == {
        "stop": observer_page._STOP,
        "reason": observer_page._HELD,
        "registers_known": observer_page._REGISTERS_KNOWN,
        "registers": observer_page._REGISTERS,
        "turn_vcpu": observer_page._TURN,
        "next_of": observer_page._NEXT,
        "clock_address": observer_page._CLOCK,
        "counts": observer_page._COUNTS,
        "probes": observer_page._PROBES,
        "watches": observer_page._WATCHES,
        "nr_noted_ranges": observer_page._NR_NOTED,
        "note_vcpu": observer_page._NOTE_VCPU,
        "nr_notes": observer_page._NR_NOTES,
        "noted_probes": observer_page._NOTED_PROBES,
        "noted_ranges": observer_page._NOTED_RANGES,
        "begun": observer_page._BEGUN,
        "notes": observer_page._NOTES,
    }
    (whole,) = re.findall(r"sizeof\(struct observer_page\) == (\d+)", header)
    assert int(whole) == observer_page.PAGE_BYTES
    numbers = {
        name: int(value)
        for name, value in re.findall(r"#define OBSERVER_(\w+) (\d+)(?: //.*)?$", header, re.MULTILINE)
    }
    assert numbers["WATCHES"] == observer_page.MAX_WATCHES
    assert numbers["PROBES"] == observer_page.MAX_PROBES
    assert numbers["NOTED"] == observer_page.MAX_NOTED
    assert numbers["NOTES"] == observer_page.MAX_NOTES
    assert numbers["VCPUS"] == observer_page.MAX_VCPUS
    assert numbers["REGISTERS"] == len(Registers.__struct_fields__)
    table = SOURCE.read_text().partition("register_names[OBSERVER_REGISTERS] = {")[2].partition("}")[0]
    assert tuple(re.findall(r'"(\w+)"', table)) == Registers.__struct_fields__


def test_a_page_that_nobody_took_is_not_ready(page: ObserverPage) -> None:
    assert not page.ready
    assert page.registers() is None
    with pytest.raises(ValueError, match="0 is not a valid HoldReason"):
        page.held()


def test_what_the_observer_writes_is_read(page: ObserverPage) -> None:
    page._map[8:12] = struct.pack("<I", 2)
    page._map[48:104] = struct.pack("<IIQQQQQI4x", 4, 1, 1000, 0xFFFF_8000, 7, 1, 0, 16)
    page._map[512:528] = struct.pack("<QQ", 600, 400)
    held = page.held()
    assert (held.reason, held.vcpu, held.total, held.address) == (HoldReason.WRITE, 1, 1000, 0xFFFF_8000)
    assert (held.value, held.width, held.counts) == (7 | 1 << 64, 16, (600, 400))


def test_a_number_of_vcpus_beyond_the_page_is_cut(page: ObserverPage) -> None:
    page._map[8:12] = struct.pack("<I", 0xFFFF_FFFF)
    page._map[48:52] = struct.pack("<I", 3)
    assert len(page.held().counts) == observer_page.MAX_VCPUS


def test_too_many_watches_are_refused(page: ObserverPage) -> None:
    page.watch([(16 * number, 8) for number in range(observer_page.MAX_WATCHES)])
    with pytest.raises(ValueError, match="too many"):
        page.watch([(16 * number, 8) for number in range(observer_page.MAX_WATCHES + 1)])
    with pytest.raises(ValueError, match="too many"):
        page.watch([], range(observer_page.MAX_PROBES + 1))


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 20)), max_size=30))
def test_merged_ranges_hold_the_same_bytes_and_are_ascending(ranges: list[tuple[int, int]]) -> None:
    merged = merge(ranges)
    wanted = {byte for first, length in ranges for byte in range(first, first + length)}
    assert {byte for first, last in merged for byte in range(first, last + 1)} == wanted
    assert all(first[1] + 1 < second[0] for first, second in pairwise(merged))


def test_registers_in_long_mode() -> None:
    registers = parse_registers(LONG_MODE + LONG_MODE.replace("CPU#0", "CPU#1"))
    assert set(registers) == {0, 1}
    assert registers[1].rip == 0xFFFF_FFFF_821D_0A0B
    assert registers[1].eflags == 0x246
    assert (registers[0].cs, registers[0].fs_base, registers[0].gs_base) == (
        0x10,
        0xABC,
        0xFF25_E973_82EF_0000,
    )
    assert (registers[0].r8, registers[0].r9, registers[0].r15) == (6, 7, 13)
    assert (registers[0].cr0, registers[0].efer) == (0x8005_0033, 0xD01)
    assert registers[0].k_gs_base is None
    assert "k_gs_base" not in registers[0].by_name()


def test_registers_before_long_mode() -> None:
    text = """CPU#0
EAX=00000001 EBX=00000002 ECX=00000003 EDX=00000004
ESI=00000005 EDI=00000006 EBP=00000007 ESP=00000008
EIP=000fd0cf EFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0
ES =0010 00000000 ffffffff 00c09300
CS =0008 00000000 ffffffff 00c09b00
SS =0010 00000000 ffffffff 00c09300
DS =0010 00000000 ffffffff 00c09300
FS =0010 00000000 ffffffff 00c09300
GS =0010 00000000 ffffffff 00c09300
CR0=00000011 CR2=00000000 CR3=00000000 CR4=00000000
EFER=0000000000000000
"""
    registers = parse_registers(text)[0]
    assert (registers.rip, registers.eflags, registers.rsp, registers.r8) == (0xFD0CF, 0x46, 8, 0)


def test_a_register_that_is_not_printed_is_named() -> None:
    with pytest.raises(InternalError, match="registers r9 of vCPU 0"):
        parse_registers(LONG_MODE.replace("R9 =", "X9 ="))
