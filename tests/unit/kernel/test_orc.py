"""Unwinding by ORC in a tiny kernel: both numberings, every rule, and what cannot be unwound."""

from __future__ import annotations

import struct

import pytest

from ktstr_tui.kernel.orc import MAX_FRAMES, NEVER_RAN, OrcRefused, Unwinder, calibrate
from tests.unit.kernel.blob import IMAGE, PAGE_OFFSET, FakeMemory, symbols

TEXT, TEXT_END = IMAGE + 0x10000, IMAGE + 0x20000
IPS, ROWS = IMAGE + 0x30000, IMAGE + 0x38000
STACK, OTHER_STACK = PAGE_OFFSET + 0x80000, PAGE_OFFSET + 0x90000
JIT = 0xFFFFFFFFC0001000
OLD_HASH, NEW_HASH = "fe5d32bf581bd63b2ca9a5c65ba5a625eab3fe24", "137c36ad7627c4dd55932176bb0ecdbd5041fc82"
OLD = {"sp": 5, "bp": 4, "prev": 1, "sp_ind": 9, "bp_ind": 8, "dx": 2, "r10": 6, "undef": 0}
NEW = {"sp": 3, "bp": 4, "prev": 8, "sp_ind": 9, "bp_ind": 10, "dx": 2, "r10": 6, "undef": 0}
CALL, REGS, PARTIAL, END, UNDEFINED = 2, 3, 4, 1, 0

A, B, C, D = (TEXT + 0x1000 * k for k in range(1, 5))
Row = tuple[int, int, int, str, str, int, int]


def row(
    at: int,
    kind: int,
    base: str = "sp",
    offset: int = 8,
    bp: str = "undef",
    bp_offset: int = 0,
    signal: int = 0,
) -> Row:
    """A table entry from ``at`` on."""
    return at, offset, bp_offset, base, bp, kind, signal


class Kernel:
    """Memory with unwind tables and a stack to write on."""

    def __init__(self, rows: list[Row], header: str = NEW_HASH, numbers: dict[str, int] = NEW) -> None:
        self.memory = FakeMemory()
        self.memory.put_bytes(IPS - 20, bytes.fromhex(header))
        for k, (at, sp_offset, bp_offset, base, bp, kind, signal) in enumerate(sorted(rows)):
            self.memory.put(IPS + 4 * k, at - (IPS + 4 * k), 4)
            bits = numbers[base] | numbers[bp] << 4 | kind << 8 | signal << 11
            self.memory.put_bytes(ROWS + 6 * k, struct.pack("<hhH", sp_offset, bp_offset, bits))
        self.count = len(rows)

    def unwinder(self) -> Unwinder:
        named = symbols(
            __start_orc_unwind_ip=IPS,
            __stop_orc_unwind_ip=IPS + 4 * self.count,
            __start_orc_unwind=ROWS,
            _text=TEXT,
            _etext=TEXT_END,
            ret_from_fork_asm=C,
        )
        return Unwinder(self.memory.space(), named)

    def stack(self, at: int, *words: int) -> None:
        for k, word in enumerate(words):
            self.memory.put(at + 8 * k, word)


@pytest.mark.parametrize(("header", "numbers"), [(OLD_HASH, OLD), (NEW_HASH, NEW)])
def test_calls_are_followed_under_both_numberings(header: str, numbers: dict[str, int]) -> None:
    rows = [
        row(A, CALL),
        row(B, CALL, offset=24, bp="prev", bp_offset=-16),
        row(C, CALL, "bp", 16),
        row(D, END),
    ]
    kernel = Kernel(rows, header, numbers)
    kernel.stack(STACK, B + 5, 0x11, STACK + 0x40, C + 9)
    kernel.stack(STACK + 0x48, D + 4)
    frames, end = kernel.unwinder().unwind_registers(A, STACK, 0)
    assert [frame.address for frame in frames] == [A, B + 5, C + 9, D + 4]
    assert not any(frame.guess for frame in frames)
    assert end == "end of stack"


def test_a_return_address_belongs_to_the_call_before_it() -> None:
    """A call may be the last thing of a function, so the address behind it is already the next one's."""
    kernel = Kernel([row(A, CALL), row(B, CALL), row(C, UNDEFINED), row(D, END)])
    kernel.stack(STACK, C, D + 1)
    frames, end = kernel.unwinder().unwind_registers(A, STACK, 0)
    assert [frame.address for frame in frames] == [A, C, D + 1]
    assert end == "end of stack"


