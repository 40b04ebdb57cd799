"""A kernel in made-up memory that traces: its types, two events, and rings that are written to as the kernel does."""

from __future__ import annotations

import struct

from ktstr_tui.kernel.btf import Btf
from ktstr_tui.kernel.trace.rings import Rings
from tests.oracles.trace_pages import END, data_event, discarded, extend
from tests.unit.kernel.blob import IMAGE, PAGE_OFFSET, BlobBuilder, FakeMemory, symbols
from tests.unit.kernel.tiny import Basics

TRACE, EVENTS, CLOCK = IMAGE + 0x1700, IMAGE + 0x1800, IMAGE + 0x2100
BUFFER, POINTERS, RINGS = PAGE_OFFSET + 0x10000, PAGE_OFFSET + 0x10100, PAGE_OFFSET + 0x11000
PAGES, DATA = PAGE_OFFSET + 0x20000, PAGE_OFFSET + 0x40000
CALLS = PAGE_OFFSET + 0x18000
RING_BYTES, PAGE_STRUCT_BYTES, PAGE_BYTES, BODY = 0x100, 0x40, 4096, 16
MAX_DATA = PAGE_BYTES - BODY
MAX_PAGES = 16
"""Of one CPU, the reader's included."""
HEAD, UPDATE = 1, 2
SWITCH, WAKEUP, ENQUEUE = 310, 312, 1400
SWITCH_BODY, WAKEUP_BODY = struct.Struct("<HBBi16siiq16sii"), struct.Struct("<HBBi16siii")
FIELDS = {
    "sched_switch": (
        SWITCH,
        [
            ("common_pid", "int", 4, 4, 1),
            ("prev_comm", "char[16]", 8, 16, 0),
            ("prev_pid", "pid_t", 24, 4, 1),
            ("prev_state", "long", 32, 8, 1),
            ("next_comm", "char[16]", 40, 16, 0),
            ("next_pid", "pid_t", 56, 4, 1),
            ("next_prio", "int", 60, 4, 1),
        ],
    ),
    "sched_wakeup": (
        WAKEUP,
        [
            ("common_pid", "int", 4, 4, 1),
            ("comm", "char[16]", 8, 16, 0),
            ("pid", "pid_t", 24, 4, 1),
            ("prio", "int", 28, 4, 1),
            ("target_cpu", "int", 32, 4, 1),
        ],
    ),
    "ktstr_enqueue": (ENQUEUE, [("common_pid", "int", 4, 4, 1), ("pid", "s32", 8, 4, 1)]),
}
TRACE_SYMBOLS = {"global_trace": TRACE, "ftrace_events": EVENTS, "trace_clock_local": CLOCK}


def trace_types(b: BlobBuilder, of: Basics) -> None:
    """The types of the trace; offsets are this kernel's own."""
    i64 = b.integer("long", 8, 1)
    local = b.compound("local_t", 8, [("a", b.compound("", 8, [("counter", i64, 0)]), 0)])
    local64 = b.compound("local64_t", 8, [("a", local, 0)])
    stamp = b.compound("rb_time_struct", 8, [("time", local64, 0)])
    array_buffer = b.compound("array_buffer", 16, [("tr", of.u64, 0), ("buffer", of.u64, 8)])
    b.compound("trace_array", 64, [("array_buffer", array_buffer, 16), ("buffer_disabled", of.i32, 40)])
    b.compound(
        "trace_buffer",
        64,
        [
            ("record_disabled", of.atomic, 4),
            ("buffers", of.u64, 16),
            ("clock", of.u64, 24),
            ("subbuf_order", of.u32, 40),
        ],
    )
    names = ("nr_pages", "head_page", "commit_page", "reader_page")
    members = [(name, of.u64, 8 + 8 * k) for k, name in enumerate(names)]
    counters = [
        (name, local, 40 + 8 * k) for k, name in enumerate(("overrun", "commit_overrun", "dropped_events"))
    ]
    b.compound(
        "ring_buffer_per_cpu", 128, [("cpu", of.i32, 0), *members, *counters, ("write_stamp", stamp, 64)]
    )
    b.compound("buffer_page", 64, [("list", of.node, 0), ("read", of.u32, 24), ("page", of.u64, 40)])
    b.compound(
        "buffer_data_page",
        16,
        [("time_stamp", of.u64, 0), ("commit", local, 8), ("data", b.array(of.char, 0), 16)],
    )
    _event_types(b, of)


