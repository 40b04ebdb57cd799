"""A tiny kernel in fake memory: runqueues, tasks, queues and a scheduler, with every byte known."""

from __future__ import annotations

import struct
from collections.abc import Callable

from ktstr_tui.kernel.address import AddressSpace
from ktstr_tui.kernel.btf import Btf, Kind
from ktstr_tui.kernel.cpus import Cpus
from ktstr_tui.kernel.dsq import Dsqs
from ktstr_tui.kernel.sched_tree import SchedTree
from ktstr_tui.kernel.scx import Scx
from ktstr_tui.kernel.symbols import Symbols
from ktstr_tui.kernel.tasks import Tasks
from tests.unit.kernel.blob import IMAGE, PAGE_OFFSET, BlobBuilder, FakeMemory, symbols

NR_CPUS = 2
RQ, RQ_STRIDE = 0x20000, 0x1000
RUNNABLE, LOCAL = 0x180, 0x100
TASK_BYTES, NODE, DSQ_NODE = 0x200, 0xA0, 0xC0
STACK_BYTES = 0x4000
CPUS_PTR, STACK, SP, PID_LINKS = 56, 72, 80, 96
NIVCSW, RAN = 112, 120
EXT_CLASS, IDLE_CLASS, RT_CLASS = IMAGE + 0x2000, IMAGE + 0x2010, IMAGE + 0x2020
SCHED = PAGE_OFFSET + 0x40000
SUBS, SUB_BYTES = PAGE_OFFSET + 0x100000, 0x140
TABLE = PAGE_OFFSET + 0x48000
LEVEL, ATTACHED, CHILDREN, SIBLING, CGROUP, GLOBALS, SCHED_BYTES = 88, 92, 96, 112, 128, 0x98, 0xA0
"""Where ``struct scx_sched`` has what links it to other schedulers."""


class Basics:
    """The types that all others are made of."""

    def __init__(self, b: BlobBuilder) -> None:
        self.i32, self.u32, self.u64 = b.integer("int", 4, 1), b.integer("u32", 4), b.integer("u64", 8)
        self.boolean, self.char = b.integer("_Bool", 1, 4), b.integer("char", 1, 1)
        self.atomic = b.compound("", 4, [("counter", self.i32, 0)])
        self.node = b.compound("list_head", 16, [("next", self.u64, 0), ("prev", self.u64, 8)])


def tiny_blob(more: Callable[[BlobBuilder, Basics], None] = lambda _b, _of: None) -> bytes:
    """The types of the tiny kernel, in the shape of a kernel that keeps all it can in ``scx_sched``.

    Args:
        more: Adds types.
    """
    b = BlobBuilder()
    basics = Basics(b)
    _runqueue(b, basics)
    _task(b, basics)
    _scheduler(b, basics)
    b.enum("scx_enable_state", [("SCX_ENABLING", 0), ("SCX_ENABLED", 1)])
    b.enum("scx_exit_kind", [("SCX_EXIT_NONE", 0), ("SCX_EXIT_ERROR_STALL", 1026)])
    entity = [("SCX_TASK_QUEUED", 1), ("SCX_TASK_DEQD_FOR_SLEEP", 8)]
    b.enum("scx_ent_flags", [*entity, ("SCX_TASK_STATE_SHIFT", 8), ("SCX_TASK_STATE_MASK", 0x300)])
    b.enum("scx_ops_state", [("SCX_OPSS_NONE", 0), ("SCX_OPSS_QUEUED", 2), ("SCX_OPSS_QSEQ_SHIFT", 2)])
    b.enum("scx_rq_flags", [("SCX_RQ_ONLINE", 1), ("SCX_RQ_CAN_STOP_TICK", 2)])
    b.enum("scx_task_state", [("SCX_TASK_NONE", 0), ("SCX_TASK_ENABLED", 3)])
    b.compound("thread_union", STACK_BYTES, [], Kind.UNION)
    more(b, basics)
    return b.build()


def tiny_btf() -> Btf:
    """Those types, parsed."""
    return Btf(tiny_blob())


def _runqueue(b: BlobBuilder, of: Basics) -> None:
    hash_node = b.compound("rhash_head", 8, [("next", of.u64, 0)])
    dsq = b.compound(
        "scx_dispatch_q",
        0x40,
        [
            ("list", of.node, 0),
            ("nr", of.u32, 16),
            ("seq", of.u32, 20),
            ("id", of.u64, 24),
            ("hash_node", hash_node, 32),
            ("sched", of.u64, 40),
        ],
    )
    scx_rq = b.compound(
        "scx_rq",
        0xC0,
        [
            ("local_dsq", dsq, 0),
            ("runnable_list", of.node, 0x80),
            ("nr_running", of.u32, 0x90),
            ("flags", of.u32, 0x94),
        ],
    )
    b.compound(
        "rq",
        0x200,
        [
            ("nr_running", of.u32, 0),
            ("clock", of.u64, 8),
            ("curr", of.u64, 16),
            ("idle", of.u64, 24),
            ("scx", scx_rq, 0x100),
        ],
    )


