"""Captures of a kernel with a real scheduler, against drgn's own reading of the same memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
import trio
from drgn.helpers.linux.bpf import bpf_map_for_each
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.percpu import per_cpu

from ktstr_tui.capture.report.collect import collect
from ktstr_tui.guest.machine import MachineSpec
from ktstr_tui.guest.recorder import RecorderConfig, recorder_arguments
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.report import CaptureReport
from tests.guest.kernel_run import Run, Running
from tests.guest.waiting import BOOT_DEADLINE_S

pytestmark = pytest.mark.guest

ERROR_STALL = 1026
SHARED_DSQ = 7


@pytest.fixture
def machine_spec(machine_spec: MachineSpec) -> MachineSpec:
    """With the recorder on, as in every run."""
    mib = machine_spec.memory_bytes >> 20
    return replace(machine_spec, append=recorder_arguments(RecorderConfig(), machine_spec.topology.cpus, mib))


async def captured_ejection(run: Run) -> tuple[CaptureReport, dict[str, Any]]:
    """Let the scheduler be ejected under a watchpoint; the report, and what drgn saw at the stop."""
    view, gdb = run.view, run.machine.gdb
    sched = await run.loaded()
    watched = view.exit_kind_address(sched)
    await gdb.stop()
    await gdb.arm_watch(watched)
    await gdb.resume()
    with trio.fail_after(BOOT_DEADLINE_S):
        stop = await gdb.wait_stop()
    assert stop.watch_address == watched
    assert view.exit_kind(sched) == ERROR_STALL
    raw = await run.collect("error")
    seen = oracle(view)
    await gdb.disarm_watch(watched)
    await gdb.resume()
    return await trio.to_thread.run_sync(raw.render, view), seen


def oracle(view: KernelView) -> dict[str, Any]:
    """The waiting tasks, the queue and the maps as drgn reads them, while the guest stands."""
    prog = view.prog
    now, tasks = prog["jiffies"].value_(), {}
    for cpu in range(view.nr_cpus):
        head = per_cpu(prog["runqueues"], cpu).scx.runnable_list.address_of_()
        for task in list_for_each_entry("struct task_struct", head, "scx.runnable_node"):
            dsq = task.scx.dsq
            age_ms = (now - task.scx.runnable_at.value_()) * 1000 / view.hz
            tasks[task.pid.value_()] = (
                cpu,
                age_ms,
                dsq.id.value_() if dsq else None,
                task.comm.string_().decode(),
            )
    maps = {m.id.value_(): m.name.string_().decode() for m in bpf_map_for_each(prog)}
    return {"tasks": tasks, "maps": maps, "name": prog["scx_root"].ops.name.string_().decode()}


async def test_an_ejection_is_reported_whole(running: Running) -> None:
    async with running("demo:stall") as run:
        report, seen = await captured_ejection(run)
        assert not report.unavailable
        assert report.exit_kind == ERROR_STALL
        scheduler = report.scheduler
        assert scheduler is not None
        assert (scheduler.name, scheduler.exit_kind_name) == (seen["name"], "ERROR_STALL")
        assert scheduler.reason == "runnable task stall"
        assert scheduler.message
        assert scheduler.watchdog_timeout_ms == 3000
        check_tasks(report, seen["tasks"])
        check_queues(report)
        check_maps(report, seen["maps"])
        check_cpus(report)
        assert any("sched_ext" in line for line in report.dmesg_tail)
        assert {"dmesg_tail", "scheduler.exit_info"} <= report.read_late.keys()


def check_tasks(report: CaptureReport, seen: dict[int, tuple[int, float, int | None, str]]) -> None:
    """Every waiting task is there, the one that waited longest first."""
    waiting = [task for task in report.tasks if not task.on_cpu]
    assert {task.pid for task in report.tasks} == set(seen)
    ages = [task.age_ms for task in waiting]
    assert ages == sorted(ages, key=lambda age: -(age or 0))
    for task in report.tasks:
        assert (task.cpu, task.age_ms, task.dsq_id, task.comm) == seen[task.pid]
        assert task.cpus_allowed == "0-1" or task.nr_cpus_allowed == 1
        assert task.running_there
        assert task.on_cpu or (task.stack is not None and task.stack.end in ("user", "end of stack"))
    stalled = waiting[0]
    assert report.stalled is not None
    assert (report.stalled.pid, report.stalled.age_ms) == (stalled.pid, stalled.age_ms)
    assert stalled.dsq == report.stalled.dsq == hex(SHARED_DSQ)
    assert (stalled.sched_class, stalled.scx_state, stalled.policy) == ("ext", "ENABLED", "NORMAL")
    assert stalled.stack is not None
    assert (stalled.stack.frames[0].symbol or "").startswith("__schedule+")


def check_queues(report: CaptureReport) -> None:
    """The shared queue holds the tasks that say they are in it, in the order of their numbers."""
    by_label = {dsq.label: dsq for dsq in report.dsqs}
    assert {"0x7", "local cpu 0", "local cpu 1", "global node 0", "bypass cpu 0"} <= by_label.keys()
    shared = by_label["0x7"]
    assert shared.origin == "user"
    assert shared.nr == len(shared.pids)
    assert set(shared.pids) == {task.pid for task in report.tasks if task.dsq_id == SHARED_DSQ}
    numbers = {task.pid: task.dsq_seq for task in report.tasks}
    assert [numbers[pid] for pid in shared.pids] == sorted(numbers[pid] or 0 for pid in shared.pids)


def check_maps(report: CaptureReport, seen: dict[int, str]) -> None:
    """The scheduler's globals by name, its counters per CPU, its table of tasks with enums and arrays."""
    maps = {one.name: one for one in report.maps}
    assert {one.id: one.name for one in report.maps} == seen
    assert not [one.error for one in report.maps if one.error]
    data = cast("dict[str, Any]", maps["stall.bss"].entries[0].value)
    assert data["nr_enqueued"] >= data["nr_dispatched"] > 0
    assert data["stalled_at_ns"] > data["attached_at_ns"] > 0
    assert data["exit_message"] == ""
    constants = cast("dict[str, Any]", maps["stall.rodata"].entries[0].value)
    assert constants["slice_ns"] == 5_000_000
    counters = maps["counters"]
    assert [len(cast("list[int]", entry.value)) for entry in counters.entries] == [2] * 4
    assert sum(cast("list[int]", counters.entries[3].value)) > 0
    table = {entry.key: cast("dict[str, Any]", entry.value) for entry in maps["tasks"].entries}
    assert report.stalled is not None
    record = table[report.stalled.pid]
    assert record["comm"]
    assert record["phase"] == "PHASE_QUEUED (1)"
    assert len(record["cpu_history"]) == 4
    ops = cast("dict[str, Any]", maps["stall_ops"].entries[0].value)
    assert (ops["data"]["name"], ops["data"]["timeout_ms"]) == ("stall", 3000)


