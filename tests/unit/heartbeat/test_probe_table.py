"""The probe table. The tests called ``test_pid_index_…`` have counterparts in the reference observer's tracker."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.heartbeat import probe_table
from ktstr_tui.heartbeat.probe_table import MAX_CAPACITY, MAX_PROBE, MAX_SLOT, ProbeExhausted, ProbeTable
from ktstr_tui.model.errors import InternalError
from tests.oracles import probe_table as probe_table_py
from tests.oracles.probe_table import PyProbeTable
from tests.unit.heartbeat.either import MakeTable, keys_at, unmix32, xorshift64

MIXED = {
    0: 0x00000000,
    1: 0x514E28B7,
    2: 0x30F4C306,
    42: 0x087FCD5C,
    9999: 0xD20B0FA7,
    12345: 0x3C46C9DC,
    4194304: 0xBFE8338C,
    (1 << 32) - 1: 0x81F16F39,
}


@pytest.mark.parametrize(("key", "mixed"), MIXED.items())
def test_mix32_check_values(key: int, mixed: int) -> None:
    assert probe_table.mix32(key) == mixed
    assert probe_table_py.mix32(key) == mixed
    assert unmix32(mixed) == key


@given(st.integers(0, (1 << 32) - 1))
def test_both_mix_the_same(key: int) -> None:
    assert probe_table.mix32(key) == probe_table_py.mix32(key)
    assert unmix32(probe_table.mix32(key)) == key


@pytest.mark.parametrize(
    ("capacity", "size"), [(0, 2), (1, 2), (2, 4), (3, 8), (4, 8), (256, 512), (257, 1024), (4096, 8192)]
)
def test_the_table_is_at_most_half_full(make_table: MakeTable, capacity: int, size: int) -> None:
    assert make_table(capacity).size == size


def test_pid_index_insert_get_remove_roundtrip(make_table: MakeTable) -> None:
    table = make_table(16)
    assert table.get(42) is None
    table.insert(42, 7)
    assert table.get(42) == 7
    table.insert(42, 9)
    assert table.get(42) == 9
    assert len(table) == 1
    assert table.remove(42) == 9
    assert table.get(42) is None
    assert table.remove(42) is None
    assert len(table) == 0


def test_pid_index_tombstone_reuse(make_table: MakeTable) -> None:
    table = make_table(64)
    for pid in range(1, 33):
        table.insert(pid, pid)
    for pid in range(1, 17):
        assert table.remove(pid) == pid
    for pid in range(17, 33):
        assert table.get(pid) == pid
    for pid in range(1, 17):
        table.insert(pid, pid + 100)
    for pid in range(1, 17):
        assert table.get(pid) == pid + 100
    for pid in range(17, 33):
        assert table.get(pid) == pid


def test_pid_index_probe_exhaustion_returns_error(make_table: MakeTable) -> None:
    table = make_table(4)
    for pid in range(1, 9):
        table.insert(pid, pid)
    with pytest.raises(ProbeExhausted):
        table.insert(9999, 0)
    assert table.probe_exhausted() == 1
    assert len(table) == 8
    assert table.get(9999) is None
    assert [table.get(pid) for pid in range(1, 9)] == list(range(1, 9))


def test_pid_index_occupied_tracks_live_entries_under_churn(make_table: MakeTable) -> None:
    table = make_table(32)
    live: dict[int, None] = {}
    for step in range(2000):
        pid = step % 48
        if pid in live:
            table.remove(pid)
        elif len(live) >= 32:
            victim = next(iter(live))
            table.remove(victim)
            del live[victim]
        table.insert(pid, pid)
        live[pid] = None
        assert len(table) == len(live)
    assert all((table.get(pid) == pid) == (pid in live) for pid in range(48))


def test_pid_index_occupied_restored_on_tombstone_reuse(make_table: MakeTable) -> None:
    table = make_table(16)
    table.insert(42, 0)
    assert len(table) == 1
    table.remove(42)
    assert len(table) == 0
    table.insert(42, 5)
    assert len(table) == 1


def test_a_table_full_of_tombstones_takes_any_key(make_table: MakeTable) -> None:
    table = make_table(256)
    # Keys that come and go one by one, until no place was never used.
    for key in range(20_000):
        table.insert(key, 1)
        assert table.remove(key) == 1
    assert len(table) == 0
    for key in range(1_000_000, 1_000_256):
        table.insert(key, key - 1_000_000)
    assert [table.get(key) for key in range(1_000_000, 1_000_256)] == list(range(256))
    assert table.probe_exhausted() == 0


def test_no_more_than_the_budget_is_searched(make_table: MakeTable) -> None:
    table = make_table(4096)
    *within, beyond = keys_at(77, table.size, MAX_PROBE + 1)
    for slot, key in enumerate(within):
        table.insert(key, slot)
    with pytest.raises(ProbeExhausted):
        table.insert(beyond, 1)
    assert table.probe_exhausted() == 1
    assert [table.get(key) for key in within] == list(range(MAX_PROBE))
    # Any of them gives its place to the one that was refused.
    assert table.remove(within[20]) == 20
    table.insert(beyond, 99)
    assert table.get(beyond) == 99
    assert [table.get(key) for key in within[21:]] == list(range(21, MAX_PROBE))


def test_a_search_goes_round_the_end(make_table: MakeTable) -> None:
    table = make_table(4)
    keys = keys_at(table.size - 1, table.size, 4)
    for slot, key in enumerate(keys):
        table.insert(key, slot)
    assert [table.get(key) for key in keys] == [0, 1, 2, 3]


@pytest.mark.parametrize("key", [0, 1, (1 << 32) - 2, (1 << 32) - 1])
def test_extreme_keys_and_slots(make_table: MakeTable, key: int) -> None:
    table = make_table(4)
    assert table.get(key) is None
    table.insert(key, MAX_SLOT)
    assert table.get(key) == MAX_SLOT
    assert table.remove(key) == MAX_SLOT


def test_both_agree_with_a_dict_on_each_of_many_steps() -> None:
    ours, twin = ProbeTable(24), PyProbeTable(24)
    oracle: dict[int, int] = {}
    numbers = xorshift64(0x5EED)
    for _ in range(20_000):
        number = next(numbers)
        key, slot = number % 60, number >> 32 & 0xFFFF
        if number >> 20 & 1 and (key in oracle or len(oracle) < 24):
            ours.insert(key, slot)
            twin.insert(key, slot)
            oracle[key] = slot
        else:
            assert ours.remove(key) == twin.remove(key) == oracle.pop(key, None)
        probe = next(numbers) % 60
        assert ours.get(probe) == twin.get(probe) == oracle.get(probe)
        assert len(ours) == len(twin) == len(oracle)
    assert ours.probe_exhausted() == twin.probe_exhausted() == 0


@pytest.mark.parametrize("capacity", [-1, MAX_CAPACITY + 1])
def test_sizes_out_of_range_are_refused(capacity: int) -> None:
    with pytest.raises(InternalError, match="out of range"):
        ProbeTable(capacity)