def _event_types(b: BlobBuilder, of: Basics) -> None:
    event = b.compound("trace_event", 16, [("type", of.i32, 8)])
    b.compound(
        "trace_event_call",
        96,
        [
            ("list", of.node, 0),
            ("class", of.u64, 16),
            ("name", of.u64, 24),
            ("event", event, 32),
            ("flags", of.i32, 64),
        ],
    )
    b.compound("trace_event_class", 64, [("system", of.u64, 0), ("fields", of.node, 16)])
    b.bit_fields(
        "ftrace_event_field",
        64,
        [
            *(("link", of.node, 0, 0), ("name", of.u64, 128, 0), ("type", of.u64, 192, 0)),
            *(("offset", of.i32, 256, 0), ("size", of.i32, 288, 0), ("is_signed", of.u32, 320, 1)),
        ],
    )
    b.compound("tracepoint", 8, [("name", of.u64, 0)])


def trace_btf() -> Btf:
    """Those types, parsed."""
    b = BlobBuilder()
    trace_types(b, Basics(b))
    return Btf(b.build())


class TinyTrace:
    """The memory, with a ring of each CPU, and its reader.

    Args:
        pages: Of each ring.
        cpus: How many rings.
    """

    def __init__(self, pages: int = 4, cpus: int = 1) -> None:
        self.memory = FakeMemory(2 << 20)
        put = self.memory.put
        put(TRACE + 24, BUFFER)
        put(BUFFER + 16, POINTERS)
        put(BUFFER + 24, CLOCK)
        self.rings = [TinyRing(self.memory, cpu, pages) for cpu in range(cpus)]
        for ring in self.rings:
            put(POINTERS + 8 * ring.cpu, ring.address)
        self._strings = CALLS + 0x4000
        self._list_events()
        self.btf, self.symbols = trace_btf(), symbols(**TRACE_SYMBOLS)
        self.reader = Rings(self.btf, self.symbols)

    def _string(self, text: str) -> int:
        at = self._strings
        self.memory.put_bytes(at, text.encode() + b"\0")
        self._strings += len(text) + 1
        return at

    def _link(self, head: int, nodes: list[int]) -> None:
        for one, following in zip([head, *nodes], [*nodes, head], strict=True):
            self.memory.put(one, following)

    def _list_events(self) -> None:
        put, calls = self.memory.put, []
        for number, (name, (event_type, fields)) in enumerate(FIELDS.items()):
            call, owner = CALLS + 0x100 * number, CALLS + 0x1000 + 0x100 * number
            calls.append(call)
            tracepoint = CALLS + 0x80 + 0x100 * number
            put(tracepoint, self._string(name))
            put(call + 16, owner)
            put(call + 24, tracepoint)
            put(call + 40, event_type, 4)
            put(call + 64, 1 << 4, 4)
            rows = [CALLS + 0x2000 + 0x800 * number + 0x40 * k for k in range(len(fields))]
            for row, (field, ctype, offset, size, signed) in zip(rows, fields, strict=True):
                put(row + 16, self._string(field))
                put(row + 24, self._string(ctype))
                put(row + 32, offset, 4)
                put(row + 36, size, 4)
                put(row + 40, signed, 4)
            self._link(owner + 16, rows)
        self._link(EVENTS, calls)


