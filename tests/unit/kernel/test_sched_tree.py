"""Sub-schedulers in made-up memory: a tree that is one, and trees of a hostile guest that are none."""

from __future__ import annotations

import pytest

from ktstr_tui.kernel.btf import Btf
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.sampler import SampleReader
from ktstr_tui.kernel.sched_tree import MAX_SUBS, SchedTree, sub_of
from ktstr_tui.kernel.scx import Scx
from ktstr_tui.kernel.torn import Torn
from tests.unit.kernel.blob import PAGE_OFFSET, BlobBuilder
from tests.unit.kernel.tiny import ATTACHED, CGROUP, CHILDREN, LEVEL, SCHED, SIBLING, Basics, TinyKernel
from tests.unit.kernel.whole import JIFFIES, WholeKernel

WILD = 0xFFFF_8880_7000_0000
"""An address of the direct map behind all memory."""
ENTITY_SCHED, DSQ_SCHED = 0xF8, 40


def family(kernel: TinyKernel) -> tuple[int, int, int]:
    """``/a`` with ``/a/b`` below it, and ``/c`` that is being ejected; their addresses."""
    a = kernel.sub(0, name="alpha", cgroup="/a")
    b = kernel.sub(1, name="beta", cgroup="/a/b", level=2)
    c = kernel.sub(2, name="gamma", cgroup="/c", exit_kind=1026)
    kernel.children(SCHED, [a, c])
    kernel.children(a, [b])
    return a, b, c


def test_the_tree_is_read_parents_before_their_children() -> None:
    kernel = TinyKernel()
    a, b, c = family(kernel)
    kernel.memory.put(b + ATTACHED, 0, 1)
    subs = kernel.tree.read(kernel.space, SCHED)
    assert not subs.cut
    assert [(it.state.name, it.cgroup, it.parent, it.level, it.phase) for it in subs.found] == [
        ("alpha", "/a", SCHED, 1, "enabled"),
        ("beta", "/a/b", a, 2, "enabling"),
        ("gamma", "/c", SCHED, 1, "disabling"),
    ]
    assert subs.cgroups() == {a: "/a", b: "/a/b", c: "/c"}
    assert subs.found[2].state.exit_kind == 1026


def test_without_children_there_is_no_tree() -> None:
    kernel = TinyKernel()
    assert kernel.tree.read(kernel.space, SCHED) == ((), False)
    assert kernel.tree.read(kernel.space, None) == ((), False)


def test_a_kernel_without_the_members_has_no_tree() -> None:
    b = BlobBuilder()
    basics = Basics(b)
    ops = b.compound("sched_ext_ops", 32, [("name", b.array(basics.char, 32), 0)])
    b.compound(
        "scx_sched", 48, [("ops", ops, 0), ("exit_kind", basics.atomic, 32), ("exit_info", basics.u64, 40)]
    )
    b.compound("scx_exit_info", 16, [("kind", basics.u32, 0), ("msg", basics.u64, 8)])
    btf, kernel = Btf(b.build()), TinyKernel()
    tree = SchedTree(btf, kernel.symbols, Scx(btf, kernel.symbols, kernel.cpus))
    assert tree.read(kernel.space, SCHED) == ((), False)
    assert (tree.accepts(kernel.space, SCHED), tree.newest_slot) == (False, None)


def test_whose_something_is() -> None:
    cgroups = {0xA: "/a"}
    assert [sub_of(it, 0x1, cgroups) for it in (0xA, 0x1, 0, None, 0xB)] == ["/a", None, None, None, "0xb"]


@pytest.mark.parametrize("path", [0, WILD])
def test_a_cgroup_that_cannot_be_read_is_called_by_the_schedulers_address(path: int) -> None:
    kernel = TinyKernel()
    a, _, _ = family(kernel)
    kernel.memory.put(a + CGROUP, path)
    assert kernel.tree.read(kernel.space, SCHED).found[0].cgroup == f"{a:#x}"


def damage(kernel: TinyKernel, what: str) -> None:
    """Break the tree of `family` in one way."""
    a, b, c = family(kernel)
    put = kernel.memory.put
    if what == "wild next":
        put(a + SIBLING, WILD)
    elif what == "user next":
        put(a + SIBLING, 0x1000)
    elif what == "null next":
        put(a + SIBLING, 0)
    elif what == "loop among siblings":
        put(c + SIBLING, a + SIBLING)
        put(a + SIBLING + 8, c + SIBLING)
        put(SCHED + CHILDREN, c + SIBLING)
        put(c + SIBLING + 8, SCHED + CHILDREN)
    elif what == "child of itself":
        put(b + CHILDREN, b + SIBLING)
        put(b + SIBLING + 8, b + CHILDREN)
    elif what == "root below itself":
        put(b + CHILDREN, SCHED + SIBLING)
        put(SCHED + SIBLING + 8, b + CHILDREN)
        put(SCHED + LEVEL, 3, 4)
    elif what == "back pointer":
        put(c + SIBLING + 8, SCHED)
    elif what == "level":
        put(b + LEVEL, 7, 4)
    elif what == "name":
        kernel.memory.put_bytes(b, b"\x01\x02\0")


