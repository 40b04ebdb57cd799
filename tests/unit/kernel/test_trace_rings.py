"""Reading rings that somebody writes to: it is a run of what was written, without a gap, up to the newest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.kernel.address import MASK64
from ktstr_tui.kernel.btf import BtfError
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.torn import Torn
from ktstr_tui.kernel.trace.decode import Decoder
from ktstr_tui.kernel.trace.events import TraceEvent, is_runnable, state_letters
from ktstr_tui.kernel.trace.formats import Formats
from ktstr_tui.kernel.trace.reader import CpuTrace, decode_ring
from ktstr_tui.kernel.trace.rings import Rings
from tests.unit.kernel.blob import BlobBuilder, symbols
from tests.unit.kernel.tiny import Basics
from tests.unit.kernel.tracing import (
    BODY,
    FIELDS,
    RINGS,
    TRACE_SYMBOLS,
    TinyTrace,
    switch_body,
    trace_btf,
    wakeup_body,
)

LONG_NS = 1 << 30
"""Longer than the bits of time in an event's own header."""


def read(trace: TinyTrace, until_ns: int = MASK64, cpu: int = 0) -> CpuTrace:
    space = trace.memory.space()
    formats = Formats(trace.btf, trace.symbols).names(space, {"sched_switch", "sched_wakeup"})
    return decode_ring(trace.reader.copy(space, cpu), Decoder(formats), until_ns)


def numbers(events: tuple[TraceEvent, ...]) -> list[int | None]:
    return [event.pid for event in events]


def test_a_new_ring_holds_nothing() -> None:
    trace = TinyTrace(cpus=2)
    assert read(trace).events == read(trace, cpu=1).events == ()


def test_events_have_the_kernels_names_and_their_members() -> None:
    trace = TinyTrace(cpus=2)
    trace.rings[1].write(switch_body(5, 7, state=1))
    trace.rings[1].write(wakeup_body(7, 9, 3), delta=LONG_NS)
    first, second = read(trace, cpu=1).events
    assert (first.name, first.kind, first.by, first.cpu) == ("sched_switch", "switch", 5, 1)
    assert (first.prev_pid, first.prev_comm, first.prev_state) == (5, "task-5", 1)
    assert (first.pid, first.comm, first.prio, first.to_cpu, first.dsq_id) == (7, "task-7", 120, None, None)
    assert (second.kind, second.pid, second.comm, second.to_cpu, second.prev_pid) == (
        "wakeup", 9, "task-9", 3, None,
    )  # fmt: skip
    assert second.time_ns - first.time_ns == LONG_NS


@given(
    pages=st.integers(2, 6),
    deltas=st.lists(st.sampled_from([0, 1, 1000, LONG_NS]), max_size=700),
    lag=st.booleans(),
)
def test_the_newest_events_are_read_and_the_others_are_counted(
    pages: int, deltas: list[int], lag: bool
) -> None:
    trace = TinyTrace(pages)
    ring, times = trace.rings[0], []
    for number, delta in enumerate(deltas):
        ring.write(switch_body(0, number), delta)
        times.append(ring.now_ns)
        if lag and number % 50 == 0:
            ring.last_head = number % pages
        if number % 7 == 0:
            ring.discard(3, 500)
    found = read(trace)
    assert found.overrun.overwritten == ring.overrun
    assert numbers(found.events) == list(range(ring.overrun, len(deltas)))
    assert [event.time_ns for event in found.events] == times[ring.overrun :]


