"""Id tables in made-up memory: shapes of the tree, and trees that are none."""

from __future__ import annotations

import pytest

from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.xarray import IdTables
from tests.unit.kernel.blob import PAGE_OFFSET
from tests.unit.kernel.whole import MAP_IDR, MAP_NODE, WholeKernel

ITEM, OTHER = PAGE_OFFSET + 0xE0000, PAGE_OFFSET + 0xE1000
INNER = MAP_NODE + 0x400
HEAD, BASE = MAP_IDR + 8, MAP_IDR + 16
SLOTS = 0x28


class Table:
    """An id table to build and to read."""

    def __init__(self) -> None:
        self.kernel = WholeKernel()
        self.put = self.kernel.memory.put
        self.ids = IdTables(self.kernel.btf)

    def node(self, at: int, shift: int, **slots: int) -> int:
        """Write a node; the entry that leads to it."""
        self.put(at, shift, 1)
        for number, entry in slots.items():
            self.put(at + SLOTS + 8 * int(number[1:]), entry)
        return at | 2

    def entries(self, limit: int = 100) -> list[tuple[int, int]]:
        return list(self.ids.entries(self.kernel.space, MAP_IDR, limit))

    def find(self, number: int) -> int | None:
        return self.ids.find(self.kernel.space, MAP_IDR, number)


def test_an_empty_table_has_nothing() -> None:
    table = Table()
    assert table.entries() == []
    assert table.find(0) is None


def test_a_single_item_has_no_node() -> None:
    table = Table()
    table.put(HEAD, ITEM)
    assert table.entries() == [(0, ITEM)]
    assert (table.find(0), table.find(1)) == (ITEM, None)


def test_ids_are_built_of_the_slots_on_the_way() -> None:
    table = Table()
    inner = table.node(INNER, 0, _3=ITEM, _63=OTHER)
    table.put(HEAD, table.node(MAP_NODE, 6, _0=inner))
    assert table.entries() == [(3, ITEM), (63, OTHER)]
    table.put(MAP_NODE + SLOTS, 0)
    table.put(MAP_NODE + SLOTS + 16, inner)
    assert table.entries() == [(131, ITEM), (191, OTHER)]
    assert [table.find(number) for number in (131, 191, 3, 132, 4096, -1)] == [ITEM, OTHER, *[None] * 4]
    assert table.entries(limit=1) == [(131, ITEM)]


def test_a_base_is_added_to_every_id() -> None:
    table = Table()
    table.put(HEAD, table.node(MAP_NODE, 0, _1=ITEM))
    table.put(BASE, 100, 4)
    assert table.entries() == [(101, ITEM)]
    assert (table.find(101), table.find(1)) == (ITEM, None)


def test_reserved_ids_and_small_numbers_are_no_items() -> None:
    table = Table()
    table.put(HEAD, table.node(MAP_NODE, 0, _0=257 << 2 | 2, _1=7 << 1 | 1, _2=ITEM, _3=ITEM | 1))
    assert table.entries() == [(2, ITEM)]
    assert [table.find(number) for number in range(4)] == [None, None, ITEM, None]


def test_a_node_that_holds_itself_ends_the_walk() -> None:
    table = Table()
    table.put(HEAD, table.node(MAP_NODE, 6, _0=MAP_NODE | 2, _1=ITEM))
    assert table.entries() == [(64, ITEM)]
    assert table.find(0) is None


def test_shifts_that_rise_and_impossible_ones_end_the_walk() -> None:
    table = Table()
    table.put(HEAD, table.node(MAP_NODE, 0, _0=table.node(INNER, 6, _0=ITEM)))
    assert table.entries() == []
    table.put(HEAD, table.node(MAP_NODE, 200, _0=ITEM))
    assert table.entries() == []
    assert table.find(0) is None


def test_a_head_that_leads_to_user_space_is_no_node() -> None:
    table = Table()
    table.put(HEAD, 0x7000_0000_0002)
    assert table.entries() == []
    assert table.find(0) is None


def test_a_tree_whose_slots_all_lead_to_one_node_is_refused() -> None:
    table = Table()
    below = 0
    for level in range(5):
        slots = {f"_{k}": below for k in range(64)} if below else {}
        below = table.node(MAP_NODE + 0x400 * level, 6 * level, **slots)
    table.put(HEAD, below)
    with pytest.raises(MemoryReadError, match="too many nodes"):
        table.entries()