def test_an_address_where_execution_stands_is_looked_up_itself() -> None:
    kernel = Kernel([row(A, UNDEFINED), row(B, CALL), row(D, END)])
    kernel.stack(STACK, D + 1)
    frames, _ = kernel.unwinder().unwind_registers(B, STACK, 0)
    assert [frame.address for frame in frames] == [B, D + 1]


def regs(ip: int, sp: int, bp: int = 0, cs: int = 0x10, r10: int = 0) -> list[int]:
    """The words of a ``struct pt_regs``."""
    words = [0] * 21
    words[4], words[7], words[16], words[17], words[19] = bp, r10, ip, cs, sp
    return words


def test_an_interrupt_switches_stacks_and_back() -> None:
    """The interrupt stack holds the old stack pointer; behind it lie the interrupted registers."""
    rows = [
        row(A, CALL, "sp_ind", 8),  # on the interrupt stack: [rsp] is the task's stack
        row(B, REGS, "sp", 0, signal=1),  # the entry code: pt_regs right here
        row(C, CALL),
        row(D, END),
    ]
    kernel = Kernel(rows)
    kernel.stack(OTHER_STACK, STACK)
    kernel.stack(STACK, B + 3)
    kernel.stack(STACK + 8, *regs(C, STACK + 0x200))
    kernel.stack(STACK + 0x200, D + 1)
    frames, end = kernel.unwinder().unwind_registers(A, OTHER_STACK, 0)
    assert [frame.address for frame in frames] == [A, B + 3, C, D + 1]
    assert end == "end of stack"


def test_bp_indirect_reads_the_stack_pointer_from_the_frame() -> None:
    kernel = Kernel([row(A, CALL, "bp_ind", -8), row(D, END)])
    kernel.stack(OTHER_STACK + 0x38, STACK)
    kernel.stack(STACK - 8, D + 1)
    frames, _ = kernel.unwinder().unwind_registers(A, OTHER_STACK, OTHER_STACK + 0x40)
    assert [frame.address for frame in frames] == [A, D + 1]


def test_full_registers_give_the_frame_pointer_and_other_bases() -> None:
    rows = [row(A, REGS, "sp", 0, signal=1), row(B, CALL, "r10", 0), row(C, CALL, "bp", 16), row(D, END)]
    kernel = Kernel(rows)
    kernel.stack(STACK, *regs(B, STACK + 0x300, bp=STACK + 0x400, r10=STACK + 0x308))
    kernel.stack(STACK + 0x300, C + 2)
    kernel.stack(STACK + 0x408, D + 1)
    frames, end = kernel.unwinder().unwind_registers(A, STACK, 0)
    assert [frame.address for frame in frames] == [A, B, C + 2, D + 1]
    assert end == "end of stack"


def test_partial_registers_hold_only_what_the_cpu_pushed() -> None:
    kernel = Kernel([row(A, PARTIAL, "sp", 0, signal=1), row(B, CALL), row(D, END)])
    kernel.stack(STACK, B, 0x10, 0, STACK + 0x100, 0)
    kernel.stack(STACK + 0x100, D + 1)
    frames, _ = kernel.unwinder().unwind_registers(A, STACK, 0)
    assert [frame.address for frame in frames] == [A, B, D + 1]


@pytest.mark.parametrize("kind", [REGS, PARTIAL])
def test_the_way_into_user_mode_ends_the_stack(kind: int) -> None:
    kernel = Kernel([row(A, kind, "sp", 0), row(D, END)])
    words = regs(0x401000, 0x7FFF0000, cs=0x33)
    kernel.stack(STACK, *(words if kind == REGS else words[16:]))
    frames, end = kernel.unwinder().unwind_registers(A, STACK, 0)
    assert [frame.address for frame in frames] == [A]
    assert end == "user"


def test_a_cpu_in_user_mode_has_no_kernel_stack() -> None:
    assert Kernel([row(A, END)]).unwinder().unwind_registers(0x401000, 0x7FFF0000, 0) == ([], "user")


def test_jit_compiled_code_is_followed_by_its_frame_pointer_and_marked() -> None:
    kernel = Kernel([row(A, CALL), row(B, CALL), row(D, END)])
    kernel.stack(STACK + 0x20, STACK + 0x50, B + 2)
    kernel.stack(STACK + 0x30, D + 1)
    frames, end = kernel.unwinder().unwind_registers(JIT, STACK, STACK + 0x20)
    assert [(frame.address, frame.guess) for frame in frames] == [(JIT, False), (B + 2, True), (D + 1, False)]
    assert end == "end of stack"


