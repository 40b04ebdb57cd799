"""The scheduler and its queues in a tiny kernel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.kernel.dsq import BuiltinDsqs
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.tasks import cpu_list
from ktstr_tui.kernel.torn import Torn
from tests.unit.kernel.blob import IMAGE, PAGE_OFFSET
from tests.unit.kernel.tiny import DSQ_NODE, GLOBALS, SCHED, TABLE, TinyKernel


def loaded(kernel: TinyKernel) -> None:
    """A scheduler with three user queues."""
    kernel.memory.put(IMAGE + 0x1300, SCHED)
    kernel.memory.put(IMAGE + 0x1310, 1, 4)
    kernel.memory.put(IMAGE + 0x1320, 4)
    kernel.memory.put_bytes(SCHED, b"fifo\0")
    kernel.memory.put(SCHED + 32, 3000, 4)
    kernel.memory.put(SCHED + 56, 750)
    kernel.memory.put(SCHED + 64, 1026, 4)
    kernel.memory.put(SCHED + 68, 1, 1)
    kernel.memory.put(SCHED + 72, -2, 4)


def test_no_scheduler_is_none() -> None:
    kernel = TinyKernel()
    assert kernel.scx.root(kernel.space) is None
    assert kernel.scx.state(kernel.space) == "enabling"


def test_the_scheduler_speaks_for_itself() -> None:
    kernel = TinyKernel()
    loaded(kernel)
    assert kernel.scx.root(kernel.space) == SCHED
    assert kernel.scx.state(kernel.space) == "enabled"
    assert kernel.scx.enable_seq(kernel.space) == 4
    state = kernel.scx.read(kernel.space, SCHED)
    assert (state.name, state.exit_kind, state.timeout_jiffies, state.timeout_ms) == ("fifo", 1026, 750, 3000)
    assert (state.aborting, state.bypass_depth) == (True, -2)
    assert kernel.scx.exit_kind(kernel.space, SCHED) == 1026
    assert kernel.scx.exit_kind_name(1026) == "ERROR_STALL"
    assert kernel.scx.exit_kind_name(77) == "77"
    assert kernel.scx.events(kernel.space, state) is None


def test_freed_memory_is_no_scheduler() -> None:
    kernel = TinyKernel()
    with pytest.raises(Torn, match="not printable"):
        kernel.scx.read(kernel.space, SCHED)
    kernel.memory.put_bytes(SCHED, b"\x6b" * 8 + b"\x01\x02\0")
    with pytest.raises(Torn, match="not printable"):
        kernel.scx.read(kernel.space, SCHED)
    kernel.memory.put(IMAGE + 0x1300, 0x1234)
    with pytest.raises(Torn, match="scx_root"):
        kernel.scx.root(kernel.space)


def test_exit_texts_are_absent_until_the_kernel_writes_them() -> None:
    kernel = TinyKernel()
    loaded(kernel)
    assert kernel.scx.exit_text(kernel.space, SCHED) is None
    info = PAGE_OFFSET + 0x60000
    kernel.memory.put(SCHED + 80, info)
    kernel.memory.put(info + 24, info + 0x100)
    found = kernel.scx.exit_text(kernel.space, SCHED)
    assert found is not None
    assert (found.reason, found.message) == (None, None)
    kernel.memory.put(info + 16, info + 0x80)
    kernel.memory.put_bytes(info + 0x80, b"runnable task stall\0")
    kernel.memory.put_bytes(info + 0x100, b"x[1] failed to run for 3.000s\0")
    found = kernel.scx.exit_text(kernel.space, SCHED)
    assert found is not None
    assert (found.reason, found.message) == ("runnable task stall", "x[1] failed to run for 3.000s")


def three_queues(kernel: TinyKernel) -> list[int]:
    tasks = [kernel.task(20 + k, pid=200 + k, comm=f"t{k}") for k in range(3)]
    return [
        kernel.queue(0, number=7, nr=3, tasks=tasks),
        kernel.queue(1, number=0x1_0000_0001, nr=0, tasks=[]),
        kernel.queue(2, number=3, nr=0, tasks=[]),
    ]


def test_user_queues_come_out_of_the_hash_table_in_order_of_id() -> None:
    kernel = TinyKernel()
    a, b, c = three_queues(kernel)
    kernel.hash_table([[], [b, a], [], [c]], elements=3)
    found, cut = kernel.dsqs.user(kernel.space, SCHED, 10)
    assert [(address, row["id"], row["nr"]) for address, row in found] == [
        (c, 3, 0),
        (a, 7, 3),
        (b, 0x100000001, 0),
    ]
    assert not cut


def test_a_locked_bucket_is_still_read() -> None:
    kernel = TinyKernel()
    a, _, _ = three_queues(kernel)
    kernel.hash_table([[a], []], elements=1)
    kernel.memory.put(TABLE + 16, (a + 32) | 1)
    kernel.memory.put(TABLE + 24, 1)
    assert [row["id"] for _, row in kernel.dsqs.user(kernel.space, SCHED, 10)[0]] == [7]


def test_too_many_queues_are_cut() -> None:
    kernel = TinyKernel()
    a, b, c = three_queues(kernel)
    kernel.hash_table([[a, b], [c]], elements=3)
    found, cut = kernel.dsqs.user(kernel.space, SCHED, 2)
    assert len(found) == 2
    assert cut


def test_a_table_that_counts_otherwise_is_torn_unless_it_stands() -> None:
    kernel = TinyKernel()
    a, _, _ = three_queues(kernel)
    kernel.hash_table([[a]], elements=2)
    with pytest.raises(Torn, match="1 queues found in a table of 2"):
        kernel.dsqs.user(kernel.space, SCHED, 10)
    found, cut = kernel.dsqs.user(kernel.space, SCHED, 10, frozen=True)
    assert len(found) == 1
    assert cut


@pytest.mark.parametrize("size", [0, 65537, 0xFFFFFFFF])
def test_a_table_of_implausible_size_is_torn(size: int) -> None:
    kernel = TinyKernel()
    kernel.hash_table([[]], elements=0)
    kernel.memory.put(TABLE, size, 4)
    with pytest.raises(Torn, match="buckets"):
        kernel.dsqs.user(kernel.space, SCHED, 10)


def test_chains_that_lead_nowhere_or_in_circles_end() -> None:
    kernel = TinyKernel()
    a, b, _ = three_queues(kernel)
    kernel.hash_table([[a, b]], elements=2)
    kernel.memory.put(b + 32, a + 32)
    with pytest.raises(Torn, match="chain"):
        kernel.dsqs.user(kernel.space, SCHED, 10)
    kernel.memory.put(b + 32, 0x1000)
    with pytest.raises((Torn, MemoryReadError)):
        kernel.dsqs.user(kernel.space, SCHED, 10)


def test_members_are_the_tasks_and_not_the_iterators() -> None:
    kernel = TinyKernel()
    a, _, _ = three_queues(kernel)
    members, cut = kernel.dsqs.members(kernel.space, a, 10)
    assert [kernel.tasks.pid(kernel.space, task) for task in members] == [200, 201, 202]
    assert not cut
    kernel.memory.put(members[1] + DSQ_NODE + 16, 1, 4)
    assert len(kernel.dsqs.members(kernel.space, a, 10)[0]) == 2
    assert kernel.dsqs.members(kernel.space, a, 2)[1]
    kernel.memory.put(members[2] + DSQ_NODE, 0)
    assert kernel.dsqs.members(kernel.space, a, 10) == ([members[0], members[2]], True)


def test_queues_are_named_by_place_or_by_id() -> None:
    kernel = TinyKernel()
    a, _, _ = three_queues(kernel)
    builtin: BuiltinDsqs = kernel.dsqs.builtin(kernel.space, SCHED)
    local = builtin.local[1]
    kernel.memory.put(local.address + 24, 0x8000000000000002)
    assert kernel.dsqs.name(kernel.space, local.address, builtin) == ("local cpu 1", 0x8000000000000002)
    assert kernel.dsqs.name(kernel.space, a, builtin) == ("0x7", 7)
    assert kernel.dsqs.name(kernel.space, 0, builtin) == (None, None)


def test_another_scheduler_at_the_same_address_has_global_queues_of_its_own() -> None:
    """The kernel gives a scheduler the memory of the one before, and its array of nodes, but other queues."""
    kernel = TinyKernel()
    array, before, after = SCHED + 0x200, PAGE_OFFSET + 0x50000, PAGE_OFFSET + 0x51000
    kernel.memory.put(SCHED + GLOBALS, array)
    kernel.memory.put(array, before)
    identity = kernel.dsqs.identity(kernel.space, SCHED)
    assert [it.address for it in kernel.dsqs.builtin(kernel.space, SCHED).listed] == [before]
    kernel.memory.put(array, after)
    assert kernel.dsqs.identity(kernel.space, SCHED) != identity
    assert [it.address for it in kernel.dsqs.builtin(kernel.space, SCHED).listed] == [after]


@given(st.sets(st.integers(0, 200)))
def test_cpu_lists_are_those_of_the_kernel(cpus: set[int]) -> None:
    shown = cpu_list(sum(1 << cpu for cpu in cpus))
    back: set[int] = set()
    for part in filter(None, shown.split(",")):
        first, _, last = part.partition("-")
        assert last == "" or int(last) > int(first)
        back |= set(range(int(first), int(last or first) + 1))
    assert back == cpus
