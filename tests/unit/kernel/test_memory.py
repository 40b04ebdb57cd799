"""Guest RAM: segments, holes, and what is not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.kernel.memory import GuestRam, OutOfRange

PAGE = 4096
GIB4 = 4 << 30
LOW, HIGH = 8 * PAGE, 4 * PAGE


@pytest.fixture
def memfd() -> Iterator[int]:
    fd = os.memfd_create("test-ram")
    os.ftruncate(fd, LOW + HIGH)
    yield fd
    os.close(fd)


@pytest.fixture
def ram(memfd: int) -> Iterator[GuestRam]:
    """RAM split as on q35: what follows the low part in the file is at 4 GiB in the guest."""
    opened = GuestRam.from_fds([(memfd, LOW, GIB4, HIGH), (memfd, 0, 0, LOW)])
    yield opened
    opened.close()


def test_the_part_above_the_pci_hole_is_read_at_4_gib(memfd: int, ram: GuestRam) -> None:
    os.pwrite(memfd, b"low", 5)
    os.pwrite(memfd, b"high", LOW + 7)
    assert ram.read(5, 3) == b"low"
    assert ram.read(GIB4 + 7, 4) == b"high"
    assert ram.end == GIB4 + HIGH


@pytest.mark.parametrize(
    ("phys", "length"),
    [(LOW - 1, 2), (LOW, 1), (GIB4 - 1, 1), (GIB4 - 1, 2), (GIB4 + HIGH - 1, 2), (1 << 60, 8), (-1, 1)],
)
def test_a_read_that_leaves_ram_raises(ram: GuestRam, phys: int, length: int) -> None:
    with pytest.raises(OutOfRange):
        ram.read(phys, length)


def test_the_error_names_the_first_address_without_memory(ram: GuestRam) -> None:
    with pytest.raises(OutOfRange) as caught:
        ram.read(LOW - 4, 8)
    assert caught.value.address == LOW


def test_words_are_little_endian_everywhere(memfd: int, ram: GuestRam) -> None:
    os.pwrite(memfd, bytes(range(1, 9)), 16)
    os.pwrite(memfd, bytes(range(1, 9)), LOW + 16)
    assert ram.u64(16) == ram.u64(GIB4 + 16) == 0x0807060504030201
    with pytest.raises(OutOfRange):
        ram.u64(LOW - 7)


def test_adjacent_segments_read_as_one(memfd: int) -> None:
    os.pwrite(memfd, b"abcd", LOW - 2)
    # Two NUMA nodes: separate files in reality, separate mappings here.
    ram = GuestRam.from_fds([(memfd, 0, 0, LOW), (memfd, LOW, LOW, HIGH)])
    assert ram.read(LOW - 2, 4) == b"abcd"
    assert ram.u64(LOW - 2) & 0xFFFFFFFF == int.from_bytes(b"abcd", "little")
    ram.close()


def test_scanning_does_not_fill_holes(memfd: int, ram: GuestRam) -> None:
    os.pwrite(memfd, b"x", 3 * PAGE)
    os.pwrite(memfd, b"y", LOW + PAGE)
    blocks = os.fstat(memfd).st_blocks
    ranges = list(ram.data_ranges())
    assert ranges == [(3 * PAGE, PAGE), (GIB4 + PAGE, PAGE)]
    heads = [piece for start, length in ranges for piece in ram.page_heads(start, length)]
    assert heads == [(3 * PAGE, b"x"), (GIB4 + PAGE, b"y")]
    assert os.fstat(memfd).st_blocks == blocks


def test_heads_outside_ram_are_refused(ram: GuestRam) -> None:
    with pytest.raises(OutOfRange):
        list(ram.page_heads(LOW, PAGE))


def test_a_whole_file_is_one_segment(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(PAGE - 3) + b"end")
    ram = GuestRam.from_file(path)
    assert ram.read(PAGE - 3, 3) == b"end"
    ram.close()
    with pytest.raises(ValueError, match="closed"):
        ram.read(0, 1)


def test_ram_without_segments_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        GuestRam([])


@given(st.integers(0, LOW + PAGE), st.integers(0, 3 * PAGE))
def test_a_read_is_exact_or_raises(start: int, length: int) -> None:
    fd = os.memfd_create("test-ram")
    try:
        content = b"".join(bytes([k % 251]) * 17 for k in range(LOW // 17 + 1))[:LOW]
        os.pwrite(fd, content, 0)
        ram = GuestRam.from_fds([(fd, 0, 0, LOW)])
        if start + length <= LOW:
            assert ram.read(start, length) == content[start : start + length]
        elif length:
            with pytest.raises(OutOfRange):
                ram.read(start, length)
        ram.close()
    finally:
        os.close(fd)
