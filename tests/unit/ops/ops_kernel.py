"""A kernel of one mebibyte that can be written to: page tables, a table of pids, tasks, per-CPU variables.

The image and the direct map both begin at physical 0 and are mapped in pages of 4 KiB, so that a test can give
each its own rights.
"""

from __future__ import annotations

import os
import struct
from types import SimpleNamespace
from typing import Any

from ktstr_tui.kernel.address import AddressSpace
from ktstr_tui.kernel.btf import Btf
from ktstr_tui.kernel.cpus import Cpus
from ktstr_tui.kernel.expressions import Expressions
from ktstr_tui.kernel.memory import PAGE_BYTES, GuestRam
from ktstr_tui.kernel.vmcoreinfo import Vmcoreinfo
from tests.unit.kernel.blob import IMAGE, NOTE, PAGE_OFFSET, BlobBuilder, symbols

RAM_BYTES = 1 << 20
PRESENT, WRITABLE, NX = 1, 2, 1 << 63
DATA = PRESENT | WRITABLE | NX
ROOT, TABLES = 0x8000, 0x10000
VMALLOC = 0xFFFF_C900_0000_0000

TEXT, RODATA, CODE, CONSTANT = 0x30000, 0x32000, 0x34000, 0x35000
"""Physical: kernel text (two pages), read-only data, a page of a module's code, a page nobody may write to."""
KNOB, WIDE, TABLE = 0x1400, 0x1410, 0x1420
RUNQUEUES, STRIDE = 0x20000, 0x1000
NAMESPACE, NODE, PIDS, TASKS = 0x40000, 0x41000, 0x42000, 0x50000
EXT_CLASS, FAIR_CLASS = IMAGE + 0x2000, IMAGE + 0x2010
THREAD_PID, START_TIME, EXIT_STATE, LINKS, SCX = 0x28, 0x30, 0x38, 0x40, 0x80
WEIGHT, SLICE, QUEUE = SCX + 4, SCX + 8, SCX + 16
PID, START_NS = 42, 5_000_000_001


def _btf() -> Btf:
    b = BlobBuilder()
    i32, u32, u64, char = (
        b.integer("int", 4, 1),
        b.integer("u32", 4),
        b.integer("u64", 8),
        b.integer("char", 1, 1),
    )
    u8 = b.integer("u8", 1)
    rq = b.compound(
        "rq",
        0x40,
        [
            ("nr_running", u32, 0),
            ("clock", u64, 8),
            ("curr", b.pointer(u64), 16),
            ("hits", b.array(u64, 2), 24),
        ],
    )
    b.variable("runqueues", rq)
    link = b.compound("hlist_node", 16, [("next", u64, 0), ("pprev", u64, 8)])
    head = b.compound("hlist_head", 8, [("first", u64, 0)])
    b.compound("pid", 0x40, [("count", u32, 0), ("tasks", b.array(head, 4), 0x10)])
    root = b.compound("xarray", 16, [("xa_flags", u32, 4), ("xa_head", u64, 8)])
    idr = b.compound("idr", 24, [("idr_rt", root, 0), ("idr_base", u32, 16)])
    b.compound("pid_namespace", 64, [("idr", idr, 8)])
    b.compound("xa_node", 0x240, [("shift", u8, 0), ("slots", b.array(u64, 64), 0x28)])
    scx = b.compound(
        "sched_ext_entity",
        0x40,
        [("flags", u32, 0), ("weight", u32, 4), ("slice", u64, 8), ("dsq", b.pointer(u64), 16)],
    )
    bits = b.bit_fields("bits", 4, [("in_iowait", u32, 1, 1)])
    b.compound(
        "task_struct",
        0x100,
        [
            ("pid", i32, 0),
            ("comm", b.array(char, 16), 8),
            ("sched_class", u64, 24),
            ("on_cpu", i32, 32),
            ("bits", bits, 36),
            ("thread_pid", u64, THREAD_PID),
            ("start_time", u64, START_TIME),
            ("exit_state", i32, EXIT_STATE),
            ("pid_links", b.array(link, 4), LINKS),
            ("scx", scx, SCX),
        ],
    )
    return Btf(b.build())


