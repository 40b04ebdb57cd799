"""Samples and captures of a kernel with a real scheduler, against drgn's own reading of the same memory.

The guest program runs a scenario; its port is read and thrown away here, so that it never has to wait.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from drgn import cast as drgn_cast
from drgn.helpers.linux.bpf import bpf_map_for_each
from drgn.helpers.linux.list import list_for_each_entry
from drgn.helpers.linux.percpu import per_cpu, per_cpu_ptr
from drgn.helpers.linux.pid import for_each_task

from ktstr_tui.capture import report as capture_report
from ktstr_tui.capture.report.collect import Capture, collect
from ktstr_tui.guest import libbpf
from ktstr_tui.guest.initramfs import build_initramfs, guest_artifacts
from ktstr_tui.guest.machine import Machine, MachineSpec, open_machine
from ktstr_tui.guest.payload import resolve_scheduler
from ktstr_tui.guest.scenario import encode_plan, parse_scenario
from ktstr_tui.kernel.memory import GuestRam, MemoryReadError
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.report import CaptureReport
from tests.guest.conftest import BOOT_DEADLINE_S

pytestmark = pytest.mark.guest

LOAD_DEADLINE_S = 60.0
ERROR_STALL = 1026
SHARED_DSQ = 7
STEADY = """
name = "steady"
description = "a scheduler under load"
[[workers]]
kind = "spin"
count = 3
[[workers]]
kind = "bursty"
count = 3
[[workers]]
kind = "pipe"
count = 1
[[steps]]
name = "work"
duration_ms = 600000
scheduler = "{scheduler}"
until = "duration"
"""

Wait = Callable[[], object]


class Run:
    """A guest that runs a scenario, and the typed view of its kernel."""

    def __init__(self, machine: Machine, view: KernelView, said: bytearray) -> None:
        self.machine, self.view, self.said = machine, view, said

    async def until(self, condition: Wait) -> None:
        """Wait for something to come true in the guest."""
        with trio.move_on_after(LOAD_DEADLINE_S) as scope:
            while not condition():  # noqa: ASYNC110 - guest memory rings no bell
                await trio.sleep(0.01)
        assert not scope.cancelled_caught, self.said[-4000:].decode("utf-8", "replace")

    async def loaded(self) -> int:
        """Wait for the scheduler to be enabled; its address."""
        await self.until(lambda: self.view.sample().scheduler.state == "enabled")
        root = self.view.scx_root()
        assert root is not None
        return root

    async def collect(self, trigger: str) -> Capture:
        """Copy the state of the standing guest, with registers from the stub."""
        registers = {}
        for cpu in range(self.view.nr_cpus):
            found = await self.machine.gdb.registers(cpu)
            names = ("rip", "rsp", "rbp", "rax", "rdx", "rdi", "r10", "r13", "cr3")
            registers[cpu] = {name: int(getattr(found, name)) for name in names}
        return collect(self.view, registers, tag=f"{trigger}-001", trigger=trigger)


Running = Callable[[str], Any]


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a capture leaves out for want of time depends on the load of the host, and is for the unit tests."""
    monkeypatch.setattr(capture_report, "MAX_MAPS_S", 60.0)


@pytest.fixture
def running(machine_spec: MachineSpec) -> Running:
    """Opens a guest that runs a demo scheduler under load."""

    @asynccontextmanager
    async def run(scheduler: str) -> AsyncIterator[Run]:
        artifacts = guest_artifacts()
        scenario = parse_scenario(STEADY.format(scheduler=scheduler), "steady.toml")
        payloads = {name: resolve_scheduler(name, artifacts) for name in sorted(scenario.schedulers())}
        initrd = build_initramfs(artifacts.agent, encode_plan(scenario, payloads), payloads.values())
        spec = replace(machine_spec, initrd=initrd)
        async with open_machine(spec) as machine, trio.open_nursery() as nursery:
            started, said = trio.Event(), bytearray()
            nursery.start_soon(_drain, machine, started, said)
            with trio.fail_after(BOOT_DEADLINE_S):
                await started.wait()
            ram = GuestRam.from_fds(machine.ram_parts())
            yield Run(machine, KernelView.open(ram), said)
            nursery.cancel_scope.cancel()

    return run


async def _drain(machine: Machine, started: trio.Event, said: bytearray) -> None:
    while data := await machine.bulk.receive_some(65536):
        started.set()
        said += data


