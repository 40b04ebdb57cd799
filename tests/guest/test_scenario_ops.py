"""Every operation of a scenario in a real kernel, proved by what that kernel's own memory says.

A capture asked for by the guest is the gate: the guest waits for its answer, and the test looks before it gives it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import drgn
import pytest
import trio
from drgn.helpers.linux.cpumask import for_each_cpu, for_each_online_cpu
from drgn.helpers.linux.pid import find_task

from ktstr_tui.capture.bridge import SnapshotBridge
from ktstr_tui.guest.initramfs import build_initramfs, guest_artifacts
from ktstr_tui.guest.machine import MachineSpec, open_machine
from ktstr_tui.guest.payload import resolve_scheduler
from ktstr_tui.guest.scenario import Scenario, encode_plan, load_scenario, parse_scenario
from ktstr_tui.kernel.sampler import SampleReader
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.stimulus import STIMULUS_KINDS
from ktstr_tui.ops.guest_ops import GuestKernelOps
from ktstr_tui.port import actions as act
from ktstr_tui.port.outbox import Outbox
from ktstr_tui.port.port import GuestPort
from ktstr_tui.wire.messages import MsgType, SnapshotKind, SnapshotReply, SnapshotStatus, Stimulus
from ktstr_tui.wire.stimulus_payloads import BEFORE_STEPS, StimulusApplied
from tests.guest.operating import Operating, operating
from tests.guest.runs import call, private_environment
from tests.guest.waiting import BOOT_DEADLINE_S, wait_said

pytestmark = pytest.mark.guest

SCENARIO = """
name = "verbs"

[[cgroups]]
name = "batch"
cpus = [1]
weight = 50
max_us = 20000

[[steps]]
name = "stalled"
duration_ms = 600000
until = "ejected"
scheduler = "demo:stall"
[[steps.workers]]
kind = "spin"

@ set-weight cgroup=batch weight=60 at_ms=2000

[[steps]]
name = "cgroups"
duration_ms = 600000
until = "ejected"
scheduler = "demo:fifo"
[[steps.workers]]
kind = "spin"
cgroup = "batch"
[[steps.workers]]
kind = "sleep"

@ capture tag=placed
@ add-cgroup cgroup=other cpus=[0]
@ set-weight cgroup=batch weight=200
@ set-cpu-max cgroup=batch max_us=50000 period_us=200000
@ set-cpuset cgroup=batch cpus=[0]
@ move-workers cgroup=other workers=sleep
@ capture tag=changed
@ freeze-cgroup cgroup=batch
@ capture tag=frozen
@ thaw-cgroup cgroup=batch
@ set-cpu-max cgroup=batch
@ set-cpuset cgroup=batch
@ set-affinity workers=spin-0 cpus=[1]
@ move-workers cgroup=/
@ remove-cgroup cgroup=other
@ capture tag=thawed
@ write-kernel symbol=panic_timeout value=41
@ write-kernel symbol=linux_proc_banner value=1 cold=true
@ watch expression=panic_timeout
@ capture tag=written
@ detach-scheduler
@ capture tag=detached
@ attach-scheduler
@ capture tag=attached
@ restart-scheduler
@ capture tag=restarted
@ replace-scheduler scheduler=demo:starve
@ capture tag=replaced
@ attach-scheduler scheduler=demo:fifo
@ detach-scheduler
@ offline-cpu cpu=1
@ capture tag=offline
@ online-cpu cpu=1
@ add-cgroup cgroup=full
@ move-workers cgroup=full workers=sleep-0
@ remove-cgroup cgroup=full
@ attach-scheduler
@ capture tag=online
@ offline-cpu cpu=1
@ capture tag=late at_ms=599999
"""
FAILS: dict[str, tuple[str, str]] = {
    "remove-cgroup": ("EBUSY", "tasks are in it"),
    "write-kernel": ("EPERM", "the size of linux_proc_banner is not known"),
    "attach-scheduler": ("EINVAL", "a scheduler is attached already"),
    "capture": ("ECANCELED", ""),
}
"""The one of each of these kinds that is not done, and why."""


def scenario_of(text: str) -> Scenario:
    """The scenario, whose operations are written a line each."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("@ "):
            lines.append(line)
            continue
        op, *settings = line[2:].split()
        lines += ["[[steps.ops]]", f'op = "{op}"']
        for key, _, value in (setting.partition("=") for setting in settings):
            plain = value.isdigit() or value.startswith("[") or value == "true"
            lines.append(f"{key} = {value}" if plain else f'{key} = "{value}"')
    return parse_scenario("\n".join(lines), "verbs.toml")


