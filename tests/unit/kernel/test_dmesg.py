"""The kernel's log in made-up memory: order, wrapping, and rings that were overwritten."""

from __future__ import annotations

import pytest

from ktstr_tui.kernel.dmesg import DmesgUnreadable, dmesg_tail
from tests.unit.kernel.whole import LOG_RECORDS, PRB, RING, WholeKernel

HEAD, TAIL, COUNT_BITS = PRB + 8 + 24, PRB + 8 + 32, PRB + 8


def kernel_with(*lines: str) -> WholeKernel:
    kernel = WholeKernel()
    for number, line in enumerate(lines):
        kernel.log(line, 1_500_000_000 + number * 1_000_000)
    return kernel


def test_the_newest_lines_come_oldest_first_with_their_time() -> None:
    view = kernel_with("one", "two", "three").open()
    assert dmesg_tail(view.prog, 2) == ("[    1.501000] two", "[    1.502000] three")
    assert len(dmesg_tail(view.prog, 100)) == 3


def test_a_record_of_several_lines_has_its_time_on_each() -> None:
    view = kernel_with("first\nsecond").open()
    assert dmesg_tail(view.prog, 10) == ("[    1.500000] first", "[    1.500000] second")


def test_a_ring_that_wrapped_holds_what_fits() -> None:
    view = kernel_with(*(f"line {k}" for k in range(LOG_RECORDS + 3))).open()
    lines = dmesg_tail(view.prog, 100)
    assert len(lines) == LOG_RECORDS
    assert (lines[0][-6:], lines[-1][-7:]) == ("line 3", "line 10")


@pytest.mark.parametrize(
    ("place", "value", "size"),
    [(HEAD, 1 << 61, 8), (TAIL, 1 << 40, 8), (COUNT_BITS, 63, 4), (COUNT_BITS, 0, 4)],
)
def test_a_ring_that_was_overwritten_is_refused_at_once(place: int, value: int, size: int) -> None:
    kernel = kernel_with("one", "two")
    kernel.memory.put(place, value, size)
    with pytest.raises(DmesgUnreadable, match="could not be read"):
        dmesg_tail(kernel.open().prog, 10)


@pytest.mark.parametrize("place", [PRB, PRB + 16])
def test_a_ring_behind_a_wild_pointer_is_unreadable(place: int) -> None:
    kernel = kernel_with("one")
    kernel.memory.put(place, 0xDEAD_0000_0000_0000)
    with pytest.raises(DmesgUnreadable):
        dmesg_tail(kernel.open().prog, 10)


def test_a_record_that_is_being_written_is_left_out() -> None:
    kernel = kernel_with("one", "two")
    kernel.memory.put(RING, 0)  # reserved: state 0
    assert dmesg_tail(kernel.open().prog, 10) == ("[    1.501000] two",)
