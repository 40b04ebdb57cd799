"""BPF maps in made-up memory: every kind that is rendered, what is left out, and damage."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from ktstr_tui.kernel import bpf_map_raw
from ktstr_tui.model.report import MapReport
from tests.unit.kernel.blob import IMAGE, PAGE_OFFSET
from tests.unit.kernel.whole import MAP_BLOB, MAP_BTF, MAP_IDR, MAP_NODE, MAP_VALUE, WholeKernel

FREE = PAGE_OFFSET + 0xE0000
WILD = 0xFFFF_8880_7000_0000
STRIDE = 0x1000
"""Between the per-CPU copies of the two CPUs."""


def counts(hits: int, misses: int) -> bytes:
    """A value of the maps' type."""
    return struct.pack("<ii", hits, misses)


def rendered(kernel: WholeKernel, **limits: int) -> list[MapReport]:
    view = kernel.open()
    raws, _ = view.maps.copy(view.fresh_space(), **limits)
    return [view.maps.render(raw) for raw in raws]


def values(report: MapReport) -> dict[object, object]:
    assert report.error is None, report.error
    return {entry.key: entry.value for entry in report.entries}


def array(kernel: WholeKernel, entries: int = 3, *, step: int = 16) -> int:
    address = kernel.bpf_map("array", "ARRAY", key_size=4, value_size=8, max_entries=entries)
    kernel.memory.put(address + 64, step, 4)
    for k in range(entries):
        kernel.memory.put_bytes(address + MAP_VALUE + step * k, counts(k, -k))
    return address


def hash_map(kernel: WholeKernel) -> int:
    """Two elements in one bucket of four; the others are empty or locked."""
    address = kernel.bpf_map("hash", "HASH", key_size=4, value_size=8, max_entries=16)
    put = kernel.memory.put
    put(address + 64, FREE)
    put(address + 72, 4, 4)
    for bucket, head in enumerate((0, FREE + 0x100, 1, 3)):
        put(FREE + 16 * bucket, head)
    for at, following, key in ((0x100, FREE + 0x200, 5), (0x200, 0x11, 6)):
        put(FREE + at, following)
        put(FREE + at + 16, key, 4)
        kernel.memory.put_bytes(FREE + at + 24, counts(key, 10 * key))
    return address


def task_storage(kernel: WholeKernel) -> int:
    task = kernel.sleeper(8, pid=42, comm="owner")
    address = kernel.bpf_map("storage", "TASK_STORAGE", key_size=4, value_size=8, max_entries=0)
    put = kernel.memory.put
    put(address + 64, FREE)
    put(address + 72, 1, 4)
    put(FREE + 8, FREE + 0x100)
    put(FREE + 0x100 + 16, FREE + 0x200)
    kernel.memory.put_bytes(FREE + 0x100 + 32, counts(1, 2))
    put(FREE + 0x200, task)
    return address


def test_an_array_has_its_index_as_key() -> None:
    kernel = WholeKernel()
    array(kernel)
    (report,) = rendered(kernel)
    assert (report.name, report.map_type, report.truncated) == ("array", "array", False)
    assert values(report) == {k: {"hits": k, "misses": -k} for k in range(3)}


def test_a_per_cpu_array_has_a_value_for_each_cpu() -> None:
    kernel = WholeKernel()
    address = kernel.bpf_map("each", "PERCPU_ARRAY", key_size=4, value_size=8, max_entries=1)
    kernel.memory.put(address + MAP_VALUE, FREE)
    kernel.memory.put_bytes(FREE, counts(1, 2))
    kernel.memory.put_bytes(FREE + STRIDE, counts(3, 4))
    assert values(rendered(kernel)[0]) == {0: [{"hits": 1, "misses": 2}, {"hits": 3, "misses": 4}]}


def test_a_hash_is_walked_bucket_by_bucket() -> None:
    kernel = WholeKernel()
    hash_map(kernel)
    assert values(rendered(kernel)[0]) == {5: {"hits": 5, "misses": 50}, 6: {"hits": 6, "misses": 60}}


def test_task_storage_is_keyed_by_the_owners_pid() -> None:
    kernel = WholeKernel()
    task_storage(kernel)
    assert values(rendered(kernel)[0]) == {42: {"hits": 1, "misses": 2}}


def test_storage_whose_task_is_gone_is_left_out() -> None:
    kernel = WholeKernel()
    task_storage(kernel)
    kernel.memory.put(FREE + 0x200, 0)
    assert values(rendered(kernel)[0]) == {}


def test_struct_ops_has_one_value() -> None:
    kernel = WholeKernel()
    address = kernel.bpf_map("ops", "STRUCT_OPS", key_size=4, value_size=8, max_entries=1)
    kernel.memory.put_bytes(address + 0x80, counts(8, 9))
    assert values(rendered(kernel)[0]) == {0: {"hits": 8, "misses": 9}}


def test_a_kind_that_is_not_rendered_is_listed_with_that_reason() -> None:
    kernel = WholeKernel()
    kernel.bpf_map("bloom", "BLOOM_FILTER", key_size=0, value_size=0, max_entries=4096)
    (report,) = rendered(kernel)
    assert (report.name, report.error) == ("bloom", "maps of type BLOOM_FILTER are not rendered")


