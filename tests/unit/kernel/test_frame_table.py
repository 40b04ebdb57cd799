"""ORC rows as call frame information, read back by pyelftools; a stock gdb unwinds by them in the guest tests."""

from __future__ import annotations

import io
from typing import Any

import pytest
from elftools.dwarf.callframe import FDE
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.kernel.frame_table import OrcRow, make_frame_table
from ktstr_tui.kernel.symbol_file import encode_elf

TEXT = 0xFFFFFFFF81000000
NUMBERS = {0: "undefined", 3: "rsp", 4: "rbp", 6: "r10", 8: "prev_sp", 9: "sp_indirect", 10: "bp_indirect"}
CALL, REGS, PARTIAL = 2 << 8, 3 << 8, 4 << 8
SIGNAL = 1 << 11
BP_SAVED = 8 << 4
RETURN, RBP, RSP = 16, 6, 7


def tables(rows: list[OrcRow], end: int, bpf: tuple[int, int] | None = None) -> list[FDE]:
    content = make_frame_table(rows, end, NUMBERS, bpf)
    elf: Any = ELFFile(io.BytesIO(encode_elf([], [], content)))
    entries = elf.get_dwarf_info().CFI_entries()
    return [it for it in entries if isinstance(it, FDE)]


def row_at(found: list[FDE], address: int) -> tuple[FDE, dict[Any, Any]]:
    """The one description that covers an address, and its rules there."""
    (entry,) = [it for it in found if 0 <= address - it["initial_location"] < it["address_range"]]
    rules = [row for row in entry.get_decoded().table if row["pc"] <= address]
    return entry, rules[-1]


def is_signal(entry: FDE) -> bool:
    assert entry.cie is not None
    return b"S" in entry.cie["augmentation"]


def test_calls_of_a_function_are_one_description() -> None:
    rows = [
        (TEXT, 8, 0, CALL | 3),
        (TEXT + 1, 16, -16, CALL | BP_SAVED | 3),
        (TEXT + 0x60, 16, -16, CALL | BP_SAVED | 4),
        (TEXT + 0x300, 0, 0, 0),
        (TEXT + 0x30000, 8, 0, CALL | 3),
    ]
    found = tables(rows, TEXT + 0x40000)
    # Of the first function with what follows it, of the second, and of user space.
    assert len(found) == 3
    for address, register, offset in ((TEXT, RSP, 8), (TEXT + 0x5F, RSP, 16), (TEXT + 0x60, RBP, 16)):
        entry, rules = row_at(found, address)
        assert not is_signal(entry)
        assert (rules["cfa"].reg, rules["cfa"].offset) == (register, offset)
        assert (rules[RETURN].type, rules[RETURN].arg) == ("OFFSET", -8)
    assert row_at(found, TEXT)[1][RBP].type == "SAME_VALUE"
    assert row_at(found, TEXT + 1)[1][RBP].type == "EXPRESSION"
    assert row_at(found, TEXT + 0x2FFFF)[1][RETURN].type == "UNDEFINED"
    # Behind code without a caller the return address is where it was.
    assert row_at(found, TEXT + 0x3FFFF)[1][RETURN].type == "OFFSET"
    with pytest.raises(ValueError, match="not enough values"):
        row_at(found, TEXT + 0x40000)


def test_saved_registers_and_changes_of_stacks_are_signals() -> None:
    rows = [
        (TEXT, 0, 0, REGS | 3),
        (TEXT + 4, 8, 0, PARTIAL | 3),
        (TEXT + 8, 8, 0, CALL | 9),
        (TEXT + 12, 8, 0, CALL | SIGNAL | 3),
        (TEXT + 16, 8, 0, CALL | 3),
    ]
    found = tables(rows, TEXT + 20)
    assert [is_signal(row_at(found, TEXT + at)[0]) for at in (0, 4, 8, 12, 16)] == [True] * 4 + [False]
    regs = row_at(found, TEXT)[1]
    # breg7 (rsp) +0, and what is saved behind it: 128 is the return address, 152 the stack pointer, 112 rdi.
    assert regs[RETURN].arg == [0x77, 0, 0x23, 0x80, 1]
    assert regs["cfa"].expr == [0x77, 0, 0x23, 0x98, 1, 0x06]
    assert regs[5].arg == [0x77, 0, 0x23, 112]
    assert set(range(16)) - {RSP} < set(regs)
    partial = row_at(found, TEXT + 4)[1]
    assert partial[RETURN].arg == [0x77, 8]
    assert partial["cfa"].expr == [0x77, 8, 0x23, 24, 0x06]
    assert row_at(found, TEXT + 8)[1]["cfa"].expr == [0x77, 0, 0x06, 0x23, 8]


def test_compiled_bpf_keeps_a_frame_pointer_and_user_space_has_no_caller() -> None:
    found = tables([(TEXT, 8, 0, CALL | 3)], TEXT + 16, (TEXT + 0x1000, TEXT + 0x2000))
    rules = row_at(found, TEXT + 0x1800)[1]
    assert (rules["cfa"].reg, rules["cfa"].offset, rules[RBP].arg, rules[RETURN].arg) == (RBP, 16, -16, -8)
    assert row_at(found, 0x7FFFFFFFFFFF)[1][RETURN].type == "UNDEFINED"


@given(
    st.lists(
        st.tuples(
            st.integers(1, 1 << 17),
            st.integers(-32768, 32767),
            st.integers(-32768, 32767),
            st.integers(0, 0xFFFF),
        ),
        max_size=200,
    )
)
def test_any_rows_cover_all_code_once(steps: list[tuple[int, int, int, int]]) -> None:
    rows, at = [], TEXT
    for step, *entry in steps:
        rows.append((at, entry[0], entry[1], entry[2]))
        at += step
    found = sorted(tables(rows, at), key=lambda it: it["initial_location"])[1:]
    places = [(it["initial_location"], it["initial_location"] + it["address_range"]) for it in found]
    assert [start for start, _ in places] == [TEXT, *(stop for _, stop in places)][: len(places)]
    assert not places or places[-1][1] == at
    for description in found:
        assert description.get_decoded().table
