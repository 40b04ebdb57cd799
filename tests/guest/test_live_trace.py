"""Rates of a running guest from its trace, against what its kernel itself has counted at the same two instants."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from drgn import Object
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import task_cpu, task_state_to_char

from ktstr_tui.guest.determinism import Determinism
from ktstr_tui.guest.machine import MachineSpec
from ktstr_tui.guest.recorder import RecorderConfig, recorder_arguments
from ktstr_tui.history.live import LiveTrace
from ktstr_tui.kernel.task_list import TaskListReader
from ktstr_tui.kernel.trace import TraceReader
from tests.guest.kernel_run import Run, Running

LOOKS, PAUSE_S = 8, 0.25


@pytest.fixture
def machine_spec(machine_spec: MachineSpec) -> MachineSpec:
    """With the recorder on; time is instructions, so that no vCPU stands still in the middle of a switch."""
    append = recorder_arguments(RecorderConfig(buffer_kib=1024), 2, 512)
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
        theirs = {int(task.pid): as_drgn_reads(task) for task in for_each_task(run.view.prog)}
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
