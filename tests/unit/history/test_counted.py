"""Counting what tasks do, against a machine of which everything is known."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.history.counted import Counts
from ktstr_tui.history.live import LiveTrace
from ktstr_tui.kernel.trace.events import TraceEvent, is_runnable
from ktstr_tui.kernel.trace.reader import TraceReader
from ktstr_tui.model.rates import BOUNDS_MS, TaskRates
from tests.oracles.trace_counts import Seen, bucket_of, packed, waits_of
from tests.unit.history.scripted import BOOT_NS, MS, Machine, comm
from tests.unit.kernel.tracing import TinyTrace, enqueue_body, switch_body, wakeup_body

# Of two CPUs' events at the same nanosecond nobody can say which came first, so time always passes.
MOVES = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 4), st.sampled_from([0, 1, 0x100]), st.integers(1, 50)),
    max_size=80,
)


def seen(event: TraceEvent) -> Seen:
    return Seen(
        event.time_ns,
        event.cpu,
        event.kind,
        event.pid or 0,
        event.prev_pid or 0,
        event.prev_state or 0,
        event.prio or 0,
    )


def events_of(machine: Machine) -> list[Seen]:
    found = [seen(event) for events in machine.events.values() for event in events]
    return sorted(found, key=lambda it: it.time_ns)


@given(moves=MOVES, cuts=st.lists(st.integers(0, 80), max_size=5))
def test_shares_and_waits_are_what_really_happened(
    moves: list[tuple[int, int, int, int]], cuts: list[int]
) -> None:
    machine, waits, since = Machine(2), list[float](), dict[int, int]()
    switches, preempted = Counter[int](), Counter[int]()
    for cpu, pid, state, ms in moves:
        if pid and pid in machine.running.values():
            continue
        prev = machine.running[cpu]
        if pid != prev:
            if prev and is_runnable(state):
                since[prev] = machine.now_ns
                preempted[prev] += 1
            machine.switch(cpu, pid, state)
            switches[pid] += 1
            if pid in since:
                waits.append((machine.now_ns - since.pop(pid)) / 1e6)
        machine.wait(ms)
    counts, events = Counts(2), events_of(machine)
    places = sorted({min(cut, len(events)) for cut in cuts} | {len(events)})
    parts, before = list[TaskRates](), 0
    for place in places:
        counts.add(packed(events[before:place]))
        end_ns = events[place - 1].time_ns if place else BOOT_NS
        parts.append(counts.finish(end_ns, {}, {}))
        before = place
    by_pid: dict[int, float] = defaultdict(float)
    for part in parts:
        for task in part.tasks:
            by_pid[task.pid] += task.run_share * part.span_ms
    assert sum(part.events for part in parts) == len(events)
    assert sum(task.switches for part in parts for task in part.tasks) == sum(
        n for pid, n in switches.items() if pid
    )
    lost = Counter[int]()
    for part in parts:
        lost.update({task.pid: task.preempted for task in part.tasks if task.preempted})
        assert part.kicks is None
    assert lost == preempted
    assert sum(cpu.preempted for part in parts for cpu in part.cpus) == preempted.total()
    assert sum(part.waits.count for part in parts) == len(waits)
    assert sum(parts[-1].buckets) == len(waits)
    if events:
        tail_ns = machine.now_ns - events[-1].time_ns
        for pid in {pid for _, pid in machine.ran_ns if pid}:
            ran = sum(ns for (_, on), ns in machine.ran_ns.items() if on == pid)
            running_on = [cpu for cpu, on in machine.running.items() if on == pid]
            assert by_pid[pid] == pytest.approx((ran - tail_ns * len(running_on)) / 1e6, abs=0.01)


def test_a_task_that_waits_is_listed_while_it_does() -> None:
    machine = Machine(1)
    machine.switch(0, 5)
    machine.wait(10)
    machine.wake(0, 7)
    machine.wait(30)
    machine.switch(0, 0, 1)
    counts = Counts(1)
    counts.add(packed(events_of(machine)))
    rates = counts.finish(machine.now_ns, {5: comm(5), 7: comm(7)}, {})
    assert [(it.comm, it.doing, it.waiting_ms) for it in rates.tasks] == [
        ("task-5", "sleeps", None), ("task-7", "waits", 30.0),
    ]  # fmt: skip
    assert rates.cpus[0].busy_share == 1.0
    machine.wait(20)
    rates = counts.finish(machine.now_ns, {7: comm(7)}, {})
    assert [(it.comm, it.waiting_ms) for it in rates.tasks] == [("task-7", 50.0)]
    assert rates.cpus[0].busy_share == 0.0


def test_kicks_are_counted_where_the_trace_records_them() -> None:
    counts = Counts(1)
    counts.add(packed(Seen(BOOT_NS + at, 0, "kick", 0, 0, 0, 0) for at in range(3)))
    assert counts.finish(BOOT_NS + MS, {}, {}, kicks=True).kicks == 3
    assert counts.finish(BOOT_NS + 2 * MS, {}, {}, kicks=True).kicks == 0


def test_a_task_that_exits_keeps_what_it_did_and_is_gone_with_the_stretch() -> None:
    counts, machine = Counts(1), Machine(1)
    machine.switch(0, 5)
    machine.wait(10)
    exits = Seen(machine.now_ns, 0, "exit", 5, 0, 0, 120)
    machine.wait(10)
    machine.switch(0, 0, 0x10)
    counts.add(packed(sorted([*events_of(machine), exits])))
    rates = counts.finish(machine.now_ns, {5: comm(5)}, {})
    assert [(it.comm, it.run_share, it.switches, it.doing) for it in rates.tasks] == [
        ("task-5", 1.0, 1, "sleeps")
    ]
    counts.add(packed([Seen(machine.now_ns + MS, 0, "migrate", 5, 0, 0, 0)]))
    again = counts.finish(machine.now_ns + MS, {}, {}).tasks
    assert [(it.prio, it.doing) for it in again] == [(None, "waits")], "it is another task"


@given(st.lists(st.floats(0, 20000), max_size=200))
def test_buckets_and_percentiles_are_those_of_the_waits(waited: list[float]) -> None:
    for ms in waited:
        bucket = bucket_of(ms)
        assert bucket == len(BOUNDS_MS) or ms <= BOUNDS_MS[bucket]
        assert bucket == 0 or ms > BOUNDS_MS[bucket - 1]
    found = waits_of(list(waited))
    assert found.count == len(waited)
    if waited:
        assert found.max_ms == max(waited)
        assert found.p50_ms is not None
        assert sum(ms <= found.p50_ms for ms in waited) >= len(waited) / 2


def live(trace: TinyTrace) -> LiveTrace:
    space = trace.memory.space()
    reader = TraceReader(trace.btf, trace.symbols, space, len(trace.rings))
    return LiveTrace(reader, space, len(trace.rings))


@given(steps=st.lists(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 9)), max_size=40), max_size=12))
def test_each_event_is_counted_once_however_the_looks_fall(steps: list[list[tuple[int, int]]]) -> None:
    trace = TinyTrace(pages=8, cpus=2)
    following, now_ns, written, counted = live(trace), 1_000_000_000, 0, 0
    for step in steps:
        for cpu, pid in step:
            now_ns += MS
            ring = trace.rings[cpu]
            ring.write(wakeup_body(0, pid, cpu), delta=now_ns - ring.now_ns)
            written += 1
        rates = following.look()
        assert rates.unavailable is None
        assert not any(it.lost for it in rates.cpus)
        counted += rates.events
    assert counted == written


@pytest.mark.parametrize("later", [0, 1], ids=["on the same cpu", "on another cpu"])
@pytest.mark.parametrize("apart", [1, 200], ids=["in one page", "pages later"])
def test_a_task_that_executed_another_program_has_the_comm_of_now(later: int, apart: int) -> None:
    trace = TinyTrace(pages=8, cpus=2)
    following, now_ns = live(trace), 1_000_000_000
    for cpu, name in ((0, "sh"), *[(0, "")] * apart, (later, "make"), (1 - later, "")):
        now_ns += MS
        ring = trace.rings[cpu]
        ring.write(wakeup_body(0, 5 if name else 6, cpu, name or None), delta=now_ns - ring.now_ns)
    rates = following.look()
    assert following.block is not None
    assert following.block.comms == {5: "make", 6: "task-6"}
    assert {it.comm for it in rates.tasks} == {"make", "task-6"}
    now_ns += MS
    trace.rings[0].write(wakeup_body(0, 5, 0, "ls"), delta=now_ns - trace.rings[0].now_ns)
    following.look()
    assert following.block is not None
    assert following.block.comms == {5: "ls"}


def test_what_was_overwritten_between_two_looks_is_counted_as_lost() -> None:
    trace = TinyTrace(pages=3)
    following = live(trace)
    trace.rings[0].write(switch_body(0, 5))
    assert following.look().cpus[0].lost == 0
    for number in range(400):
        trace.rings[0].write(switch_body(number % 2 + 5, 6 - number % 2, 0))
    rates = following.look()
    assert rates.cpus[0].lost == trace.rings[0].overrun > 0
    assert rates.events == 401 - trace.rings[0].overrun
    assert {it.comm for it in rates.tasks} == {"task-5", "task-6"}


def test_a_task_has_its_name_when_the_first_event_of_it_has_none() -> None:
    trace = TinyTrace()
    following = live(trace)
    trace.rings[0].write(enqueue_body(0, 5))
    trace.rings[0].write(switch_body(0, 5))
    assert [it.comm for it in following.look().tasks] == ["task-5"]
