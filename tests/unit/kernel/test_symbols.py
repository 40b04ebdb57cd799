"""Names of addresses, and the tick rate, which is found through symbols."""

from __future__ import annotations

import pytest

from ktstr_tui.kernel.btf import Btf
from ktstr_tui.kernel.hz import find_hz
from ktstr_tui.kernel.layout import Layout
from ktstr_tui.kernel.symbols import BpfSymbols, describe_bpf
from tests.unit.kernel.blob import IMAGE, PAGE_OFFSET, BlobBuilder, FakeMemory, symbols

KSYM = PAGE_OFFSET + 0x5000
JIT = 0xFFFFFFFFC0001000


def test_addresses_are_described_by_the_symbol_that_covers_them() -> None:
    named = symbols(first=IMAGE + 0x100, second=IMAGE + 0x110)
    assert named.find("second") == IMAGE + 0x110
    assert named.find("third") is None
    with pytest.raises(LookupError, match="third"):
        named.address("third")
    assert named.describe(IMAGE + 0x10C) == "first+0xc"
    assert named.describe(IMAGE + 0x110) == "second+0x0"
    assert named.describe(IMAGE) is None


def test_a_return_address_is_described_by_its_call() -> None:
    """A function may end in a call that never returns; the address behind it is the next function's."""
    named = symbols(first=IMAGE + 0x100, second=IMAGE + 0x110)
    assert named.describe(IMAGE + 0x110, exact=False) == "first+0x10"
    assert named.describe(IMAGE + 0x110) == "second+0x0"


def bpf_btf() -> Btf:
    b = BlobBuilder()
    u64, char = b.integer("u64", 8), b.integer("char", 1, 1)
    node = b.compound("list_head", 16, [("next", u64, 0), ("prev", u64, 8)])
    b.compound(
        "bpf_ksym",
        80,
        [("start", u64, 0), ("end", u64, 8), ("name", b.array(char, 32), 16), ("lnode", node, 48)],
    )
    return Btf(b.build())


def plant(memory: FakeMemory, slot: int, start: int, end: int, name: str, following: int) -> int:
    at = KSYM + 0x100 * slot
    memory.put(at, start)
    memory.put(at + 8, end)
    memory.put_bytes(at + 16, name.encode())
    memory.put(at + 48, following)
    return at + 48


def test_jit_compiled_code_has_the_kernels_names() -> None:
    memory, head = FakeMemory(), IMAGE + 0x2000
    last = plant(memory, 0, JIT + 0x100, JIT + 0x180, "bpf_prog_1_enqueue", head)
    memory.put(head, plant(memory, 1, JIT, JIT + 0x80, "bpf_prog_2_dispatch", last))
    found = BpfSymbols(bpf_btf(), symbols(bpf_kallsyms=head)).read(memory.space())
    assert [symbol.name for symbol in found] == ["bpf_prog_2_dispatch", "bpf_prog_1_enqueue"]
    assert describe_bpf(found, JIT + 0x10) == "bpf_prog_2_dispatch+0x10"
    assert describe_bpf(found, JIT + 0x80) is None
    assert describe_bpf(found, JIT + 0x17F) == "bpf_prog_1_enqueue+0x7f"
    assert describe_bpf(found, JIT - 1) is None


def test_a_broken_list_of_names_gives_what_was_read() -> None:
    memory, head = FakeMemory(), IMAGE + 0x2000
    memory.put(head, plant(memory, 0, JIT, JIT + 0x80, "bpf_prog_1", 0xFFFFC90000000000))
    found = BpfSymbols(bpf_btf(), symbols(bpf_kallsyms=head)).read(memory.space())
    assert [symbol.name for symbol in found] == ["bpf_prog_1"]
    assert BpfSymbols(bpf_btf(), symbols()).read(memory.space()) == ()


def hz_btf() -> Btf:
    b = BlobBuilder()
    u32 = b.integer("u32", 4)
    b.compound("clocksource", 8, [("mult", u32, 0), ("shift", u32, 4)])
    return Btf(b.build())


@pytest.mark.parametrize(("hz", "shift"), [(100, 8), (250, 8), (300, 8), (1000, 8), (24, 6)])
def test_the_tick_is_what_the_jiffies_clock_counts(hz: int, shift: int) -> None:
    memory = FakeMemory()
    memory.put(IMAGE + 0x3000, (10**9 + hz // 2) // hz << shift, 4)
    memory.put(IMAGE + 0x3004, shift, 4)
    assert find_hz(hz_btf(), symbols(clocksource_jiffies=IMAGE + 0x3000), memory.space()) == (
        hz,
        "clocksource_jiffies",
    )


def test_the_tick_follows_from_the_delay_loop_where_that_symbol_is_missing() -> None:
    memory = FakeMemory()
    memory.put(IMAGE + 0x3000, 2_596_107, 4)
    memory.put(IMAGE + 0x3008, 2_596_000 * 1000 // 250)
    named = symbols(tsc_khz=IMAGE + 0x3000, lpj_fine=IMAGE + 0x3008)
    assert find_hz(hz_btf(), named, memory.space()) == (250, "lpj_fine")


def test_without_any_clue_the_tick_is_assumed_and_said_so() -> None:
    assert find_hz(hz_btf(), symbols(), FakeMemory().space()) == (250, "assumed")
    memory = FakeMemory()
    named = symbols(tsc_khz=IMAGE + 0x3000, lpj_fine=IMAGE + 0x3008)
    assert find_hz(hz_btf(), named, memory.space()) == (250, "assumed")


def test_a_clock_whose_type_is_damaged_is_no_clue(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in ({"mult": b"\0" * 12, "shift": 8}, {"mult": None, "shift": 8}, {"mult": 1, "shift": -1}):
        monkeypatch.setattr(Layout, "read", lambda *_, row=row: row)
        found = find_hz(hz_btf(), symbols(clocksource_jiffies=IMAGE + 0x3000), FakeMemory().space())
        assert found == (250, "assumed")