def check_sample(view: KernelView) -> None:
    """A sample of the standing guest against drgn, member by member."""
    sample, prog = view.sample(), view.prog
    assert (sample.retries, sample.torn) == (0, 0)
    assert sample.jiffies == prog["jiffies"].value_()
    waiting = 0
    for cpu in sample.cpus:
        rq = per_cpu(prog["runqueues"], cpu.cpu)
        assert cpu.curr_pid == rq.curr.pid.value_()
        assert cpu.curr_comm == rq.curr.comm.string_().decode()
        assert cpu.curr_class is not None
        assert rq.curr.sched_class.value_() == prog.symbol(f"{cpu.curr_class}_sched_class").address
        assert cpu.idle == (rq.curr == rq.idle)
        assert cpu.nr_running == rq.nr_running.value_()
        assert cpu.scx_nr_running == rq.scx.nr_running.value_()
        assert cpu.scx_flags == rq.scx.flags.value_()
        assert cpu.local_dsq_nr == rq.scx.local_dsq.nr.value_()
        assert cpu.rq_clock_ns == rq.clock.value_()
        head = rq.scx.runnable_list.address_of_()
        waiting += len(list(list_for_each_entry("struct task_struct", head, "scx.runnable_node")))
    sched = prog["scx_root"]
    assert sample.scheduler.name == sched.ops.name.string_().decode()
    assert sample.scheduler.exit_kind == sched.exit_kind.counter.value_()
    assert sample.scheduler.nr_runnable == waiting
    assert sample.scheduler.watchdog_timeout_ms == sched.ops.timeout_ms.value_()
    user = {dsq.id: dsq.nr for dsq in sample.scheduler.dsqs if not dsq.id >> 63}
    assert set(user) == {SHARED_DSQ}
    counters = sample.scheduler.event_counters
    assert counters is not None
    stats = [per_cpu_stats(view, cpu) for cpu in range(view.nr_cpus)]
    assert counters == {name: sum(one[name] for one in stats) for name in stats[0]}


def per_cpu_stats(view: KernelView, cpu: int) -> dict[str, int]:
    """The event counters of one CPU as drgn reads them."""
    found = per_cpu_ptr(view.prog["scx_root"].pcpu, cpu).event_stats
    return {
        member.name: getattr(found, member.name).value_() for member in found.type_.members if member.name
    }


async def test_samples_of_a_standing_guest_equal_drgn(running: Running) -> None:
    async with running("demo:fifo") as run:
        await run.loaded()
        for _ in range(5):
            await run.machine.gdb.stop()
            check_sample(run.view)
            await run.machine.gdb.resume()
            await trio.sleep(0.05)


async def test_samples_of_a_running_guest_are_never_nonsense(running: Running) -> None:
    async with running("demo:fifo") as run:
        await run.loaded()
        clocks = [0, 0]
        whole = 0
        for _ in range(500):
            sample = run.view.sample()
            for cpu in sample.cpus:
                if cpu.unreadable is not None:
                    assert cpu.unreadable.startswith("torn")
                    continue
                assert cpu.curr_comm is not None
                assert cpu.curr_comm.isprintable()
                assert cpu.curr_class in ("ext", "fair", "rt", "dl", "stop", "idle")
                assert cpu.idle == (cpu.curr_class == "idle")
                assert cpu.rq_clock_ns is not None
                assert cpu.rq_clock_ns >= clocks[cpu.cpu]
                clocks[cpu.cpu] = cpu.rq_clock_ns
                whole += 1
            scheduler = sample.scheduler
            assert scheduler.name == "stall" or scheduler.name == "fifo" or scheduler.unreadable is not None
            if scheduler.oldest_runnable is not None:
                assert 0 <= scheduler.oldest_runnable.age_ms < 60_000
                assert scheduler.oldest_runnable.comm.isprintable()
            await trio.sleep(0.002)
        assert whole > 900
        statistics = run.view.statistics()
        assert statistics.samples >= 500
        assert statistics.torn <= statistics.samples // 10


async def captured_ejection(run: Run) -> tuple[CaptureReport, dict[str, Any]]:
    """Let the scheduler be ejected under a watchpoint; the report, and what drgn saw at the stop."""
    view, gdb = run.view, run.machine.gdb
    sched = await run.loaded()
    watched = view.exit_kind_address(sched)
    await gdb.stop()
    await gdb.insert_watch(watched)
    await gdb.resume()
    with trio.fail_after(BOOT_DEADLINE_S):
        stop = await gdb.wait_stop()
    assert stop.watch_address == watched
    assert view.exit_kind(sched) == ERROR_STALL
    raw = await run.collect("error")
    seen = oracle(view)
    await gdb.remove_watch(watched)
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


