"""Rates of a running guest from its trace, against what its kernel itself has counted at the same two instants."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from drgn import Object
from drgn.helpers.linux.bpf import bpf_prog_for_each
from drgn.helpers.linux.percpu import per_cpu_ptr
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import task_cpu, task_state_to_char

from ktstr_tui.guest.determinism import Determinism
from ktstr_tui.guest.machine import MachineSpec
from ktstr_tui.guest.recorder import BPF_STATS_ARGUMENT, RecorderConfig, recorder_arguments
from ktstr_tui.history.live import LiveTrace
from ktstr_tui.kernel.scheduler_values import SchedulerValuesReader
from ktstr_tui.kernel.task_list import TaskListReader
from ktstr_tui.kernel.trace import TraceReader
from ktstr_tui.model.scheduler_values import SchedulerValuesRead
from tests.guest.kernel_run import Run, Running

LOOKS, PAUSE_S = 8, 0.25


@pytest.fixture
def machine_spec(machine_spec: MachineSpec) -> MachineSpec:
    """With the recorder on; time is instructions, so that no vCPU stands still in the middle of a switch."""
    append = f"{recorder_arguments(RecorderConfig(buffer_kib=1024), 2, 512)} {BPF_STATS_ARGUMENT}"
    return replace(machine_spec, append=append, accelerator="tcg", determinism=Determinism(42))


def switches(run: Run) -> list[int]:
    """``nr_switches`` of each CPU; the guest stands still."""
    view, space = run.view, run.view.fresh_space()
    return [view.cpus.rq.read(space, view.cpus.rq_address(cpu))["nr_switches"] for cpu in range(view.nr_cpus)]


def preemptions(run: Run) -> dict[int, int]:
    """``nivcsw`` of each task, as drgn reads it."""
    return {int(task.pid): int(task.nivcsw) for task in for_each_task(run.view.prog)}


def run_ms(run: Run) -> dict[int, float]:
    """``sum_exec_runtime`` of each task that is on no CPU, as drgn reads it: of the others it is a tick or more old."""
    tasks = for_each_task(run.view.prog)
    return {int(task.pid): int(task.se.sum_exec_runtime) / 1e6 for task in tasks if not int(task.on_cpu)}


def as_drgn_reads(task: Object) -> tuple[str, int, str, int, bool, int]:
    """What the list of tasks says of a task, by drgn's own helpers."""
    comm = task.comm.string_().decode()
    return (
        comm,
        int(task.tgid),
        task_state_to_char(task),
        int(task.static_prio) - 120,
        bool(task.on_cpu),
        int(task_cpu(task)),
    )


def programs_as_drgn_reads(run: Run) -> dict[int, tuple[str, int, int, int]]:
    """Name and counters of each BPF program, by drgn's own helpers; the guest stands still."""
    found = {}
    for program in bpf_prog_for_each(run.view.prog):
        cpus = [per_cpu_ptr(program.stats, cpu) for cpu in range(run.view.nr_cpus)]
        sums = (
            sum(int(getattr(it, name).v.a.a.counter) for it in cpus) for name in ("cnt", "nsecs", "misses")
        )
        found[int(program.aux.id)] = (program.aux.name.string_().decode(), *sums)
    return found


async def test_shares_and_switches_are_those_that_the_kernel_counts(running: Running) -> None:
    async with running("demo:fifo") as run:
        await run.loaded()
        assert isinstance(run.view.trace, TraceReader)
        following = LiveTrace(run.view.trace, run.view.fresh_space(), run.view.nr_cpus)
        await run.machine.qmp.execute("stop")
        following.look()
        before, ran_before, lost_before = switches(run), run_ms(run), preemptions(run)
        parts = []
        for look in range(LOOKS):
            hz, start = run.view.hz, run.view.jiffies()
            await run.machine.qmp.execute("cont")
            await run.until(lambda start=start, hz=hz: run.view.jiffies() >= start + hz * PAUSE_S)
            if look == LOOKS - 1:
                await run.machine.qmp.execute("stop")
            parts.append(following.look())
        after, ran_after, lost_after = switches(run), run_ms(run), preemptions(run)
        listed = TaskListReader(run.view).look()
        reader, space = SchedulerValuesReader(run.view), run.view.fresh_space()
        scheduler = reader.look()
        there = {it.name: int.from_bytes(space.read(it.address, it.size), "little") for it in reader.places()}
        programs = programs_as_drgn_reads(run)
        theirs = {int(task.pid): as_drgn_reads(task) for task in for_each_task(run.view.prog)}
    check_programs_and_variables(scheduler, programs)
    assert scheduler is not None
    numbers = {it.name: it.value for it in scheduler.values.variables if type(it.value) is int}
    assert numbers == {name: there[name] for name in numbers}
    assert numbers["attached_at_ns"] > 0
    assert listed is not None
    assert {it.pid: (it.comm, it.tgid, it.state, it.nice, it.on_cpu, it.cpu) for it in listed.tasks} == theirs
    assert any(it.sched_class == "ext" and it.is_waiting for it in listed.tasks)
    assert all(
        it.dsq or it.held or it.on_cpu for it in listed.tasks if it.is_waiting and it.sched_class == "ext"
    )
    assert not any(cpu.lost or cpu.unreadable for part in parts for cpu in part.cpus)
    counted = [sum(part.cpus[cpu].switches for part in parts) for cpu in range(2)]
    # The machine may stop within a switch, counted and not yet written, or the other way round.
    for seen, early, late in zip(counted, before, after, strict=True):
        assert abs(seen - (late - early)) <= 1
        assert seen > 20
    shares, times, lost = defaultdict[int, float](float), Counter[int](), Counter[int]()
    for part in parts:
        for task in part.tasks:
            shares[task.pid] += task.run_share * part.span_ms
            times[task.pid] += task.switches
            lost[task.pid] += task.preempted
    for pid in lost_before.keys() & lost_after.keys():
        # As for the CPUs; two of them may stop within a switch.
        assert abs(lost[pid] - (lost_after[pid] - lost_before[pid])) <= 1
    assert lost.total() > 20
    both = {pid: ran_after[pid] - ran_before[pid] for pid in ran_before.keys() & ran_after.keys()}
    # Those that ran for long; which of them are on no CPU at both stops is chance.
    busy = {pid: ms for pid, ms in both.items() if ms > 20}
    assert both
    for pid, ms in busy.items():
        # A switch takes time, which the kernel gives to one task and its trace to the other.
        assert shares[pid] == pytest.approx(ms, rel=0.01, abs=0.5 + 0.1 * times[pid])
    assert sum(part.waits.count for part in parts) > 10


def check_programs_and_variables(
    read: SchedulerValuesRead | None, theirs: dict[int, tuple[str, int, int, int]]
) -> None:
    """Programs are those that drgn finds; what the scheduler counts of itself is what the kernel counts of its runs."""
    assert read is not None
    values = read.values
    assert (values.unreadable, values.counted) == (None, True)
    assert {it.id: (it.name, it.runs, it.run_ns, it.misses) for it in values.programs} == theirs
    runs = {it.name: it.runs or 0 for it in values.programs}
    known = {it.name: it for it in values.variables}
    # The machine may have stopped within a run: it is counted when it ends.
    enqueued = known["nr_enqueued"].value
    assert type(enqueued) is int
    assert 0 <= enqueued - runs["fifo_enqueue"] <= 2
    assert enqueued > 20
    assert (known["slice_ns"].section, known["slice_ns"].value) == (".rodata", 5_000_000)
    assert (known["nr_enqueued"].section, known["exit_kind"].value) == (".bss", "SCX_EXIT_NONE (0)")