@pytest.mark.parametrize(
    ("bp", "why"), [(0, "no frame pointer"), (STACK + 3, "no frame pointer"), (STACK - 8, "below the stack")]
)
def test_a_frame_pointer_that_cannot_be_one_is_not_followed(bp: int, why: str) -> None:
    frames, end = Kernel([row(A, END)]).unwinder().unwind_registers(JIT, STACK, bp)
    assert [frame.address for frame in frames] == [JIT]
    assert why in end


def test_a_sleeping_task_starts_where_the_switch_left_it() -> None:
    kernel = Kernel([row(A, CALL, "bp", 16), row(D, END)])
    kernel.stack(STACK, 15, 14, 13, 12, 0, STACK + 0x80, A + 7)
    kernel.stack(STACK + 0x88, D + 1)
    frames, end = kernel.unwinder().unwind_task(STACK)
    assert [frame.address for frame in frames] == [A + 7, D + 1]
    assert end == "end of stack"
    frames, end = kernel.unwinder().unwind_task(0xFFFFC90000000000)
    assert frames == []
    assert end.startswith("unreadable")


def test_a_task_that_never_ran_has_called_no_function() -> None:
    """The kernel's own dump prints no frame of it; the address before belongs to another function."""
    kernel = Kernel([row(B, CALL), row(C, END, signal=1), row(D, END)])
    kernel.stack(STACK, 0, 0, 0, 0, 0, 0, C)
    assert kernel.unwinder().unwind_task(STACK) == ([], NEVER_RAN)


def test_words_come_from_the_reader_that_is_given() -> None:
    kernel = Kernel([row(A, CALL), row(D, END)])
    copy = {0xFFFFC90000001000: D + 1}
    frames, _ = kernel.unwinder().unwind_registers(A, 0xFFFFC90000001000, 0, read=copy.__getitem__)
    assert [frame.address for frame in frames] == [A, D + 1]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([row(A, UNDEFINED), row(D, END)], "no unwind entry"),
        ([row(A, CALL, "r10"), row(D, END)], "needs register r10"),
        ([row(A, CALL, "sp", 0), row(D, END)], "does not continue"),
        ([row(A, CALL, "bp", 0), row(D, END)], "unreadable"),
        ([row(A, 6), row(D, END)], "unknown type 6"),
    ],
)
def test_what_cannot_be_unwound_says_why(rows: list[Row], why: str) -> None:
    kernel = Kernel(rows)
    kernel.stack(STACK - 8, A + 1)
    kernel.stack(STACK, A + 1)
    frames, end = kernel.unwinder().unwind_registers(A, STACK, 0)
    assert frames[0].address == A
    assert why in end


def test_a_stack_without_end_is_cut() -> None:
    kernel = Kernel([row(A, CALL), row(D, END)])
    kernel.stack(STACK, *[A + 1] * 100)
    frames, end = kernel.unwinder().unwind_registers(A, STACK, 0)
    assert len(frames) == MAX_FRAMES
    assert end.startswith("cut after")


@pytest.mark.parametrize("numbers", [OLD, NEW])
def test_an_unknown_header_is_calibrated_by_the_number_of_sp(numbers: dict[str, int]) -> None:
    functions = [row(TEXT + 0x10 * k, CALL) for k in range(400)]
    kernel = Kernel([*functions, row(A + 0x1000, CALL, "bp", 16), row(D, END)], "00" * 20, numbers)
    kernel.stack(STACK, D + 1)
    frames, end = kernel.unwinder().unwind_registers(TEXT, STACK, 0)
    assert [frame.address for frame in frames] == [TEXT, D + 1]
    assert end == "end of stack"


def test_tables_that_do_not_calibrate_are_refused() -> None:
    with pytest.raises(OrcRefused, match="unknown layout"):
        Kernel([row(A, CALL), row(D, END)], "00" * 20).unwinder()
    undecided = [(8, 0, 3 | CALL << 8), (8, 0, 5 | CALL << 8)] * 200
    with pytest.raises(OrcRefused, match="abcd"):
        calibrate(undecided, "abcd")
    other = [(8, 0, 7 | CALL << 8)] * 400
    with pytest.raises(OrcRefused):
        calibrate(other, "abcd")


def test_missing_tables_are_refused() -> None:
    with pytest.raises(OrcRefused, match="no ORC unwind tables"):
        Unwinder(FakeMemory().space(), symbols(_text=TEXT))
    with pytest.raises(OrcRefused, match="implausible"):
        Kernel([]).unwinder()