def _task(b: BlobBuilder, of: Basics) -> None:
    comm = b.array(of.char, 16)
    dsq_list = b.compound(
        "scx_dsq_list_node", 24, [("node", of.node, 0), ("flags", of.u32, 16), ("priv", of.u32, 20)]
    )
    entity = b.compound(
        "sched_ext_entity",
        0x80,
        [
            ("dsq", of.u64, 0),
            ("runnable_at", of.u64, 8),
            ("flags", of.u32, 16),
            ("dsq_seq", of.u32, 20),
            ("dsq_flags", of.u32, 24),
            ("weight", of.u32, 28),
            ("runnable_node", of.node, 0x20),
            ("dsq_list", dsq_list, 0x40),
            ("sticky_cpu", of.i32, 0x58),
            ("holding_cpu", of.i32, 0x5C),
            ("ops_state", b.compound("", 8, [("counter", of.u64, 0)]), 0x60),
            ("dsq_vtime", of.u64, 0x68),
            ("slice", of.u64, 0x70),
            ("sched", of.u64, 0x78),
        ],
    )
    link = b.compound("hlist_node", 16, [("next", of.u64, 0), ("pprev", of.u64, 8)])
    b.compound(
        "task_struct",
        TASK_BYTES,
        [
            ("pid", of.i32, 0),
            ("on_rq", of.i32, 4),
            ("comm", comm, 8),
            ("sched_class", of.u64, 24),
            ("on_cpu", of.i32, 32),
            ("tgid", of.i32, 36),
            ("__state", of.u32, 40),
            ("exit_state", of.i32, 44),
            ("policy", of.u32, 48),
            ("static_prio", of.i32, 52),
            ("cpus_ptr", of.u64, CPUS_PTR),
            ("nr_cpus_allowed", of.i32, 64),
            ("thread_info", b.compound("thread_info", 4, [("cpu", of.u32, 0)]), 68),
            ("stack", of.u64, STACK),
            ("thread", b.compound("thread_struct", 8, [("sp", of.u64, 0)]), SP),
            ("sched_info", b.compound("sched_info", 8, [("last_queued", of.u64, 0)]), 88),
            ("nivcsw", of.u64, NIVCSW),
            ("se", b.compound("sched_entity", 8, [("sum_exec_runtime", of.u64, 0)]), RAN),
            ("pid_links", b.array(link, 1), PID_LINKS),
            ("scx", entity, 0x80),
        ],
    )


def _scheduler(b: BlobBuilder, of: Basics) -> None:
    ops_name = b.array(of.char, 32)
    table = b.compound("rhashtable", 16, [("tbl", of.u64, 0), ("nelems", of.atomic, 8)])
    b.compound(
        "bucket_table",
        32,
        [
            ("size", of.u32, 0),
            ("nest", of.u32, 4),
            ("future_tbl", of.u64, 8),
            ("buckets", b.array(of.u64, 0), 16),
        ],
    )
    ops = b.compound(
        "sched_ext_ops", 40, [("name", ops_name, 0), ("timeout_ms", of.u32, 32), ("flags", of.u32, 36)]
    )
    b.compound(
        "scx_sched",
        SCHED_BYTES,
        [
            ("ops", ops, 0),
            ("dsq_hash", table, 40),
            ("watchdog_timeout", of.u64, 56),
            ("exit_kind", of.atomic, 64),
            ("aborting", of.boolean, 68),
            ("bypass_depth", of.i32, 72),
            ("exit_info", of.u64, 80),
            ("level", of.i32, LEVEL),
            ("sub_attached", of.boolean, ATTACHED),
            ("children", of.node, CHILDREN),
            ("sibling", of.node, SIBLING),
            ("cgrp_path", of.u64, CGROUP),
            ("global_dsqs", of.u64, GLOBALS),
        ],
    )
    b.compound(
        "scx_exit_info",
        40,
        [
            ("kind", of.u32, 0),
            ("exit_code", of.u64, 8),
            ("reason", of.u64, 16),
            ("msg", of.u64, 24),
            ("dump", of.u64, 32),
        ],
    )


TINY_SYMBOLS = {
    "runqueues": IMAGE + RQ,
    "__per_cpu_offset": IMAGE + 0x1000,
    "nr_cpu_ids": IMAGE + 0x1100,
    "__cpu_online_mask": IMAGE + 0x1200,
    "ext_sched_class": EXT_CLASS,
    "idle_sched_class": IDLE_CLASS,
    "rt_sched_class": RT_CLASS,
    "scx_root": IMAGE + 0x1300,
    "scx_enable_state_var": IMAGE + 0x1310,
    "scx_enable_seq": IMAGE + 0x1320,
    "jiffies": IMAGE + 0x1330,
}