KINDS = (
    *("wild next", "user next", "null next", "loop among siblings", "child of itself", "root below itself"),
    *("back pointer", "level", "name"),
)


@pytest.mark.parametrize("what", KINDS)
def test_a_tree_that_is_none_is_torn_and_cut_where_the_guest_is_frozen(what: str) -> None:
    kernel = TinyKernel()
    damage(kernel, what)
    with pytest.raises((Torn, MemoryReadError)):
        kernel.tree.read(kernel.space, SCHED)
    frozen = kernel.tree.read(kernel.space, SCHED, frozen=True)
    assert frozen.cut
    assert len(frozen.found) < 4


def test_of_ten_thousand_children_the_first_are_read() -> None:
    kernel = TinyKernel(subs=10_000)
    kernel.children(SCHED, [kernel.sub(k, name=f"s{k}", cgroup=f"/{k}") for k in range(10_000)])
    before = kernel.memory.reads
    subs = kernel.tree.read(kernel.space, SCHED)
    assert (len(subs.found), subs.cut) == (MAX_SUBS, True)
    assert kernel.memory.reads - before < 5 * MAX_SUBS


def with_sub() -> tuple[WholeKernel, int]:
    """Both schedulers have a queue 0x7 with a task; the child's waits for half of its timeout, the root's for less."""
    kernel = WholeKernel()
    ours, theirs = kernel.sleeper(8, pid=42, comm="ours"), kernel.sleeper(9, pid=43, comm="theirs")
    kernel.scheduler()
    sub = kernel.sub(0, name="child", cgroup="/box")
    kernel.children(SCHED, [sub])
    kernel.runnable(0, [ours, theirs], since=JIFFIES - 125)
    queues = [kernel.queue(0, number=7, nr=1, tasks=[ours]), kernel.queue(1, number=7, nr=1, tasks=[theirs])]
    kernel.hash_table([[queues[0]]], elements=1)
    kernel.hash_table([[queues[1]]], elements=1, sched=sub, table=PAGE_OFFSET + 0x49000)
    for task, queue, sched in ((ours, queues[0], SCHED), (theirs, queues[1], sub)):
        kernel.memory.put(task + 0x80, queue)
        kernel.memory.put(task + ENTITY_SCHED, sched)
        kernel.memory.put(queue + DSQ_SCHED, sched)
    return kernel, sub


def test_a_sample_tells_queues_and_tasks_apart_by_their_scheduler() -> None:
    kernel, _ = with_sub()
    found = SampleReader(kernel.open()).sample().scheduler
    assert [(it.label, it.sub, it.nr) for it in found.dsqs] == [("0x7", None, 1), ("0x7 of /box", "/box", 1)]
    (sub,) = found.subs
    assert (sub.name, sub.cgroup, sub.parent, sub.state, sub.nr_runnable) == (
        "child",
        "/box",
        None,
        "enabled",
        1,
    )
    assert sub.watchdog_timeout_ms == 1000
    assert sub.oldest_runnable is not None
    assert (sub.oldest_runnable.pid, sub.oldest_runnable.dsq) == (43, "0x7 of /box")
    # The root's task has waited a tick longer, but of three seconds; the child is ejected after one.
    oldest = found.oldest_runnable
    assert oldest is not None
    assert (oldest.pid, oldest.sub, oldest.timeout_ms) == (43, "/box", 1000)
    assert (found.oldest_timeout_ms, found.watchdog_timeout_ms) == (1000, 3000)
    assert (found.subs_truncated, found.subs_unreadable) == (False, None)


def test_a_broken_tree_costs_the_sample_the_sub_schedulers_alone() -> None:
    kernel, sub = with_sub()
    kernel.memory.put(sub + SIBLING, WILD)
    found = SampleReader(kernel.open()).sample().scheduler
    assert (found.name, found.unreadable, found.subs) == ("made_up", None, ())
    assert (found.subs_unreadable or "").startswith("torn: ")
    assert [it.label for it in found.dsqs] == ["0x7"]
    assert found.nr_runnable == 2
    assert found.oldest_runnable is not None
    assert found.oldest_runnable.sub in (None, f"{sub:#x}")