class TinyRing:
    """One CPU's ring and its writer.

    Args:
        memory: Where it is.
        cpu: Whose it is.
        pages: How many, without the reader's.
    """

    def __init__(self, memory: FakeMemory, cpu: int, pages: int) -> None:
        self._put, self.cpu, self.pages = memory.put, cpu, pages
        self._put_bytes = memory.put_bytes
        self.address = RINGS + cpu * RING_BYTES
        self._head, self._tail, self._used, self._fresh = 0, 0, 0, True
        self._entries, self.overrun = [0] * pages, 0
        self.now_ns, self.last_head = 1_000_000_000, 0
        self._put(self.address + 8, pages)
        self._put(self.address + 32, self.page(pages))
        for k in range(pages + 1):
            self._put(self.page(k) + 40, self.data(k))
        for k in range(pages):
            self._put(self.page(k), self.page((k + 1) % pages))
        self._point()

    def page(self, k: int) -> int:
        """Address of a ``struct buffer_page``; the last is the reader's."""
        return PAGES + (self.cpu * MAX_PAGES + k) * PAGE_STRUCT_BYTES

    def data(self, k: int) -> int:
        """Address of its events' page."""
        return DATA + (self.cpu * MAX_PAGES + k) * PAGE_BYTES

    def _point(self) -> None:
        before = (self._head - 1) % self.pages
        self._put(self.page(before), self.page(self._head) | HEAD)
        self._put(self.address + 16, self.page(self.last_head))
        self._put(self.address + 24, self.page(self._tail))
        self._put(self.address + 40, self.overrun)
        self._put(self.address + 64, self.now_ns)

    def write(self, body: bytes, delta: int = 1000) -> None:
        """Write an event, on the next page when this one is full, over the oldest when all are."""
        record = data_event(body, delta) if delta < 1 << 27 else extend(delta) + data_event(body, 0)
        if self._used + len(record) > MAX_DATA:
            self._next_page()
        self.now_ns += delta
        if self._used == 0:
            # The time of a page is that of its first event.
            self._put(self.data(self._tail), self.now_ns)
            record = data_event(body, 0)
        at = self.data(self._tail) + BODY + self._used
        self._put_bytes(at, record)
        self._used += len(record)
        self._entries[self._tail] += 1
        self._put(self.data(self._tail) + 8, self._used)
        self._point()

    def discard(self, words: int, delta: int) -> None:
        """Write an event that is thrown away."""
        record = discarded(words, delta)
        if self._used == 0 or self._used + len(record) > MAX_DATA:
            return
        self.now_ns += delta
        self._put_bytes(self.data(self._tail) + BODY + self._used, record)
        self._used += len(record)
        self._put(self.data(self._tail) + 8, self._used)

    def _next_page(self) -> None:
        if MAX_DATA - self._used >= len(END):
            self._put_bytes(self.data(self._tail) + BODY + self._used, END)
            self._put(self.data(self._tail) + 8, self._used + len(END))
        following = (self._tail + 1) % self.pages
        if following == self._head:
            before = (self._head - 1) % self.pages
            self._put(self.page(before), self.page(self._head) | UPDATE)
            self.overrun += self._entries[self._head]
            self._head = (self._head + 1) % self.pages
            self._put(self.page(following), self.page(self._head) | HEAD)
            self._put(self.page(before), self.page(following))
        self._tail, self._used = following, 0
        self._entries[following] = 0
        self._put(self.data(following) + 8, 0)


def switch_body(prev: int, following: int, state: int = 0) -> bytes:
    """The body of a ``sched_switch``."""
    return SWITCH_BODY.pack(
        SWITCH,
        0,
        0,
        prev,
        f"task-{prev}".encode(),
        prev,
        120,
        state,
        f"task-{following}".encode(),
        following,
        120,
    )


def enqueue_body(by: int, pid: int) -> bytes:
    """The body of a probe, which has a task's pid and not its name."""
    return struct.pack("<HBBii", ENQUEUE, 0, 0, by, pid)


def wakeup_body(by: int, pid: int, cpu: int, comm: str | None = None) -> bytes:
    """The body of a ``sched_wakeup``."""
    return WAKEUP_BODY.pack(WAKEUP, 0, 0, by, (comm or f"task-{pid}").encode(), pid, 120, cpu)