def test_values_without_types_are_numbers_or_hexadecimal() -> None:
    kernel = WholeKernel()
    address = array(kernel, 1)
    kernel.memory.put(address + 32, 0)
    assert values(rendered(kernel)[0]) == {0: 0}
    kernel.memory.put(address + 8, 3, 4)  # value_size
    kernel.memory.put(address + 64, 8, 4)
    assert values(rendered(kernel)[0]) == {0: "000000"}


def test_limits_cut_and_say_so() -> None:
    kernel = WholeKernel()
    array(kernel)
    array(kernel)
    first, _ = rendered(kernel, max_entries=2)
    assert (len(first.entries), first.truncated) == (2, True)
    first, second = rendered(kernel, max_bytes=12)
    assert (len(first.entries), first.truncated) == (1, True)
    assert (second.entries, second.truncated) == ((), True)
    assert second.error == "not copied: earlier maps used up the bytes of a capture"
    assert (
        rendered(kernel, max_seconds=-1)[0].error == "not copied: earlier maps used up the time of a capture"
    )


def loop(kernel: WholeKernel, _map: int) -> None:
    kernel.memory.put(FREE + 0x200, FREE + 0x100)


def buckets_out_of_memory(kernel: WholeKernel, address: int) -> None:
    kernel.memory.put(address + 64, WILD)


def element_out_of_memory(kernel: WholeKernel, _map: int) -> None:
    kernel.memory.put(FREE + 0x100, WILD)


def endless_buckets(kernel: WholeKernel, address: int) -> None:
    kernel.memory.put(address + 72, 0xFFFF_FFFF, 4)


@pytest.mark.parametrize("damage", [buckets_out_of_memory, element_out_of_memory, endless_buckets])
def test_a_damaged_hash_costs_itself_alone(damage: Callable[[WholeKernel, int], None]) -> None:
    kernel = WholeKernel()
    damage(kernel, hash_map(kernel))
    array(kernel)
    broken, whole = rendered(kernel)
    assert broken.error is not None
    assert len(values(whole)) == 3


def test_a_chain_in_a_circle_ends() -> None:
    kernel = WholeKernel()
    loop(kernel, hash_map(kernel))
    (report,) = rendered(kernel)
    assert len(report.entries) == bpf_map_raw.MAX_ENTRIES
    assert report.truncated
    assert {entry.key for entry in report.entries} == {5, 6}


def test_sizes_that_cannot_be_are_refused() -> None:
    kernel = WholeKernel()
    wide, steep = array(kernel), array(kernel)
    kernel.memory.put(wide + 4, 1 << 20, 4)
    kernel.memory.put(steep + 64, 1 << 30, 4)
    first, second = rendered(kernel)
    assert first.error == "a key of 1048576 bytes is implausible"
    assert "elements of 1073741824 bytes" in (second.error or "")


def test_values_beyond_memory_are_an_error_of_the_map() -> None:
    kernel = WholeKernel()
    address = array(kernel)
    kernel.memory.put(address + 8, 1 << 20, 4)
    kernel.memory.put(address + 64, 1 << 20, 4)
    assert "not mapped" in (rendered(kernel)[0].error or "")


@pytest.mark.parametrize(
    ("place", "value", "size"), [(MAP_BLOB, 0, 8), (MAP_BTF, WILD, 8), (MAP_BTF + 8, 0xFFFF_FFFF, 4)]
)
def test_damaged_types_leave_the_numbers(place: int, value: int, size: int) -> None:
    kernel = WholeKernel()
    array(kernel, 1)
    kernel.memory.put(place, value, size)
    (report,) = rendered(kernel)
    assert [entry.value for entry in report.entries] == [0]


def test_a_table_of_maps_that_holds_itself_is_no_map() -> None:
    kernel = WholeKernel()
    array(kernel)
    kernel.memory.put(MAP_NODE + 0x28, MAP_NODE | 2)
    assert len(rendered(kernel)) == 1


def test_types_are_parsed_once_for_all_captures() -> None:
    kernel = WholeKernel()
    array(kernel)
    view = kernel.open()
    first = view.maps.copy(view.fresh_space())[0][0]
    assert first.btf is not None
    assert first.btf.data is not None
    view.maps.render(first)
    second = view.maps.copy(view.fresh_space())[0][0]
    assert second.btf is not None
    assert second.btf.data is None
    assert values(view.maps.render(second))[1] == {"hits": 1, "misses": -1}


def test_a_kernel_without_maps_has_none() -> None:
    assert rendered(WholeKernel()) == []
    assert IMAGE < MAP_IDR


def test_an_arena_is_copied_after_the_maps_that_point_into_it() -> None:
    kernel = WholeKernel()
    kernel.bpf_map("arena", "ARENA", key_size=0, value_size=0, max_entries=1 << 20)
    array(kernel)
    arena, second = rendered(kernel, max_bytes=12)
    assert (arena.name, arena.error) == ("arena", "not copied: earlier maps used up the bytes of a capture")
    assert len(second.entries) == 1