def tiny_symbols(**more: int) -> Symbols:
    """The symbols of the tiny kernel, and more of them."""
    return symbols(**TINY_SYMBOLS, **more)


class TinyKernel:
    """Its memory and the readers over it."""

    def __init__(self, btf: Btf | None = None, named: Symbols | None = None, subs: int = 64) -> None:
        self.memory = FakeMemory((1 << 20) + subs * SUB_BYTES)
        put = self.memory.put
        put(IMAGE + 0x1000, 0)
        put(IMAGE + 0x1008, RQ_STRIDE)
        put(IMAGE + 0x1100, NR_CPUS, 4)
        put(IMAGE + 0x1200, 0b11)
        self.space: AddressSpace = self.memory.space()
        self.btf, self.symbols = btf or tiny_btf(), named or tiny_symbols()
        self.cpus = Cpus(self.btf, self.symbols, self.space)
        self.tasks = Tasks(self.btf, self.cpus)
        self.dsqs = Dsqs(self.btf, self.symbols, self.cpus, self.space)
        self.scx = Scx(self.btf, self.symbols, self.cpus)
        self.tree = SchedTree(self.btf, self.symbols, self.scx)
        self.link(SCHED + CHILDREN, [])
        for cpu in range(NR_CPUS):
            idle = self.task(cpu, pid=0, comm=f"swapper/{cpu}", sched_class=IDLE_CLASS)
            put(self.rq(cpu) + 16, idle)
            put(self.rq(cpu) + 24, idle)
            self.link(self.rq(cpu) + RUNNABLE, [])
            self.link(self.rq(cpu) + LOCAL, [])

    def rq(self, cpu: int) -> int:
        """Address of a runqueue."""
        return self.cpus.rq_address(cpu)

    def task(self, slot: int, *, pid: int, comm: str, sched_class: int = EXT_CLASS) -> int:
        """Write a task; its address."""
        address = PAGE_OFFSET + 0x50000 + slot * TASK_BYTES
        self.memory.put(address, pid, 4)
        self.memory.put_bytes(address + 8, struct.pack("16s", comm.encode()))
        self.memory.put(address + 24, sched_class)
        return address

    def link(self, head: int, nodes: list[int]) -> None:
        """Make a circular list of the nodes."""
        ring = [head, *nodes]
        for k, node in enumerate(ring):
            self.memory.put(node, ring[(k + 1) % len(ring)])
            self.memory.put(node + 8, ring[k - 1])

    def queue(self, slot: int, *, number: int, nr: int, tasks: list[int]) -> int:
        """Write a user queue with its tasks; its address."""
        address = PAGE_OFFSET + 0x70000 + slot * 0x40
        self.memory.put(address + 16, nr, 4)
        self.memory.put(address + 24, number)
        self.link(address, [task + DSQ_NODE for task in tasks])
        return address

    def sub(self, slot: int, *, name: str, cgroup: str, level: int = 1, exit_kind: int = 0) -> int:
        """Write a sub-scheduler without children and DSQs; its address."""
        put, at = self.memory.put, SUBS + slot * SUB_BYTES
        self.memory.put_bytes(at, name.encode() + b"\0")
        put(at + 56, 250)
        put(at + 64, exit_kind, 4)
        put(at + LEVEL, level, 4)
        put(at + ATTACHED, 1, 1)
        put(at + CGROUP, at + SCHED_BYTES)
        self.memory.put_bytes(at + SCHED_BYTES, cgroup.encode() + b"\0")
        self.hash_table([], elements=0, sched=at, table=at + SCHED_BYTES + 0x40)
        self.children(at, [])
        return at

    def children(self, parent: int, subs: list[int]) -> None:
        """Link sub-schedulers below a scheduler."""
        self.link(parent + CHILDREN, [sub + SIBLING for sub in subs])

    def hash_table(
        self, chains: list[list[int]], elements: int, sched: int = SCHED, table: int = TABLE
    ) -> None:
        """Write a scheduler's hash table of queues."""
        self.memory.put(sched + 40, table)
        self.memory.put(sched + 48, elements, 4)
        self.memory.put(table, max(len(chains), 1), 4)
        for k, chain in enumerate(chains):
            bucket = table + 16 + 8 * k
            ends = [queue + 32 for queue in chain] + [bucket | 1]
            self.memory.put(bucket, ends[0] if chain else 0)
            for queue, following in zip(chain, ends[1:], strict=True):
                self.memory.put(queue + 32, following)
