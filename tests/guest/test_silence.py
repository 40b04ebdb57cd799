"""Why a task is silent, for every kind of task of a real kernel, against drgn's own reading of a standing guest."""

from __future__ import annotations

import trio
from drgn import Object, Program
from drgn.helpers.linux.percpu import per_cpu
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import task_cpu, task_state_to_char

from ktstr_tui.guest.machine import Machine, MachineSpec
from ktstr_tui.guest.scenario import parse_scenario
from ktstr_tui.health.silence import Explainer
from ktstr_tui.kernel.memory import GuestRam
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.beats import StallCause
from ktstr_tui.wire.frames import FrameAssembler
from ktstr_tui.wire.messages import MsgType, WorkerReport
from tests.guest.booting import open_booted, spec_of
from tests.guest.waiting import wait_said

LOOKS = 6
SILENT_MS = 1000.0
NO_SUCH_PID = 4_000_000
SCENARIO = """
name = "kinds"
[[workers]]
kind = "spin"
count = 3
[[workers]]
kind = "sleep"
[[workers]]
kind = "pipe"
[[steps]]
name = "work"
duration_ms = 600000
scheduler = "{scheduler}"
until = "duration"
"""


class Port:
    """Reads the guest's port, so that it never waits, and remembers the workers."""

    def __init__(self) -> None:
        self.workers: dict[int, str] = {}
        self.named = trio.Event()

    async def read(self, machine: Machine) -> None:
        assembler = FrameAssembler()
        while data := await machine.bulk.receive_some(65536):
            for frame in assembler.feed(bytes(data)):
                if frame.msg_type == MsgType.WorkerReport:
                    report = WorkerReport.unpack(frame.payload)
                    self.workers = {worker.pid: worker.comm for worker in report.workers}
                    self.named.set()


def check(cause: StallCause, prog: Program, pid: int, tasks: dict[int, Object]) -> str:
    """Compare a cause with what drgn reads; returns its kind."""
    task = tasks[pid]
    state = task_state_to_char(task)
    assert cause.cpu == task_cpu(task)
    assert cause.state == state
    # Not task_on_cpu(): in the middle of a switch two tasks are on a CPU, and one is current.
    curr = {cpu: per_cpu(prog["runqueues"], cpu).curr.pid.value_() for cpu in range(2)}
    if pid in curr.values():
        assert cause.kind == "running"
    elif state == "R" or task.on_rq:
        assert cause.kind == "runnable"
        assert {it.cpu: it.pid for it in cause.running_there} == curr
        queued_ns = task.sched_info.last_queued.value_()
        clock_ns = per_cpu(prog["runqueues"], task_cpu(task)).clock.value_()
        # In the middle of a switch a task is runnable and was not queued yet. One with another state was preempted
        # on its way to sleep.
        assert (cause.waiting_ms is not None) == (cause.sched_class == "ext" or 0 < queued_ns <= clock_ns)
        assert 0 <= (cause.waiting_ms or 0) < 5000
    else:
        assert cause.kind == "blocked"
        # A task that is still on a CPU has no saved stack yet, and none may be made up.
        assert (cause.stack is None) == (cause.wchan is None) == bool(task.on_cpu)
    return cause.kind


async def looks_at(spec: MachineSpec, scheduler: str) -> set[tuple[str, str]]:
    """Explain all workers of some stops, and check each; the kinds of worker with the kinds of cause."""
    scenario = parse_scenario(SCENARIO.format(scheduler=scheduler), "kinds.toml")
    found: set[tuple[str, str]] = set()
    async with open_booted(spec_of(spec, scenario)) as machine, trio.open_nursery() as nursery:
        port = Port()
        nursery.start_soon(port.read, machine)
        await wait_said(machine, port.named)
        ram = GuestRam.from_fds(machine.ram_parts())
        view = KernelView.open(ram)
        explainer = Explainer(view)
        for _ in range(LOOKS):
            await trio.sleep(0.15)
            await machine.gdb.stop()
            found |= look(explainer, view, port.workers)
            await machine.gdb.resume()
        nursery.cancel_scope.cancel()
    ram.close()
    return found


def look(explainer: Explainer, view: KernelView, workers: dict[int, str]) -> set[tuple[str, str]]:
    """All workers of a standing guest, PID 1, and a pid that nobody has."""
    tasks = {task.pid.value_(): task for task in for_each_task(view.prog)}
    found = set()
    for pid, comm in workers.items():
        cause = explainer.explain(pid, SILENT_MS, dict.fromkeys(range(view.nr_cpus), SILENT_MS))
        kind = check(cause, view.prog, pid, tasks)
        found.add((comm.partition("-")[0], kind))
        if kind == "running":
            unlucky = explainer.explain(pid, SILENT_MS, {cause.cpu or 0: 20.0})
            assert (unlucky.kind, unlucky.vcpu_ms) == ("no-host-cpu", 20.0)
        if cause.wchan is not None and comm.startswith("sleep"):
            assert cause.wchan in ("hrtimer_nanosleep", "common_nsleep")
        if cause.wchan is not None and comm.startswith("pipe"):
            assert "pipe_read" in cause.wchan
    assert explainer.explain(NO_SUCH_PID, SILENT_MS, {}).kind == "exited"
    check(explainer.explain(1, SILENT_MS, {}), view.prog, 1, tasks)
    return found


async def test_causes_under_the_kernels_own_scheduler(machine_spec: MachineSpec) -> None:
    found = await looks_at(machine_spec, "none")
    assert ("sleep", "blocked") in found
    assert {kind for comm, kind in found if comm == "spin"} >= {"running", "runnable"}


async def test_causes_under_a_scheduler_of_ours(machine_spec: MachineSpec) -> None:
    found = await looks_at(machine_spec, "demo:fifo")
    assert {kind for comm, kind in found if comm == "spin"} >= {"running", "runnable"}