@given(
    before=st.integers(0, 400),
    every=st.integers(1, 9),
    burst=st.integers(1, 200),
    pages=st.integers(2, 5),
)
def test_a_ring_that_is_written_to_is_read_without_a_gap(
    before: int, every: int, burst: int, pages: int
) -> None:
    trace = TinyTrace(pages)
    ring, written = trace.rings[0], before
    for number in range(before):
        ring.write(switch_body(0, number))

    def write_more(reads: int) -> None:
        nonlocal written
        if reads % every == 0 and written < before + 600:
            for number in range(written, written + burst):
                ring.write(switch_body(0, number))
            written += burst

    space = trace.memory.space()
    formats = Formats(trace.btf, trace.symbols).names(space, FIELDS.keys())
    trace.memory.on_read = write_more
    try:
        copy = trace.reader.copy(space, 0)
    except Torn:
        return
    trace.memory.on_read = None
    pids = [event.pid or 0 for event in decode_ring(copy, Decoder(formats)).events]
    assert pids == list(range(pids[0], pids[0] + len(pids))) if pids else True
    assert not pids or copy.overtaken_pages or pids[-1] >= before - 1


def test_what_is_later_than_a_stop_is_left_out() -> None:
    trace = TinyTrace(4)
    for number in range(100):
        trace.rings[0].write(switch_body(0, number))
    (stop,) = trace.reader.last_ns(trace.memory.space(), 1)
    for number in range(100, 150):
        trace.rings[0].write(switch_body(0, number))
    assert numbers(read(trace, stop or 0).events) == list(range(100))


def test_what_somebody_in_the_guest_has_read_is_gone_from_the_readers_page() -> None:
    trace = TinyTrace(4)
    ring = trace.rings[0]
    for number in range(4):
        ring.write(switch_body(0, number))
    # The reader takes the only page, which is written to, out of the ring.
    trace.memory.put(RINGS + 32, ring.page(0))
    trace.memory.put(ring.page(0) + 24, 4 + len(switch_body(0, 0)), 4)
    assert numbers(read(trace).events) == [1, 2, 3]


@pytest.mark.parametrize("pages", [0, 1 << 40])
def test_a_ring_of_no_size_is_refused(pages: int) -> None:
    trace = TinyTrace()
    trace.memory.put(RINGS + 8, pages)
    with pytest.raises(Torn, match="pages"):
        read(trace)


def test_a_page_that_claims_more_than_it_can_hold_is_refused() -> None:
    trace = TinyTrace()
    trace.rings[0].write(switch_body(0, 1))
    trace.memory.put(trace.rings[0].data(0) + 8, 4096 - BODY + 1)
    with pytest.raises(Torn, match="bytes"):
        read(trace)


def test_a_ring_without_a_head_and_one_that_leads_nowhere_are_refused() -> None:
    trace = TinyTrace()
    ring = trace.rings[0]
    trace.memory.put(ring.page(3), ring.page(0))
    with pytest.raises(Torn, match="head"):
        read(trace)
    trace.memory.put(ring.page(0), 0x10)
    with pytest.raises(MemoryReadError):
        read(trace)


@given(damage=st.lists(st.tuples(st.integers(0, 0x40000), st.integers(0, MASK64)), min_size=1, max_size=12))
def test_damaged_rings_are_read_to_an_end(damage: list[tuple[int, int]]) -> None:
    trace = TinyTrace(5)
    for number in range(300):
        trace.rings[0].write(switch_body(0, number))
    base = trace.memory
    for offset, value in damage:
        at = 0x10000 + offset // 8 * 8
        base.data[at : at + 8] = value.to_bytes(8, "little")
    try:
        read(trace)
    except (Torn, MemoryReadError):
        return


def test_a_kernel_without_tracing_says_what_is_missing() -> None:
    b = BlobBuilder()
    Basics(b)
    with pytest.raises(BtfError, match="CONFIG_TRACING"):
        Rings(trace_btf(), symbols(nothing=1))
    with pytest.raises(BtfError, match="CONFIG_EVENT_TRACING"):
        Formats(trace_btf(), symbols(global_trace=TRACE_SYMBOLS["global_trace"]))


def test_states_are_the_letters_of_the_kernels_trace() -> None:
    assert [state_letters(state) for state in (0, 1, 2, 0x80, 0x100, 0x102, 0x1000)] == [
        "R", "S", "D", "I", "R+", "D+", "0x1000",
    ]  # fmt: skip
    assert is_runnable(0)
    assert is_runnable(0x100)
    assert not is_runnable(1)
