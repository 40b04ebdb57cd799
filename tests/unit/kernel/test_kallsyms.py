"""Symbols unpacked from tables as a kernel has them; what they are is compared with drgn's in a guest test."""

from __future__ import annotations

import struct

import pytest
from drgn import SymbolBinding, SymbolKind
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.kernel.kallsyms import KallsymsIndex
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.vmcoreinfo import Vmcoreinfo
from tests.unit.kernel.blob import IMAGE, FakeMemory

SYMBOLS = (
    ("T_stext", 0x100),
    ("t_helper", 0x100),
    ("T" + "long_name_" * 20, 0x180),
    ("d_state", 0x200),
    ("d_state", 0x240),
    ("Wweak", 0x300),
    ("B_end", 0x300 + (1 << 16)),
)
NUMBER, NAMES, TOKENS, INDEX, OFFSETS, BASE = 0x0, 0x8, 0x2000, 0x2800, 0x3000, 0x3800
WAYS = ("relative", "percpu", "place")


def packed(symbols: tuple[tuple[str, int], ...]) -> bytes:
    """Names as records; a token is the one character that it is the number of."""
    out = b""
    for name, _ in symbols:
        length = len(name)
        out += bytes([length]) if length < 0x80 else bytes([length & 0x7F | 0x80, length >> 7])
        out += name.encode()
    return out


def kernel(how: str, symbols: tuple[tuple[str, int], ...] = SYMBOLS) -> tuple[FakeMemory, bytes]:
    memory = FakeMemory()
    memory.put(IMAGE + NUMBER, len(symbols), 4)
    memory.put_bytes(IMAGE + NAMES, packed(symbols))
    texts = [bytes([number]) + b"\0" if number else b"\0\0" for number in range(256)]
    memory.put_bytes(IMAGE + TOKENS, b"".join(texts))
    memory.put_bytes(IMAGE + INDEX, struct.pack("<256H", *range(0, 512, 2)))
    for number, (_, at) in enumerate(symbols):
        offset = {"relative": at, "percpu": -1 - at, "place": at - OFFSETS - 4 * number}[how]
        memory.put(IMAGE + OFFSETS + 4 * number, offset, 4)
    memory.put(IMAGE + BASE, IMAGE)
    places = {
        "kallsyms_num_syms": NUMBER,
        "kallsyms_names": NAMES,
        "kallsyms_token_table": TOKENS,
        "kallsyms_token_index": INDEX,
        "kallsyms_offsets": OFFSETS,
        "_stext": 0x100,
    }
    if how != "place":
        places["kallsyms_relative_base"] = BASE
    note = "OSRELEASE=7.0\nNUMBER(phys_base)=0\n" + "".join(
        f"SYMBOL({name})={IMAGE + at:x}\n" for name, at in places.items()
    )
    return memory, note.encode()


def index(how: str) -> KallsymsIndex:
    memory, note = kernel(how)
    return KallsymsIndex(memory.space(), Vmcoreinfo(note))


@pytest.mark.parametrize("how", WAYS)
def test_every_symbol_is_where_the_kernel_has_it(how: str) -> None:
    found = index(how)(None, None, None, False)
    assert [(it.name, it.address) for it in found] == [(name[1:], IMAGE + at) for name, at in SYMBOLS]
    # To the next address; nothing for what shares one, for what a gap follows, and for the last.
    assert [it.size for it in found] == [0, 0x80, 0x80, 0x40, 0xC0, 0, 0]


def test_symbols_are_found_by_name_and_by_what_they_cover() -> None:
    find = index("relative")
    assert [it.address - IMAGE for it in find(None, "_state", None, False)] == [0x200, 0x240]
    assert [it.address - IMAGE for it in find(None, "_state", None, True)] == [0x200]
    assert find(None, "_stat", None, False) == find(None, "_state_", None, False) == []
    assert [it.name for it in find(None, None, IMAGE + 0x17F, True)] == ["_helper"]
    assert [it.address - IMAGE for it in find(None, "_state", IMAGE + 0x250, True)] == [0x240]
    for nowhere in (0, IMAGE + 0xFF, IMAGE + 0x310, IMAGE + (1 << 24)):
        assert find(None, None, nowhere, True) == []


def test_types_of_nm_say_what_a_symbol_is() -> None:
    found = {it.name: (it.binding, it.kind) for it in index("percpu")(None, None, None, False)}
    assert found["_stext"] == (SymbolBinding.GLOBAL, SymbolKind.FUNC)
    assert found["_helper"] == (SymbolBinding.UNKNOWN, SymbolKind.FUNC)
    assert found["_state"] == (SymbolBinding.UNKNOWN, SymbolKind.OBJECT)
    assert found["weak"] == (SymbolBinding.WEAK, SymbolKind.UNKNOWN)


@given(st.data())
def test_damaged_tables_are_refused_or_read(data: st.DataObject) -> None:
    memory, note = kernel(data.draw(st.sampled_from(WAYS)))
    for _ in range(data.draw(st.integers(1, 4))):
        table = data.draw(st.sampled_from((NUMBER, NAMES, TOKENS, INDEX, OFFSETS, BASE)))
        at = table + data.draw(st.integers(0, 0x1FF if table in (TOKENS, INDEX) else 0x7))
        memory.data[at] = data.draw(st.integers(0, 255))
    try:
        find = KallsymsIndex(memory.space(), Vmcoreinfo(note))
    except (KeyError, ValueError, MemoryReadError):
        return
    for found in find(None, None, None, False):
        # What is no UTF-8 has a name that nobody can ask for.
        assert "\N{REPLACEMENT CHARACTER}" in found.name or found in find(None, found.name, None, False)


def test_a_kernel_whose_symbols_are_elsewhere_is_refused() -> None:
    memory, note = kernel("relative")
    memory.put(IMAGE + OFFSETS, 0x101, 4)
    with pytest.raises(ValueError, match="_stext"):
        KallsymsIndex(memory.space(), Vmcoreinfo(note))
    memory.put(IMAGE + NUMBER, len(SYMBOLS) + 100_000, 4)
    with pytest.raises(ValueError, match="unpacked"):
        KallsymsIndex(memory.space(), Vmcoreinfo(note))
