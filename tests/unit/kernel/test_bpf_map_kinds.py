"""BPF maps whose entries are not simply behind one another, in made-up memory, whole and damaged."""

from __future__ import annotations

import pytest

from ktstr_tui.kernel.bpf_arenas import add_objects, objects_in
from ktstr_tui.kernel.bpf_map_raw import MAX_ENTRIES, RawMap
from ktstr_tui.kernel.bpf_maps import FOLD_BEYOND
from ktstr_tui.kernel.btf import Btf
from tests.unit.kernel.blob import BlobBuilder
from tests.unit.kernel.test_bpf_maps import FREE, WILD, counts, rendered, values
from tests.unit.kernel.whole import WholeKernel

KEYLESS = {"key_size": 0, "value_size": 8}


def queue(kernel: WholeKernel, kind: str, *, head: int, tail: int, size: int = 4) -> int:
    address = kernel.bpf_map("queue", kind, max_entries=3, **KEYLESS)
    for at, value in ((64, head), (68, tail), (72, size)):
        kernel.memory.put(address + at, value, 4)
    for slot in range(4):
        kernel.memory.put_bytes(address + 80 + 8 * slot, counts(slot, 0))
    return address


@pytest.mark.parametrize(
    ("kind", "head", "tail", "order"),
    [
        ("QUEUE", 1, 2, [2, 3, 0]),
        ("STACK", 1, 2, [0, 3, 2]),
        ("QUEUE", 2, 2, []),
        ("STACK", 3, 0, [2, 1, 0]),
    ],
)
def test_what_would_come_out_next_comes_first(kind: str, head: int, tail: int, order: list[int]) -> None:
    kernel = WholeKernel()
    queue(kernel, kind, head=head, tail=tail)
    (report,) = rendered(kernel)
    assert [value["hits"] for value in values(report).values()] == order  # type: ignore[index]
    assert report.state == {"nr": len(order)}


def test_a_long_queue_is_cut_and_says_how_long_it_is() -> None:
    kernel = WholeKernel()
    queue(kernel, "QUEUE", head=3, tail=0)
    (report,) = rendered(kernel, max_entries=2)
    assert (len(report.entries), report.truncated, report.state) == (2, True, {"nr": 3})


@pytest.mark.parametrize(("head", "tail", "size"), [(4, 0, 4), (0, 4, 4), (0, 0, 0)])
def test_a_queue_outside_of_its_slots_is_an_error(head: int, tail: int, size: int) -> None:
    kernel = WholeKernel()
    queue(kernel, "QUEUE", head=head, tail=tail, size=size)
    (report,) = rendered(kernel)
    assert report.error is not None
    assert "in a queue of" in report.error


def trie(kernel: WholeKernel) -> None:
    """A fork (no entry) with two prefixes."""
    address = kernel.bpf_map("trie", "LPM_TRIE", key_size=8, value_size=8, max_entries=8)
    put = kernel.memory.put
    put(address + 20, 0, 4)  # keys without a type
    put(address + 64, FREE)
    for k, flags in enumerate((1, 0, 0)):
        node = FREE + 0x40 * k
        put(node + 16, 8 * k, 4)
        put(node + 20, flags, 4)
        kernel.memory.put_bytes(node + 24, bytes([k] * 4) + counts(k, k))
    put(FREE, FREE + 0x40)
    put(FREE + 8, FREE + 0x80)


def test_forks_of_a_trie_are_no_entries() -> None:
    kernel = WholeKernel()
    trie(kernel)
    found = [entry.value for entry in rendered(kernel)[0].entries]
    assert found == [{"hits": 1, "misses": 1}, {"hits": 2, "misses": 2}]


def test_a_trie_in_a_circle_ends() -> None:
    kernel = WholeKernel()
    trie(kernel)
    kernel.memory.put(FREE + 0x40, FREE)
    (report,) = rendered(kernel)
    assert (len(report.entries), report.truncated) == (2, True)


def test_a_wild_child_of_a_trie_is_an_error() -> None:
    kernel = WholeKernel()
    trie(kernel)
    kernel.memory.put(FREE + 0x40, WILD)
    assert "not mapped" in (rendered(kernel)[0].error or "")


def ring(kernel: WholeKernel, *, begin: int, end: int, mask: int = 63) -> None:
    address = kernel.bpf_map("ring", "RINGBUF", key_size=0, value_size=0, max_entries=64)
    kernel.memory.put(address + 64, FREE)
    for k, value in enumerate((mask, begin, end, begin)):
        kernel.memory.put(FREE + 8 * k, value)


def test_unread_records_of_a_ring_are_listed_by_position() -> None:
    kernel = WholeKernel()
    ring(kernel, begin=128, end=168)
    for at, length in ((0, 3), (16, 4 | 1 << 30), (32, 1 << 31)):
        kernel.memory.put(FREE + 32 + at, length, 4)
    kernel.memory.put_bytes(FREE + 40, b"abc")
    (report,) = rendered(kernel)
    assert values(report) == {
        128: {"state": "submitted", "bytes": 3, "data": "616263"},
        144: {"state": "discarded", "bytes": 4},
        160: {"state": "busy", "bytes": 0},
    }
    assert report.state["unread_bytes"] == 40


@pytest.mark.parametrize(
    ("begin", "end", "mask", "says"),
    [
        (0, 65, 63, "65 unread bytes in a ring buffer of 64"),
        (8, 0, 63, "unread bytes in a ring buffer of 64"),
        (0, 8, 62, "mask 0x3e"),
        (0, 8, (1 << 40) - 1, "mask 0xffffffffff"),
    ],
)
def test_positions_that_cannot_be_are_refused(begin: int, end: int, mask: int, says: str) -> None:
    kernel = WholeKernel()
    ring(kernel, begin=begin, end=end, mask=mask)
    assert says in (rendered(kernel)[0].error or "")


