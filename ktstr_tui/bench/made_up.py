"""Events of a guest that does not exist, as its backend would emit them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from ktstr_tui._native import ffi, lib
from ktstr_tui.history.blocks import block_of
from ktstr_tui.model.events import Sampled, TasksMeasured, TraceRead
from ktstr_tui.model.rates import BOUNDS_MS, CpuRate, TaskRate, TaskRates, Waits
from ktstr_tui.model.sample import CpuSample, DsqSample, RunnableTask, Sample, SchedulerSample
from ktstr_tui.model.tasks import ListedTask, TasksListed
from ktstr_tui.model.trace_block import TraceBlock

FIRST_PID = 1000
LISTED_RATES = 256
_SECOND_NS = 1_000_000_000


def comm(task: int) -> str:
    """Return the comm of a task, by its number from 0."""
    return f"worker-{task}"


def sample_event(cpus: int, number: int) -> Sampled:
    """Make a look at all CPUs; what it holds differs from number to number."""
    found = tuple(
        CpuSample(
            cpu=cpu, curr_pid=FIRST_PID + cpu, curr_comm=comm(cpu), curr_class="ext", idle=(cpu + number) % 7 == 0,
            nr_running=(cpu + number) % 9, scx_nr_running=(cpu + number) % 9, local_dsq_nr=number % 3,
            nr_switches=number * 100 + cpu, rq_clock_ns=number * 100_000_000,
        )
        for cpu in range(cpus)
    )  # fmt: skip
    oldest = RunnableTask(pid=FIRST_PID, comm=comm(0), age_ms=float(number % 90), cpu=0, dsq="0x7")
    scheduler = SchedulerSample(
        name="bench", state="enabled", enable_seq=1, exit_kind=0, watchdog_timeout_ms=3000.0, oldest_runnable=oldest,
        nr_runnable=number % 100, dsqs=(DsqSample(id=7, label="0x7", nr=number % 9, seq=number),),
    )  # fmt: skip
    return Sampled(sample=Sample(cpus=found, scheduler=scheduler, guest_ns=number * 100_000_000))


def rates_event(cpus: int, tasks: int, second: int) -> TasksMeasured:
    """Make the rates of a second: as many tasks as such an event lists."""
    waits = Waits(count=9, p50_ms=0.1, p99_ms=1.5, max_ms=4.0)
    rates = tuple(
        TaskRate(
            pid=FIRST_PID + task, comm=comm(task), cpu=task % cpus, doing="sleeps", prio=120,
            run_share=((task + second) % 100) / 100, switches=200 + (task + second) % 50, wakeups=90, waits=waits,
        )
        for task in range(min(tasks, LISTED_RATES))
    )  # fmt: skip
    return TasksMeasured(
        rates=TaskRates(
            span_ms=1000.0, events=100_000, tasks=rates, more_tasks=max(0, tasks - LISTED_RATES),
            cpus=tuple(CpuRate(cpu=cpu, busy_share=0.5, switches=900 + second % 9) for cpu in range(cpus)),
            waits=waits, buckets=(second,) * (len(BOUNDS_MS) + 1),
        )
    )  # fmt: skip


def tasks_event(cpus: int, tasks: int, second: int) -> TasksListed:
    """Make the list of tasks: all of them at first, then the tenth that has changed."""
    every = 1 if second == 0 else 10
    found = tuple(
        ListedTask(
            pid=FIRST_PID + task, comm=comm(task), tgid=FIRST_PID + task, state="R" if task % 3 else "S",
            sched_class="ext", policy="EXT", cpu=task % cpus, allowed=f"0-{cpus - 1}", is_waiting=bool(task % 3),
            dsq="0x7" if task % 3 else None, age_ms=float((task + second) % 40) if task % 3 else None,
        )
        for task in range(second % every, tasks, every)
    )  # fmt: skip
    return TasksListed(tasks=found, fresh=second == 0)


def trace_event(cpus: int, tasks: int, switches: int, second: int) -> TraceRead:
    """Make the trace of a second: so many switches, spread evenly."""
    begin_ns, packed = second * _SECOND_NS, _packed(cpus, tasks, switches)
    end_ns = begin_ns + _SECOND_NS
    block = TraceBlock(
        begin_ns=begin_ns, end_ns=end_ns, now_ns=end_ns, mono_ns=end_ns, events=packed.events, data=packed.data,
        comms={} if second else {FIRST_PID + task: comm(task) for task in range(tasks)},
    )  # fmt: skip
    return TraceRead(block=block)


@cache
def _packed(cpus: int, tasks: int, switches: int) -> TraceBlock:
    # Times in a block are counted from its beginning, so that one block does for every second.
    events = ffi.new("struct ktt_event[]", switches)
    for at, (cpu, pid, prev_pid) in enumerate(_switches(cpus, tasks, switches)):
        event = events[at]
        event.time_ns, event.cpu, event.kind = at * _SECOND_NS // switches, cpu, lib.KTT_SWITCH
        event.values[0], event.values[1], event.values[5] = pid, prev_pid, 120
    data = bytes(ffi.buffer(events)[:])
    return block_of(data, begin_ns=0, end_ns=_SECOND_NS, now_ns=_SECOND_NS, mono_ns=0, comms={}, lost={})


def _switches(cpus: int, tasks: int, count: int) -> Iterator[tuple[int, int, int]]:
    """Yield CPU, who runs from now on and who ran; every other time a CPU idles."""
    running = [0] * cpus
    for at in range(count):
        cpu = at % cpus
        pid = 0 if running[cpu] else FIRST_PID + at * 7 % tasks
        yield cpu, pid, running[cpu]
        running[cpu] = pid