class Looking:
    """Serves a guest, and looks at its kernel while it waits for an answer."""

    def __init__(self, nursery: trio.Nursery, outbox: Outbox) -> None:
        self.ready, self.ended = trio.Event(), trio.Event()
        self.told: list[StimulusApplied] = []
        self.begun: list[Stimulus] = []
        self.seen: dict[str, object] = {}
        self.watched: list[str] = []
        self.pids: dict[str, int] = {}
        self.it: Operating | None = None
        self.ops: GuestKernelOps | None = None
        self._nursery, self._outbox = nursery, outbox

    def handle(self, action: act.Action) -> None:
        match action:
            case act.SystemReady():
                self.ready.set()
            case act.StepChanged(stimulus):
                self.begun.append(stimulus)
            case act.WorkersSeen(report):
                self.pids |= {worker.comm: worker.pid for worker in report.workers}
            case act.StimulusTold(applied):
                self.told.append(applied)
            case act.SnapshotRequested(request):
                if request.kind == SnapshotKind.WATCH:
                    self.watched.append(request.tag)
                else:
                    self.seen[request.tag] = self.look(request.tag)
                reply = SnapshotReply(request.request_id, SnapshotStatus.OK)
                self._outbox.reply(MsgType.SnapshotReply, reply.pack())
            case act.KernelOpRequested(asked) if self.ops is not None:
                self.ops.accept(asked, self._nursery)
            case act.Exited():
                self.ended.set()
                self._outbox.reply(MsgType.Shutdown)

    def look(self, tag: str) -> object:
        """What the kernel's memory says of what was done before a capture."""
        looks: dict[str, Callable[[], object]] = {
            "placed": lambda: (self.of_cgroup("spin-0"), self.cgroup("sleep-0")),
            "changed": lambda: (self.of_cgroup("spin-0"), self.cgroup("sleep-0"), self.cpus("sleep-0")),
            "frozen": lambda: (self.frozen("spin-0"), self.frozen("sleep-0")),
            "thawed": lambda: (
                self.frozen("spin-0"),
                self.cgroup("spin-0"),
                self.cgroup("sleep-0"),
                self.cpus("spin-0"),
            ),
            "offline": self.online,
            "online": lambda: (self.online(), self.scheduler()[0]),
            "written": lambda: None,
        }
        return looks.get(tag, self.scheduler)()

    def task(self, comm: str) -> drgn.Object:
        assert self.it is not None
        return find_task(self.it.view.prog, self.pids[comm])

    def cgroup(self, comm: str) -> str:
        name: bytes = self.task(comm).cgroups.dfl_cgrp.kn.name.string_()
        return name.decode()

    def cpus(self, comm: str) -> list[int]:
        return list(for_each_cpu(self.task(comm).cpus_ptr.read_()))

    def frozen(self, comm: str) -> bool:
        return bool(self.task(comm).frozen)

    def of_cgroup(self, comm: str) -> tuple[str, list[int], int, int, int]:
        """Name, allowed CPUs, shares, quota and period of a worker's cgroup, the times in µs."""
        task = self.task(comm)
        group = task.sched_task_group
        shares = int(group.shares) >> 10  # scale_load()
        limit = group.cfs_bandwidth
        return (
            self.cgroup(comm),
            self.cpus(comm),
            shares,
            int(limit.quota) // 1000,
            int(limit.period) // 1000,
        )

    def online(self) -> list[int]:
        assert self.it is not None
        return list(for_each_online_cpu(self.it.view.prog))

    def scheduler(self) -> tuple[str | None, int | None]:
        assert self.it is not None
        seen = SampleReader(self.it.view).sample().scheduler
        return seen.name, seen.enable_seq


async def no_capture(tag: str) -> CaptureReport | None:
    raise AssertionError(f"nobody asked for capture {tag}")


async def test_every_operation_is_what_the_kernel_then_says(
    machine_spec: MachineSpec, tmp_path: Path
) -> None:
    scenario, artifacts = scenario_of(SCENARIO), guest_artifacts()
    payloads = {name: resolve_scheduler(name, artifacts) for name in sorted(scenario.schedulers())}
    initrd = build_initramfs(artifacts.agent, encode_plan(scenario, payloads), payloads.values())
    async with (
        open_machine(replace(machine_spec, initrd=initrd)) as machine,
        trio.open_nursery() as nursery,
    ):
        outbox = Outbox()
        guest = Looking(nursery, outbox)
        port = GuestPort(machine.bulk, outbox, [guest.handle], lambda: 0)
        nursery.start_soon(port.run)
        await wait_said(machine, guest.ready)
        async with operating(machine, tmp_path) as guest.it:
            guest.ops = GuestKernelOps(guest.it.ops, SnapshotBridge(no_capture), outbox.reply, lambda: 0)
            outbox.reply(MsgType.AccessorReady)
            with trio.move_on_after(BOOT_DEADLINE_S):
                await guest.ended.wait()
            check_told(guest, scenario)
            check_seen(guest)
            assert [event.ok for event in guest.it.told()] == [True, False]
        nursery.cancel_scope.cancel()


