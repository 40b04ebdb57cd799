"""A whole kernel in a mebibyte of made-up memory: what only a booted one had until now.

To the runqueues, tasks and queues of `tiny` it adds id tables, BPF maps with types of their own, kernel stacks with
unwind tables, a table of pids and the kernel's log, and opens a `KernelView` over them. Every byte is known and can be
damaged.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from drgn import Architecture, FaultError, Platform, PlatformFlags, Program

from ktstr_tui.kernel.btf import Btf
from ktstr_tui.kernel.finders import load_btf
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.program import KernelParts
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.kernel.vmcoreinfo import Vmcoreinfo
from tests.unit.kernel.blob import IMAGE, NOTE, PAGE_OFFSET, BlobBuilder, symbol_index
from tests.unit.kernel.tiny import (
    CPUS_PTR,
    NODE,
    PID_LINKS,
    RUNNABLE,
    SCHED,
    SP,
    STACK,
    STACK_BYTES,
    TINY_SYMBOLS,
    Basics,
    TinyKernel,
    tiny_blob,
    tiny_symbols,
)

TEXT, TEXT_END = IMAGE + 0x10000, IMAGE + 0x18000
SCHEDULE, WORKER, ENTRY = TEXT + 0x1000, TEXT + 0x2000, TEXT + 0x3000
"""Functions: two that are called, and the one where every stack ends."""
IPS, ROWS = IMAGE + 0x30000, IMAGE + 0x38000
ORC_HASH = "137c36ad7627c4dd55932176bb0ecdbd5041fc82"
MAP_IDR, PID_NS, BPF_KALLSYMS, PRB = IMAGE + 0x1400, IMAGE + 0x1500, IMAGE + 0x1600, IMAGE + 0x1610
STACKS, MASKS, PIDS = PAGE_OFFSET + 0x80000, PAGE_OFFSET + 0x98000, PAGE_OFFSET + 0x99000
MAP_NODE, PID_NODE = PAGE_OFFSET + 0xA0000, PAGE_OFFSET + 0xA1000
MAPS, MAP_BTF, MAP_BLOB = PAGE_OFFSET + 0xB0000, PAGE_OFFSET + 0xC0000, PAGE_OFFSET + 0xC1000
RING, LOG = PAGE_OFFSET + 0xD0000, PAGE_OFFSET + 0xD8000
TICKS = IMAGE + 0x1700
FINALIZED = 2 << 62
MAP_BYTES, MAP_VALUE = 0x400, 0x80
LOG_RECORDS, LOG_BYTES = 8, 1024
DESC_BYTES, INFO_BYTES = 24, 96
JIFFIES = 100_000

MAP_TYPES = {"HASH": 1, "ARRAY": 2, "PERCPU_ARRAY": 6, "STRUCT_OPS": 26, "RINGBUF": 27, "TASK_STORAGE": 29}
MAP_TYPES |= {"LPM_TRIE": 11, "ARRAY_OF_MAPS": 12, "QUEUE": 22, "STACK": 23, "CGRP_STORAGE": 32, "ARENA": 33}
MAP_TYPES |= {"PERF_EVENT_ARRAY": 4, "HASH_OF_MAPS": 13, "BLOOM_FILTER": 30}


def _bpf_types(b: BlobBuilder, of: Basics) -> None:
    name = b.array(of.char, 16)
    plain = (
        "map_type",
        "key_size",
        "value_size",
        "max_entries",
        "id",
        "btf_key_type_id",
        "btf_value_type_id",
    )
    members = [(member, of.u32, 4 * k) for k, member in enumerate((*plain, "btf_vmlinux_value_type_id"))]
    bpf_map = b.compound(
        "bpf_map", 64, [*members, ("btf", of.u64, 32), ("name", name, 40), ("record", of.u64, 56)]
    )
    b.compound(
        "btf",
        40,
        [
            ("data", of.u64, 0),
            ("data_size", of.u32, 8),
            ("id", of.u32, 12),
            ("base_btf", of.u64, 16),
            ("kernel_btf", of.boolean, 24),
            ("strings", of.u64, 32),
        ],
    )
    flexible = b.array(of.char, 0)
    b.compound(
        "bpf_array", MAP_VALUE, [("map", bpf_map, 0), ("elem_size", of.u32, 64), ("value", flexible, 0x80)]
    )
    b.compound("bpf_htab", 80, [("map", bpf_map, 0), ("buckets", of.u64, 64), ("n_buckets", of.u32, 72)])
    b.compound("bucket", 16, [("head", of.u64, 0)])
    b.compound("htab_elem", 16, [("next", of.u64, 0), ("key", flexible, 16)])
    b.compound("bpf_struct_ops_map", 0x80, [("map", bpf_map, 0), ("kvalue", flexible, 0x80)])
    _storage_types(b, of, bpf_map, flexible)
    bounds = [("start", of.u64, 0), ("end", of.u64, 8), ("name", name, 16), ("lnode", of.node, 32)]
    ksym = b.compound("bpf_ksym", 64, [*bounds, ("prog", of.boolean, 48)])
    lines = [
        ("btf", of.u64, 72),
        ("linfo", of.u64, 80),
        ("jited_linfo", of.u64, 88),
        ("nr_linfo", of.u32, 96),
    ]
    b.compound("bpf_prog_aux", 104, [("id", of.u32, 0), ("ksym", ksym, 8), *lines])
    offsets = ("insn_off", "file_name_off", "line_off", "line_col")
    b.compound("bpf_line_info", 16, [(member, of.u32, 4 * k) for k, member in enumerate(offsets)])
    _more_bpf_types(b, of, bpf_map, flexible)
    b.enum("bpf_map_type", [(f"BPF_MAP_TYPE_{key}", value) for key, value in MAP_TYPES.items()])


def _storage_types(b: BlobBuilder, of: Basics, bpf_map: int, flexible: int) -> None:
    """The storage that a map keeps at each task, cgroup or socket."""
    b.compound(
        "bpf_local_storage_map",
        80,
        [("map", bpf_map, 0), ("buckets", of.u64, 64), ("bucket_log", of.u32, 72)],
    )
    b.compound("bpf_local_storage_map_bucket", 8, [("list", of.u64, 0)])
    node = b.compound("hlist_node2", 16, [("next", of.u64, 0), ("pprev", of.u64, 8)])
    data = b.compound("bpf_local_storage_data", 8, [("smap", of.u64, 0), ("data", flexible, 8)])
    b.compound(
        "bpf_local_storage_elem",
        40,
        [("map_node", node, 0), ("local_storage", of.u64, 16), ("sdata", data, 24)],
    )
    b.compound("bpf_local_storage", 8, [("owner", of.u64, 0)])


def _more_bpf_types(b: BlobBuilder, of: Basics, bpf_map: int, flexible: int) -> None:
    """Kinds that are not bytes behind the map: queues, tries, rings, arenas and arrays of pointers."""
    u32, u64 = of.u32, of.u64
    queue = [("map", bpf_map, 0), ("head", u32, 64), ("tail", u32, 68), ("size", u32, 72)]
    b.compound("bpf_queue_stack", 80, [*queue, ("elements", flexible, 80)])
    b.compound("lpm_trie", 72, [("map", bpf_map, 0), ("root", u64, 64)])
    child = b.array(u64, 2)
    node = [("child", child, 0), ("prefixlen", u32, 16), ("flags", u32, 20), ("data", flexible, 24)]
    b.compound("lpm_trie_node", 24, node)
    b.compound("bpf_ringbuf_map", 72, [("map", bpf_map, 0), ("rb", u64, 64)])
    names = ("mask", "consumer_pos", "producer_pos", "pending_pos")
    ring = [(name, u64, 8 * k) for k, name in enumerate(names)]
    b.compound("bpf_ringbuf", 32, [*ring, ("data", flexible, 32)])
    arena = [("map", bpf_map, 0), ("user_vm_start", u64, 64), ("kern_vm", u64, 72)]
    b.compound("bpf_arena", 80, arena)
    b.compound("vm_struct", 8, [("addr", u64, 0)])
    b.compound("cgroup", 8, [("kn", u64, 0)])
    b.compound("kernfs_node", 8, [("id", u64, 0)])
    b.compound("bpf_prog", 8, [("aux", u64, 0)])
    b.compound("bpf_event_entry", 8, [("event", u64, 0)])
    b.compound("perf_event", 16, [("cpu", u32, 0), ("rb", u64, 8)])
    ring = [("nr_pages", u32, 0), ("head", u64, 8), ("lost", u64, 16), ("user_page", u64, 24)]
    b.compound("perf_buffer", 32, ring)
    b.compound("perf_event_mmap_page", 8, [("data_tail", u64, 0)])


def _table_types(b: BlobBuilder, of: Basics) -> None:
    u8 = b.integer("u8", 1)
    root = b.compound("xarray", 16, [("xa_flags", of.u32, 4), ("xa_head", of.u64, 8)])
    idr = b.compound("idr", 24, [("idr_rt", root, 0), ("idr_base", of.u32, 16)])
    b.compound("xa_node", 0x240, [("shift", u8, 0), ("slots", b.array(of.u64, 64), 0x28)])
    b.compound("pid_namespace", 64, [("idr", idr, 8)])
    b.compound("pid", 0x20, [("count", of.u32, 0), ("tasks", b.array(of.u64, 1), 8)])


def _log_types(b: BlobBuilder, of: Basics) -> None:
    ulong = b.integer("unsigned long", 8)
    long = b.compound("", 8, [("counter", ulong, 0)])
    position = b.compound("prb_data_blk_lpos", 16, [("begin", ulong, 0), ("next", ulong, 8)])
    desc = b.compound("prb_desc", DESC_BYTES, [("state_var", long, 0), ("text_blk_lpos", position, 8)])
    u8, u16 = b.integer("unsigned char", 1), b.integer("u16", 2)
    device = b.compound(
        "dev_printk_info", 64, [("subsystem", b.array(of.char, 16), 0), ("device", b.array(of.char, 48), 16)]
    )
    info = b.compound(
        "printk_info",
        INFO_BYTES,
        [
            ("seq", of.u64, 0),
            ("ts_nsec", of.u64, 8),
            ("text_len", u16, 16),
            ("facility", u8, 18),
            ("flags", u8, 19),
            ("level", u8, 20),
            ("caller_id", of.u32, 24),
            ("dev_info", device, 28),
        ],
    )
    ring = b.compound(
        "prb_desc_ring",
        40,
        [
            ("count_bits", of.u32, 0),
            ("descs", b.pointer(desc), 8),
            ("infos", b.pointer(info), 16),
            ("head_id", long, 24),
            ("tail_id", long, 32),
        ],
    )
    text = b.compound("prb_data_ring", 16, [("size_bits", of.u32, 0), ("data", b.pointer(of.char), 8)])
    b.compound("printk_ringbuffer", 56, [("desc_ring", ring, 0), ("text_data_ring", text, 40)])
    b.enum("desc_state", [("desc_committed", 1), ("desc_finalized", 2)])
    b.enum("printk_info_flags", [("LOG_CONT", 8)])


def _more(b: BlobBuilder, of: Basics) -> None:
    _bpf_types(b, of)
    _table_types(b, of)
    _log_types(b, of)
    b.compound("tick_sched", 16, [("flags", of.u64, 0)])


_MORE_SYMBOLS = {
    "map_idr": MAP_IDR,
    "init_pid_ns": PID_NS,
    "bpf_kallsyms": BPF_KALLSYMS,
    "prb": PRB,
    "tick_cpu_sched": TICKS,
    "_text": TEXT,
    "_etext": TEXT_END,
    "schedule": SCHEDULE,
    "worker_thread": WORKER,
    "ret_from_fork": ENTRY,
    "__start_orc_unwind_ip": IPS,
    "__stop_orc_unwind_ip": IPS + 12,
    "__start_orc_unwind": ROWS,
}


class WholeKernel(TinyKernel):
    """The kernel: two CPUs, an idle task on each, no scheduler, no maps, and an empty log, to begin with."""

    def __init__(self) -> None:
        self.blob = tiny_blob(_more)
        super().__init__(Btf(self.blob), tiny_symbols(**_MORE_SYMBOLS))
        put = self.memory.put
        put(IMAGE + 0x1330, JIFFIES)
        put(BPF_KALLSYMS, BPF_KALLSYMS)
        self._orc([(SCHEDULE, 2, 24), (WORKER, 2, 8), (ENTRY, 1, 8)])
        self._maps: list[tuple[int, int]] = []
        self._records = 0
        put(PRB, PRB + 8)
        put(PRB + 8, LOG_RECORDS.bit_length() - 1, 4)
        put(PRB + 16, RING)
        put(PRB + 24, RING + LOG_RECORDS * DESC_BYTES)
        put(PRB + 48, LOG_BYTES.bit_length() - 1, 4)
        put(PRB + 56, LOG)

    def open(self) -> KernelView:
        """The view of it."""
        index = symbol_index(**TINY_SYMBOLS, **_MORE_SYMBOLS)
        prog = Program(
            Platform(Architecture.X86_64, PlatformFlags.IS_64_BIT | PlatformFlags.IS_LITTLE_ENDIAN)
        )
        for start in (PAGE_OFFSET, IMAGE):
            prog.add_memory_segment(start, self.memory.end, self._reader(start))
        prog.register_symbol_finder("made-up", index, enable_index=0)
        btf = load_btf(prog, data=self.blob)
        return KernelView(KernelParts(prog, Vmcoreinfo(NOTE), self.space, index, btf))

    def _reader(self, start: int) -> Callable[[int, int, int, bool], bytes]:
        def read(address: int, count: int, _offset: int, _physical: bool) -> bytes:
            try:
                return self.memory.read(address - start, count)
            except MemoryReadError as problem:
                raise FaultError(problem.message, address) from problem

        return read

    def _orc(self, rows: list[tuple[int, int, int]]) -> None:
        """Unwind tables: address, type, distance to the caller's stack pointer; RBP is not saved."""
        self.memory.put_bytes(IPS - 20, bytes.fromhex(ORC_HASH))
        for k, (at, kind, offset) in enumerate(rows):
            self.memory.put(IPS + 4 * k, at - (IPS + 4 * k), 4)
            self.memory.put_bytes(ROWS + 6 * k, struct.pack("<hhH", offset, 0, 3 | kind << 8))

    def sleeper(self, slot: int, *, pid: int, comm: str, cpu: int = 0, state: int = 0) -> int:
        """A task of sched_ext with a kernel stack: schedule <- worker_thread <- ret_from_fork; its address."""
        task = self.task(slot, pid=pid, comm=comm)
        put, stack = self.memory.put, STACKS + slot % 4 * STACK_BYTES
        put(task + 36, pid, 4)
        put(task + 40, state, 4)
        put(task + 52, 120, 4)
        put(task + CPUS_PTR, MASKS)
        put(MASKS, 0b11)
        put(task + 64, 2, 4)
        put(task + 68, cpu, 4)
        put(task + STACK, stack)
        sp = stack + STACK_BYTES - 0x100
        put(task + SP, sp)
        for k, word in enumerate((0, 0, 0, 0, 0, 0, SCHEDULE + 5, 0, 0, WORKER + 9, ENTRY + 4)):
            put(sp + 8 * k, word)
        return task

    def runnable(self, cpu: int, tasks: list[int], since: int = JIFFIES - 250) -> None:
        """Put tasks on a CPU's runnable list, each a tick younger than the last."""
        self.link(self.rq(cpu) + RUNNABLE, [task + NODE for task in tasks])
        for k, task in enumerate(tasks):
            self.memory.put(task + 0x88, since + k)

    def scheduler(self, name: str = "made_up", exit_kind: int = 0) -> None:
        """Load a scheduler."""
        put = self.memory.put
        put(IMAGE + 0x1300, SCHED)
        put(IMAGE + 0x1310, 1, 4)
        put(IMAGE + 0x1320, 7)
        self.memory.put_bytes(SCHED, name.encode() + b"\0")
        put(SCHED + 32, 3000, 4)
        put(SCHED + 56, 750)
        put(SCHED + 64, exit_kind, 4)

    def id_table(self, idr: int, node: int, items: dict[int, int]) -> None:
        """Write an id table of one node."""
        self.memory.put(idr + 8, node | 2)
        self.memory.put(node, 0, 1)
        for number in range(64):
            self.memory.put(node + 0x28 + 8 * number, items.get(number, 0))

    def pids(self, tasks: dict[int, int]) -> None:
        """Enter tasks in the table of pids."""
        entries = {}
        for k, (pid, task) in enumerate(tasks.items()):
            entries[pid] = PIDS + 0x20 * k
            self.memory.put(entries[pid] + 8, task + PID_LINKS)
        self.id_table(PID_NS + 8, PID_NODE, entries)

    def bpf_map(self, name: str, kind: str, *, key_size: int, value_size: int, max_entries: int) -> int:
        """Enter a map whose values are ``struct counts { int hits, misses; }``; its address."""
        number = len(self._maps)
        address = MAPS + MAP_BYTES * number
        self._maps.append((number + 1, address))
        words = (MAP_TYPES[kind], key_size, value_size, max_entries, number + 1, 1, 2, 0)
        self.memory.put_bytes(address, struct.pack("<8I", *words))
        self.memory.put(address + 32, MAP_BTF)
        self.memory.put_bytes(address + 40, struct.pack("16s", name.encode()))
        self.id_table(MAP_IDR, MAP_NODE, dict(self._maps))
        b = BlobBuilder()
        number_type = b.integer("int", 4, 1)
        b.compound("counts", 8, [("hits", number_type, 0), ("misses", number_type, 4)])
        blob = b.build()
        self.memory.put_bytes(MAP_BLOB, blob)
        self.memory.put(MAP_BTF, MAP_BLOB)
        self.memory.put(MAP_BTF + 8, len(blob), 4)
        self.memory.put(MAP_BTF + 12, 77, 4)
        return address

    def log(self, text: str, ts_nsec: int) -> None:
        """Write a record into the kernel's log."""
        number, put = self._records, self.memory.put
        self._records += 1
        slot, at = number % LOG_RECORDS, number % LOG_RECORDS * (LOG_BYTES // LOG_RECORDS)
        desc, info = RING + slot * DESC_BYTES, RING + LOG_RECORDS * DESC_BYTES + slot * INFO_BYTES
        put(desc, FINALIZED | number)
        put(desc + 8, at)
        put(desc + 16, at + 8 + len(text))
        put(info + 8, ts_nsec)
        put(info + 16, len(text), 2)
        self.memory.put_bytes(LOG + at + 8, text.encode())
        put(PRB + 8 + 24, number)
        put(PRB + 8 + 32, max(0, number - LOG_RECORDS + 1))