_SYMBOLS = symbols(
    knob=IMAGE + KNOB,
    wide=IMAGE + WIDE,
    table=IMAGE + TABLE,
    runqueues=IMAGE + RUNQUEUES,
    __per_cpu_start=IMAGE + RUNQUEUES,
    __per_cpu_end=IMAGE + RUNQUEUES + STRIDE,
    __per_cpu_offset=IMAGE + 0x1000,
    nr_cpu_ids=IMAGE + 0x1100,
    init_pid_ns=IMAGE + NAMESPACE,
    ext_sched_class=EXT_CLASS,
    fair_sched_class=FAIR_CLASS,
    _stext=IMAGE + TEXT,
    _etext=IMAGE + TEXT + 2 * PAGE_BYTES,
    __start_rodata=IMAGE + RODATA,
    __end_rodata=IMAGE + RODATA + PAGE_BYTES,
    banner=IMAGE + RODATA + 0x10,
)


class OpsKernel:
    """Its memory, and what a `KernelView` would offer of it."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("ops-kernel")
        os.ftruncate(self._fd, RAM_BYTES)
        self.parts = [(self._fd, 0, 0, RAM_BYTES)]
        self.ram = GuestRam.from_fds(self.parts)
        self._next_table = TABLES
        for page in range(0, RAM_BYTES, PAGE_BYTES):
            self.map(IMAGE + page, page)
            self.map(PAGE_OFFSET + page, page)
        for page in (TEXT, TEXT + PAGE_BYTES):
            self.map(IMAGE + page, page, PRESENT)
        self.map(IMAGE + RODATA, RODATA, PRESENT | NX)
        self.map(IMAGE + CODE, CODE, PRESENT | WRITABLE)
        self.map(IMAGE + CONSTANT, CONSTANT, PRESENT | NX)
        self.put(0x1008, STRIDE)
        self.put(0x1100, 2, 4)
        self.put(KNOB, 10, 4)
        self.put(NAMESPACE + 8 + 8, IMAGE + NODE | 2)
        self.task(PID)
        self.view = self._view()

    def close(self) -> None:
        """Unmap."""
        self.ram.close()
        os.close(self._fd)

    def put(self, physical: int, value: int, size: int = 8) -> None:
        """Write a number."""
        os.pwrite(self._fd, value.to_bytes(size, "little"), physical)

    def get(self, physical: int, size: int = 4) -> int:
        """Read a number."""
        return int.from_bytes(os.pread(self._fd, size, physical), "little")

    def map(self, address: int, frame: int, rights: int = DATA) -> None:
        """Map a page."""
        table = ROOT
        for shift in (39, 30, 21):
            at = table + (address >> shift & 511) * 8
            if not self.get(at, 8):
                self.put(at, self._next_table | PRESENT | WRITABLE)
                self._next_table += PAGE_BYTES
            table = self.get(at, 8) & 0xFFFFFFFFF000
        self.put(table + (address >> 12 & 511) * 8, frame | rights)

    def task(self, pid: int, start_ns: int = START_NS, comm: bytes = b"worker") -> None:
        """Write a task and its entry in the table of pids; the task before of that pid is gone."""
        entry, task = IMAGE + PIDS + 0x40 * pid, TASKS + 0x100 * pid
        self.put(NODE + 0x28 + 8 * pid, entry)
        self.put(PIDS + 0x40 * pid + 0x10, IMAGE + task + LINKS)
        self.put(task, pid, 4)
        os.pwrite(self._fd, struct.pack("16s", comm), task + 8)
        for offset, value in (
            (24, EXT_CLASS),
            (THREAD_PID, entry),
            (START_TIME, start_ns),
            (SLICE, 20_000_000),
        ):
            self.put(task + offset, value)
        self.put(task + WEIGHT, 100, 4)

    def member(self, offset: int, pid: int = PID) -> int:
        """Physical address of a task's member."""
        return TASKS + 0x100 * pid + offset

    def _view(self) -> Any:  # noqa: ANN401
        btf = _btf()
        space = AddressSpace(self.ram, Vmcoreinfo(NOTE), PAGE_OFFSET)
        cpus = Cpus(btf, _SYMBOLS, space)
        return SimpleNamespace(
            btf=btf,
            symbols=_SYMBOLS,
            space=space,
            cpus=cpus,
            expressions=Expressions(btf, _SYMBOLS, cpus),
            fresh_space=space.clone,
        )