def check_cpus(report: CaptureReport) -> None:
    """The CPU that wrote the exit kind stands in the function that writes it."""
    ends = [vcpu.stack.end for vcpu in report.vcpus if vcpu.stack is not None]
    assert len(ends) == len(report.vcpus) == 2
    assert all(end in ("user", "end of stack") for end in ends)
    functions = [f.symbol or "" for vcpu in report.vcpus if vcpu.stack for f in vcpu.stack.frames]
    assert any(name.startswith(("scx_vexit+", "scx_exit+", "__scx_exit+")) for name in functions)
    for rq, vcpu in zip(report.runqueues, report.vcpus, strict=True):
        assert rq.curr == vcpu.curr
        assert rq.unavailable is None
        assert rq.nr_running is not None
        assert set(rq.runnable_pids) == {task.pid for task in report.tasks if task.cpu == rq.cpu}


async def test_a_section_that_fails_costs_the_report_only_itself(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running("demo:fifo") as run:
        await run.loaded()
        view = run.view

        def fail(*_arguments: object, **_options: object) -> None:
            raise MemoryReadError("the page is gone", 0)

        await run.machine.gdb.stop()
        monkeypatch.setattr(view.maps, "copy", fail)
        raw = await run.collect("key")
        few = collect(view, {}, tag="few", trigger="on-demand", max_tasks=1)
        await run.machine.gdb.resume()
        report = await trio.to_thread.run_sync(raw.render, view)
        assert report.unavailable == {"maps": "the page is gone"}
        assert report.scheduler is not None
        assert report.scheduler.name == "fifo"
        assert len(report.vcpus) == len(report.runqueues) == 2
        assert report.wall_time
        blind = await trio.to_thread.run_sync(few.render, view)
        assert [vcpu.unavailable for vcpu in blind.vcpus] == ["no registers were read for this CPU"] * 2
        assert len(blind.tasks) <= 1
        assert len(report.tasks) <= 1 or "tasks" in blind.truncated