def test_a_record_beyond_what_is_unread_ends_the_list() -> None:
    kernel = WholeKernel()
    ring(kernel, begin=0, end=16)
    kernel.memory.put(FREE + 32, 100, 4)
    (report,) = rendered(kernel)
    assert (report.entries, report.error) == ((), "the record at 0 is longer than what is unread")


def test_maps_in_a_map_are_known_by_id() -> None:
    kernel = WholeKernel()
    inner = kernel.bpf_map("inner", "ARRAY", key_size=4, value_size=8, max_entries=0)
    outer = kernel.bpf_map("outer", "ARRAY_OF_MAPS", key_size=4, value_size=4, max_entries=3)
    kernel.memory.put(outer + 0x80 + 8, inner)
    assert values(rendered(kernel)[1]) == {1: {"map_id": 1}}
    kernel.memory.put(outer + 0x80, WILD)
    assert "not mapped" in (rendered(kernel)[1].error or "")


def test_a_perf_event_array_says_what_is_unread_and_lost() -> None:
    kernel = WholeKernel()
    events = kernel.bpf_map("events", "PERF_EVENT_ARRAY", key_size=4, value_size=4, max_entries=2)
    put = kernel.memory.put
    put(events + 0x80 + 8, FREE)  # entry, event, ring, its user page
    put(FREE, FREE + 0x10)
    put(FREE + 0x10, 1, 4)
    put(FREE + 0x18, FREE + 0x20)
    put(FREE + 0x20, 8, 4)
    put(FREE + 0x28, 96)
    put(FREE + 0x30, 5)
    put(FREE + 0x38, FREE + 0x40)
    put(FREE + 0x40, 64)
    found = values(rendered(kernel)[0])
    assert found == {1: {"cpu": 1, "head": 96, "lost": 5, "pages": 8, "data_tail": 64}}


def test_cgroup_storage_is_keyed_by_the_cgroups_id() -> None:
    kernel = WholeKernel()
    address = kernel.bpf_map("groups", "CGRP_STORAGE", key_size=4, value_size=8, max_entries=0)
    put = kernel.memory.put
    put(address + 64, FREE)
    put(address + 72, 0, 4)
    put(FREE, FREE + 0x100)
    put(FREE + 0x110, FREE + 0x200)  # the storage, its cgroup, the cgroup's directory
    kernel.memory.put_bytes(FREE + 0x120, counts(1, 2))
    put(FREE + 0x200, FREE + 0x210)
    put(FREE + 0x210, FREE + 0x220)
    put(FREE + 0x220, 1 << 33 | 7)
    assert values(rendered(kernel)[0]) == {1 << 33 | 7: {"hits": 1, "misses": 2}}


def test_nameless_maps_of_one_shape_are_folded() -> None:
    kernel = WholeKernel()
    for _ in range(FOLD_BEYOND + 20):
        kernel.bpf_map("", "QUEUE", max_entries=3, **KEYLESS)
    kernel.bpf_map("last", "QUEUE", max_entries=3, **KEYLESS)
    *_, line, last = found = rendered(kernel)
    assert (len(found), line.count, line.id, line.state) == (
        FOLD_BEYOND + 2,
        20,
        FOLD_BEYOND + 1,
        {"last_id": FOLD_BEYOND + 20},
    )
    assert (last.name, last.count) == ("last", 1)


def test_objects_of_an_arena_are_followed_once() -> None:
    """Two nodes that point to each other, and a pointer to a page that was not copied."""
    b = BlobBuilder()
    word = b.integer("u64", 8)
    forward = b.pointer(3)
    node = b.compound("node", 16, [("magic", word, 0), ("next", forward, 8)])
    assert node == 3
    base, page = 1 << 44, bytearray(4096)
    page[0:16] = (11).to_bytes(8, "little") + (base + 16).to_bytes(8, "little")
    page[16:32] = (22).to_bytes(8, "little") + base.to_bytes(8, "little")
    arena = RawMap({}, "ARENA", pages={base: bytes(page)})
    btf = Btf(b.build())
    holder = ("", node, bytes(8) + base.to_bytes(8, "little"))
    found = {e.key: e.value for e in objects_in(arena, btf, [holder])}
    assert found == {
        "*->next": {"magic": 11, "next": hex(base + 16)},
        "*->next->next": {"magic": 22, "next": hex(base)},
    }
    wild = (base + 4096).to_bytes(8, "little")
    assert list(objects_in(arena, btf, [("", node, bytes(8) + wild)])) == []
    assert MAX_ENTRIES == 1024


def test_values_that_point_into_an_arena_name_their_objects() -> None:
    """Task storage with a pointer for each task; two tasks share one object, which is shown once."""
    b = BlobBuilder()
    word = b.integer("u64", 8)
    context = b.compound("context", 8, [("runs", word, 0)])
    pointer = b.pointer(context)
    base, page = 1 << 44, bytearray(4096)
    page[0:8], page[8:16] = (3).to_bytes(8, "little"), (5).to_bytes(8, "little")
    arena = RawMap({"id": 7}, "ARENA", pages={base: bytes(page)})
    row = {"name": b"context_of", "value_type": pointer}
    places = {105: base, 106: base + 8, 107: base + 8, 108: 0}
    entries = [(pid.to_bytes(4, "little"), at.to_bytes(8, "little")) for pid, at in places.items()]
    holder = RawMap(row, "TASK_STORAGE", entries=list(entries))
    found = add_objects([arena], holder, Btf(b.build()))
    assert [(e.key, e.value) for e in found[7]] == [
        ("*context_of[105]", {"runs": 3}),
        ("*context_of[106]", {"runs": 5}),
    ]
