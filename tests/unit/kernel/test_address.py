"""Virtual addresses: the two linear regions and the page tables."""

from __future__ import annotations

import pytest

from ktstr_tui.kernel.address import AddressSpace, NotMapped
from ktstr_tui.kernel.memory import MemoryReadError, OutOfRange
from ktstr_tui.kernel.vmcoreinfo import Vmcoreinfo
from tests.unit.kernel.blob import IMAGE, NOTE, PAGE_OFFSET, FakeMemory

ROOT = 0x8000  # swapper_pg_dir of NOTE
PRESENT, HUGE, NX = 1, 1 << 7, 1 << 63
LEVEL_SHIFTS = {4: (39, 30, 21, 12), 5: (48, 39, 30, 21, 12)}


def plant(memory: FakeMemory, address: int, frame: int, levels: int, leaf: int = 12) -> None:
    """Map the page of ``address`` to ``frame``, with a leaf at the level of shift ``leaf``."""
    table, spare = ROOT, 0x10000
    for shift in LEVEL_SHIFTS[levels]:
        at = IMAGE + table + (address >> shift & 511) * 8
        if shift == leaf:
            memory.put(at, frame | PRESENT | NX | (HUGE if leaf > 12 else 0))
            return
        memory.put(at, spare | PRESENT | 0x62)
        table, spare = spare, spare + 0x1000


def space(memory: FakeMemory, levels: int) -> AddressSpace:
    note = NOTE.replace(b"pgtable_l5_enabled)=0", b"pgtable_l5_enabled)=%d" % (levels - 4))
    return AddressSpace(memory, Vmcoreinfo(note), PAGE_OFFSET)


@pytest.mark.parametrize("levels", [4, 5])
def test_a_vmalloc_page_is_found_through_all_levels(levels: int) -> None:
    memory = FakeMemory()
    address = 0xFF11_2345_6789_A123 if levels == 5 else 0xFFFF_C900_1234_5123
    plant(memory, address, 0x40000, levels)
    memory.put_bytes(PAGE_OFFSET + 0x40123, b"here")
    assert space(memory, levels).read(address, 4) == b"here"


@pytest.mark.parametrize(("leaf", "frame"), [(21, 0), (30, 0)])
def test_huge_pages_end_the_walk_early(leaf: int, frame: int) -> None:
    memory = FakeMemory()
    address = 0xFFFF_C900_0000_0000 | 0x5123
    plant(memory, address, frame, 4, leaf)
    memory.put_bytes(PAGE_OFFSET + 0x5123, b"huge")
    assert space(memory, 4).read(address, 4) == b"huge"


def test_a_read_over_two_pages_takes_each_from_its_own_frame() -> None:
    memory = FakeMemory()
    address = 0xFFFF_C900_0000_1FFE
    plant(memory, address, 0x40000, 4)
    memory.put(IMAGE + 0x12000 + 2 * 8, 0x60000 | PRESENT)  # the next page, in the same last table
    memory.put_bytes(PAGE_OFFSET + 0x40FFE, b"ab")
    memory.put_bytes(PAGE_OFFSET + 0x60000, b"cd")
    assert space(memory, 4).read(address, 4) == b"abcd"
    assert space(memory, 4).u64(address) & 0xFFFFFFFF == int.from_bytes(b"abcd", "little")


def test_linear_regions_need_no_page_tables() -> None:
    memory = FakeMemory()
    memory.put(PAGE_OFFSET + 0x100, 7)
    it = space(memory, 4)
    before = memory.reads
    assert it.u64(PAGE_OFFSET + 0x100) == it.u64(IMAGE + 0x100) == 7
    assert memory.reads == before + 2


@pytest.mark.parametrize(
    "address",
    [0, 0x1000, 0x7FFF_FFFF_F000, 0xFFFF_C900_0000_0000, 0xFFFF_FFFF_FFFF_F000, PAGE_OFFSET + (1 << 30)],
)
def test_what_is_not_mapped_raises(address: int) -> None:
    with pytest.raises(NotMapped):
        space(FakeMemory(), 4).read(address, 8)


def test_a_page_table_that_points_outside_ram_raises() -> None:
    memory = FakeMemory()
    address = 0xFFFF_C900_0000_0000
    memory.put(IMAGE + ROOT + (address >> 39 & 511) * 8, 1 << 40 | PRESENT)
    with pytest.raises(OutOfRange):
        space(memory, 4).read(address, 8)


def test_translations_are_remembered_until_forgotten() -> None:
    memory = FakeMemory()
    address = 0xFFFF_C900_0000_1000
    plant(memory, address, 0x40000, 4)
    memory.put_bytes(PAGE_OFFSET + 0x40000, b"old")
    memory.put_bytes(PAGE_OFFSET + 0x50000, b"new")
    it = space(memory, 4)
    other = it.clone()
    assert it.read(address, 3) == b"old"
    plant(memory, address, 0x50000, 4)
    assert it.read(address, 3) == b"old"
    assert other.read(address, 3) == b"new"
    it.forget()
    assert it.read(address, 3) == b"new"


def test_strings_end_at_their_nul_or_at_the_limit() -> None:
    memory = FakeMemory(0x20000)
    memory.put_bytes(PAGE_OFFSET + 0x10, b"name\0junk")
    memory.put_bytes(PAGE_OFFSET + 0x1FFF0, b"x" * 16)
    it = space(memory, 4)
    assert it.string(PAGE_OFFSET + 0x10) == "name"
    assert it.string(PAGE_OFFSET + 0x10, 2) == "na"
    with pytest.raises(MemoryReadError):
        it.string(PAGE_OFFSET + 0x1FFF0)


@pytest.mark.parametrize("levels", [4, 5])
def test_mapped_pages_of_a_sparse_area_are_found(levels: int) -> None:
    memory = FakeMemory(1 << 20)
    start = 0xFFFF_C900_0000_0000
    plant(memory, start + 0x3000, 0x5000, levels)
    look = space(memory, levels)
    assert list(look.mapped(start, start + (4 << 30), 10)) == [(start + 0x3000, 0x5000)]
    assert list(look.mapped(start, start + 0x3000, 10)) == []
    assert list(look.mapped(start, start + (4 << 30), 0)) == []


def test_an_area_whose_tables_are_all_there_and_empty_costs_one_read_for_each() -> None:
    """What 7.2 does for an arena: tables for every page of it, and hardly a page."""
    memory, start = FakeMemory(4 << 20), 0xFFFF_C900_0000_0000
    plant(memory, start + 0x3000, 0x5000, 4)
    for index in range(1, 512):
        memory.put(IMAGE + 0x11000 + index * 8, 0x200000 + index * 4096 | PRESENT)
    look = space(memory, 4)
    memory.reads = 0
    assert list(look.mapped(start, start + (1 << 30), 10)) == [(start + 0x3000, 0x5000)]
    assert memory.reads == 3 + 512
