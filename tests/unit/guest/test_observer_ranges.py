"""Ranges of the observer, against a plain search: the C is compiled as it stands."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.guest.observer_page import MAX_WATCHES, merge

SOURCE = Path(__file__).parents[3] / "native/observer/ranges.c"
NEAR = """
#include "ranges.h"
bool near(const struct ranges *ranges, uint64_t address)
{
	return ranges_near(ranges, address);
}
"""
"""What the observer asks first, in its header."""
STATE_BYTES = 8 + 16 * MAX_WATCHES + 8192
TOP = (1 << 64) - 1


class Ranges:
    """The compiled functions over one table."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._take, self._hit, self._near = library.ranges_take, library.ranges_hit, library.near
        self._also_near = library.ranges_also_near
        self._take.restype = self._hit.restype = self._near.restype = ctypes.c_bool
        self._state = ctypes.create_string_buffer(STATE_BYTES)

    def take(self, ranges: list[tuple[int, int]], claimed: int | None = None) -> bool:
        flat = [address for pair in ranges for address in pair]
        table = (ctypes.c_uint64 * (2 * MAX_WATCHES))(*flat)
        taken: bool = self._take(self._state, table, len(ranges) if claimed is None else claimed)
        return taken

    def hit(self, first: int, last: int) -> bool:
        found: bool = self._hit(self._state, ctypes.c_uint64(first), ctypes.c_uint64(last))
        return found

    def near(self, address: int) -> bool:
        found: bool = self._near(self._state, ctypes.c_uint64(address))
        return found

    def also_near(self, address: int) -> None:
        self._also_near(self._state, ctypes.c_uint64(address), ctypes.c_uint64(address))


@pytest.fixture(scope="module")
def ranges(tmp_path_factory: pytest.TempPathFactory) -> Ranges:
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler is not None, "no C compiler: apt install gcc libc6-dev"
    library = tmp_path_factory.mktemp("ranges") / "ranges.so"
    near = library.with_name("near.c")
    near.write_text(NEAR)
    flags = ("-O1", "-Wall", "-Werror", "-fPIC", "-shared", f"-I{SOURCE.parent}")
    subprocess.run([compiler, *flags, "-o", library, SOURCE, near], check=True)
    return Ranges(ctypes.CDLL(str(library)))


@given(
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(1, 9000)), max_size=20),
    st.lists(st.tuples(st.integers(0, (1 << 16) + 9000), st.sampled_from((1, 2, 4, 8, 16))), max_size=50),
)
def test_a_store_hits_what_it_overlaps(
    ranges: Ranges, watched: list[tuple[int, int]], stores: list[tuple[int, int]]
) -> None:
    assert ranges.take(merge(watched))
    for address, width in stores:
        last = address + width - 1
        overlaps = any(first <= last and address < first + length for first, length in watched)
        assert ranges.hit(address, last) == overlaps
        assert ranges.near(address) or not overlaps, "asked first, of each store"


@given(st.integers(0, TOP - 4096), st.integers(0, TOP - 4096))
def test_near_is_what_is_watched_or_was_named_and_little_else(
    ranges: Ranges, watched: int, named: int
) -> None:
    assert ranges.take([(watched, watched)])
    ranges.also_near(named)
    assert ranges.near(watched)
    assert ranges.near(max(watched - 15, 0)), "a store that ends there"
    assert ranges.near(named)
    far = (named + (1 << 20)) & ~0xFFF
    if all(far >> 12 & 0xFFFF != it >> 12 & 0xFFFF for it in (watched, named)):
        assert not ranges.near(far)
    assert ranges.take([])
    assert not ranges.near(named)


@given(
    st.lists(st.tuples(st.integers(0, TOP), st.integers(0, TOP)), max_size=20),
    st.one_of(st.none(), st.integers(MAX_WATCHES + 1, (1 << 32) - 1)),
    st.integers(0, TOP - 16),
)
def test_a_hostile_page_is_refused_whole_or_taken(
    ranges: Ranges, table: list[tuple[int, int]], claimed: int | None, address: int
) -> None:
    proper = all(first <= last for first, last in table) and all(
        before[1] < after[0] for before, after in pairwise(table)
    )
    assert ranges.take(table, claimed) == (proper and claimed is None)
    hit = ranges.hit(address, address + 7)
    assert hit == (
        proper and claimed is None and any(first <= address + 7 and address <= last for first, last in table)
    )


def test_as_many_as_there_are(ranges: Ranges) -> None:
    assert ranges.take([(4096 * number, 4096 * number + 7) for number in range(MAX_WATCHES)])
    assert ranges.hit(4096 * (MAX_WATCHES - 1) + 7, 4096 * (MAX_WATCHES - 1) + 14)
    assert not ranges.hit(4096 * (MAX_WATCHES - 1) + 8, 4096 * (MAX_WATCHES - 1) + 15)