def check_told(guest: Looking, scenario: Scenario) -> None:
    """Each operation was told once, in order, and what was to fail did."""
    first, *rest = guest.told
    assert (first.step_index, first.op_index, first.kind_name, first.error) == (
        BEFORE_STEPS,
        0,
        "add-cgroup",
        0,
    )
    assert [(it.step_index, it.op_index, it.kind_name) for it in rest] == [
        (at, number, op.kind) for at, step in enumerate(scenario.steps) for number, op in enumerate(step.ops)
    ]
    assert {it.kind_name for it in guest.told} == set(STIMULUS_KINDS)
    failed: dict[str, tuple[str, str]] = {it.kind_name: (it.error_name, it.detail) for it in rest if it.error}
    assert failed.keys() == FAILS.keys(), failed
    for kind, (error, detail) in FAILS.items():
        assert failed[kind][0] == error, failed
        assert detail in failed[kind][1], failed
    assert sum(bool(it.error) for it in rest) == len(FAILS)
    assert guest.told[-1].outcome == "not-reached"
    assert [step.cgroup_count for step in guest.begun] == [1, 1]
    assert guest.watched == ["panic_timeout"]


def check_seen(guest: Looking) -> None:
    """What the kernel's memory said at each gate."""
    seen = guest.seen
    # The weight is what it was set to while nothing was dispatched: no scheduler can keep an operation from being done.
    assert seen["placed"] == (("batch", [1], 614, 20_000, 100_000), "")
    assert seen["changed"] == (("batch", [0], 2048, 50_000, 200_000), "other", [0])
    assert seen["frozen"] == (True, False)
    assert seen["thawed"] == (False, "", "", [1])
    assert seen["detached"] == (None, 2)
    assert seen["attached"] == ("fifo", 3)
    assert seen["restarted"] == ("fifo", 4)
    assert seen["replaced"] == ("starve", 5)
    assert seen["offline"] == [0]
    assert seen["online"] == ([0, 1], "fifo")
    assert "late" not in seen


def test_the_packaged_scenario_does_all_that_there_is(tmp_path: Path) -> None:
    """In a whole run: each operation is on the stream, and the ejection at its end names the CPU that went."""
    env = private_environment(tmp_path)
    refused = call("run", "--headless", "--no-seed", "--json", "--scenario", "verbs", env=env)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "verbs.toml:119: steps.2.ops.7.op: this run does not allow writes" in refused.stderr

    done = call("run", "--headless", "--no-seed", "--json", "--scenario", "verbs", "--allow-writes", env=env)
    assert done.returncode == 1, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["ejections"], summary["restarts"]) == (1, 0)
    assert summary["operations"] == {"done": 23}
    assert "after the scenario took CPU 1 offline" in summary["end_reason"]
    recording = str(Path(summary["data_dir"]) / "recording.ktstr")
    lines = call("events", "--json", recording, env=env).stdout.splitlines()
    events = [json.loads(line) for line in lines]
    stimuli = [event for event in events if event["type"] == "stimulus"]
    assert {event["outcome"] for event in stimuli} == {"done"}, stimuli
    assert {event["kind"] for event in stimuli} == set(STIMULUS_KINDS)
    scenario = load_scenario("verbs")
    planned = [(None, 0), *((at, n) for at, step in enumerate(scenario.steps) for n in range(len(step.ops)))]
    assert [(event["step"], event["op"]) for event in stimuli] == planned
    # The host wrote past the vCPUs, so the next stop finds it.
    hits = [event for event in events if event["type"] == "watchpoint-hit"]
    assert [hit["value"] for hit in hits if hit["expression"] == "panic_timeout"] == [41]
    # While CPU 1 was offline, every sample of it said so.
    off, on = (
        next(event["seq"] for event in stimuli if event["kind"] == kind)
        for kind in ("offline-cpu", "online-cpu")
    )
    between = [event for event in events if event["type"] == "sample" and off < event["seq"] < on]
    said = [event["sample"]["cpus"][1]["unreadable"] for event in between]
    assert said[:-1], "samples were taken meanwhile"
    assert set(said[:-1]) == {"offline"}