async def test_a_stop_inside_the_schedulers_own_code_is_unwound_through_it(running: Running) -> None:
    """A watch on a global of the scheduler stops the CPU in JIT-compiled code, which has no unwind tables."""
    async with running("demo:fifo") as run:
        await run.loaded()
        view, gdb = run.view, run.machine.gdb
        bss = next(m for m in bpf_map_for_each(view.prog) if m.name.string_() == b"fifo.bss")
        array = drgn_cast("struct bpf_array *", bss)
        await gdb.stop()
        watched = array.value.address_of_().value_() + enqueued_offset(view)
        await gdb.insert_watch(watched)
        await gdb.resume()
        with trio.fail_after(BOOT_DEADLINE_S):
            stop = await gdb.wait_stop()
        raw = await run.collect("watch")
        await gdb.remove_watch(watched)
        await gdb.resume()
        report = await trio.to_thread.run_sync(raw.render, view)
        stack = report.vcpus[stop.vcpu].stack
        assert stack is not None
        names = [frame.symbol or "" for frame in stack.frames]
        assert names[0].startswith("bpf_prog_")
        assert "fifo_" in names[0]
        guesses = [frame.guess for frame in stack.frames]
        assert guesses[0] is False
        assert any(guesses)
        assert not guesses[-1]
        assert any("enqueue_task_scx+" in name for name in names)
        assert stack.end in ("user", "end of stack")


@pytest.fixture(scope="session")
def maps_object(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scheduler with one map of each kind, compiled as the demos are."""
    here = Path(__file__).resolve().parent
    out = tmp_path_factory.mktemp("maps") / "maps.bpf.o"
    clang = shutil.which("clang") or shutil.which("clang-14")
    assert clang is not None, "no clang: apt install clang"
    flags = ["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-D__TARGET_ARCH_x86"]
    include = [f"-I{libbpf.find(print) / 'include'}", f"-I{here.parents[1] / 'native/schedulers'}"]
    source = here / "probe/maps.bpf.c"
    subprocess.run([clang, *flags, *include, "-c", str(source), "-o", str(out)], check=True)
    return out


ROW = {
    "color": "RED (1)",
    "bytes": [1, 2, 3, 4],
    "at": {"x": -1, "y": 7},
    "on": True,
    "name": "first",
}


async def test_every_kind_of_map_is_rendered(running: Running, maps_object: Path) -> None:
    async with running(str(maps_object)) as run:
        sched = await run.loaded()
        view = run.view
        assert view.read_scheduler_name(sched) == "maps"
        await run.until(lambda: storage_entries(view))
        await run.machine.gdb.stop()
        raw = await run.collect("key")
        pids = {task.pid.value_() for task in for_each_task(view.prog)}
        await run.machine.gdb.resume()
        report = await trio.to_thread.run_sync(raw.render, view)
        assert "0x1234567890" in {dsq.label for dsq in report.dsqs}
        maps = {one.name: one for one in report.maps}
        values = {
            name: {e.key: e.value for e in one.entries} for name, one in maps.items() if name != "maps.rodata"
        }
        assert values["rows"][1] == ROW
        assert cast("dict[str, Any]", values["rows"][0])["name"] == ""
        assert values["table"] == {0xFEDCBA9876543210: ROW}
        assert values["recent"] == {1: 42}
        assert sorted(cast("list[int]", values["shares"][1])) == [0, 42]
        assert sorted(cast("list[int]", values["recent_shares"][1])) == [0, 11]
        assert len(values["many"]) == 1024
        assert maps["many"].truncated
        assert all(value == key + 1 for key, value in values["many"].items())
        assert maps["ring"].error == "maps of type RINGBUF are not rendered"
        check_task_storage(values["tasks"], pids)
        data = cast("dict[str, Any]", values["maps.data"][0])
        assert (data["globals_work"], data["last"]["color"], data["last"]["name"]) == (
            -1,
            "GREEN (2)",
            "last",
        )


def storage_entries(view: KernelView) -> int:
    """How many tasks the scheduler has something stored of, at this moment."""
    raws, _ = view.maps.copy(view.fresh_space())
    return sum(len(raw.entries) for raw in raws if raw.type_name == "TASK_STORAGE")


def check_task_storage(stored: dict[Any, Any], pids: set[int]) -> None:
    """Every entry belongs to a task of that pid, which the scheduler wrote into it."""
    assert stored
    assert stored.keys() <= pids
    for pid, value in stored.items():
        assert value["color"] == "GREEN (2)"
        assert value["at"]["x"] == pid


def enqueued_offset(view: KernelView) -> int:
    """Where ``nr_enqueued`` is in the scheduler's .bss, told by the map's own BTF."""
    raws, _ = view.maps.copy(view.fresh_space())
    raw = next(one for one in raws if one.row["name"].startswith(b"fifo.bss"))
    rendered = view.maps.render(raw)
    assert "nr_enqueued" in cast("dict[str, Any]", rendered.entries[0].value)
    btf = view.maps.btf_of(raw)
    assert btf is not None
    section = raw.row["value_type"]
    rows = btf.words(section, 3 * btf.record(section).vlen)
    return next(rows[k + 1] for k in range(0, len(rows), 3) if btf.record(rows[k]).name == "nr_enqueued")


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
