"""The coordinator and the sampler on a real kernel: captures on demand, a freeze, the flagship ejection."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from ktstr_tui.capture.coordinator import Coordinator, Copiers, FreezeState, Keeping
from ktstr_tui.capture.report.collect import collect
from ktstr_tui.capture.report.store import CaptureStore
from ktstr_tui.capture.stop.rendezvous import FrozenLog
from ktstr_tui.guest.gdb import GdbClient
from ktstr_tui.guest.machine import Machine, MachineSpec
from ktstr_tui.guest.scenario import parse_scenario
from ktstr_tui.health.host_load import HostProcess
from ktstr_tui.health.monitor import Monitor
from ktstr_tui.health.sampler import Sampler
from ktstr_tui.health.standstill import Standstill, Unobservable
from ktstr_tui.health.vcpu_times import VcpuTimes
from ktstr_tui.kernel.memory import GuestRam
from ktstr_tui.kernel.sampler import SampleReader
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.errors import HostError
from ktstr_tui.model.events import (
    AlertRaised,
    CaptureTaken,
    Event,
    Frozen,
    Sampled,
    SchedulerChanged,
    Thawed,
    WatchpointChanged,
)
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.report_files import decode_report
from ktstr_tui.wire.frames import FrameAssembler, encode_frame
from ktstr_tui.wire.messages import MsgType
from tests.guest.booting import open_booted, spec_of
from tests.guest.conftest import BootGuest
from tests.guest.waiting import BOOT_DEADLINE_S, wait_said

pytestmark = pytest.mark.guest

KERNEL_HALF = 1 << 63
SCENARIO = """
name = "ejection"

[[workers]]
kind = "spin"
count = 3

[[steps]]
name = "fifo"
duration_ms = 1500
scheduler = "demo:fifo"

[[steps]]
name = "stall"
duration_ms = 30000
until = "ejected"
scheduler = "demo:stall"
"""
_E = TypeVar("_E")


class Observed:
    """A machine under observation, and what was said of it."""

    def __init__(self, machine: Machine, view: KernelView, directory: Path) -> None:
        self.machine = machine
        self.view = view
        self.events: list[Event] = []
        self.coordinator = Coordinator(
            machine.gdb,
            self._emit,
            Copiers(collect),
            FrozenLog(time.monotonic_ns),
            keeping=Keeping(CaptureStore(directory, self._emit)),
        )
        self._changed = trio.Event()

    def _emit(self, event: Event) -> None:
        self.events.append(event)
        self._changed.set()

    def of(self, kind: type[_E]) -> list[_E]:
        return [event for event in self.events if isinstance(event, kind)]

    def changes(self) -> list[tuple[str, str | None, int | None]]:
        return [(event.change, event.name, event.exit_kind) for event in self.of(SchedulerChanged)]

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for an event that makes ``condition`` true."""
        with trio.fail_after(BOOT_DEADLINE_S):
            while not condition():
                self._changed = trio.Event()
                await self._changed.wait()

    async def sampler(self) -> Sampler:
        threads = await self.machine.vcpu_threads()
        ids = [threads[cpu] for cpu in sorted(threads)]
        host = Standstill(HostProcess(self.machine.pid, ids), self._emit, time.monotonic_ns)
        return Sampler(
            SampleReader(self.view),
            self._emit,
            vcpu_times=VcpuTimes(self.machine.pid, ids),
            freezer=Unobservable(self.coordinator, host),
            monitor=Monitor(self.view.hz),
        )


@asynccontextmanager
async def observed(machine: Machine, directory: Path) -> AsyncIterator[Observed]:
    """Open the kernel of a machine that is up, and let a coordinator and a sampler look at it."""
    view = await trio.to_thread.run_sync(KernelView.open, GuestRam.from_fds(machine.ram_parts()))
    watch = Observed(machine, view, directory)
    async with trio.open_nursery() as nursery:
        await nursery.start(watch.coordinator.run)
        watch.coordinator.memory_typed(view)
        with trio.fail_after(BOOT_DEADLINE_S):
            await watch.coordinator.armed.wait()
        await nursery.start((await watch.sampler()).run)
        yield watch
        nursery.cancel_scope.cancel()


def read_report(path: str) -> CaptureReport:
    report = decode_report(Path(path).read_bytes())
    assert isinstance(report, CaptureReport)
    return report


async def test_a_running_guest_is_captured_and_runs_on(
    boot_guest: BootGuest, machine_spec: MachineSpec, tmp_path: Path
) -> None:
    async with boot_guest(machine_spec) as guest, observed(guest.machine, tmp_path) as watch:
        reports = [await watch.coordinator.capture("on-demand", "test") for _ in range(10)]
        assert "Linux" in await guest.ask("cat /proc/version")
        assert [report.tag for report in reports] == [f"on-demand-{number:03d}" for number in range(1, 11)]
        for report, taken in zip(reports, watch.of(CaptureTaken), strict=True):
            assert not report.is_placeholder
            assert report == taken.report == read_report(taken.path)
            assert [vcpu.cpu for vcpu in report.vcpus] == [0, 1]
            assert all(vcpu.registers["cr3"] for vcpu in report.vcpus)
            assert all(runqueue.unavailable is None for runqueue in report.runqueues)
            pause = report.pause
            assert pause is not None
            parts = (pause.stop_us, pause.registers_us, pause.memory_us, pause.resume_us)
            assert None not in parts
            assert pause.total_us >= sum(part or 0.0 for part in parts)
        statistics = watch.coordinator.statistics()
        assert (statistics.captures, statistics.timeouts, statistics.unexpected_stops) == (10, 0, 0)
        assert watch.coordinator.freeze_state is FreezeState.IDLE
        # The guest was somewhere in the kernel in at least one of the stops.
        assert any(vcpu.registers["rip"] >= KERNEL_HALF for report in reports for vcpu in report.vcpus)


async def test_a_frozen_guest_stands_still_and_can_be_captured(
    boot_guest: BootGuest, machine_spec: MachineSpec, tmp_path: Path
) -> None:
    async with boot_guest(machine_spec) as guest, observed(guest.machine, tmp_path) as watch:
        await watch.wait_until(lambda: len(watch.of(Sampled)) >= 2)
        assert await watch.coordinator.freeze("test")
        frozen_at, samples = watch.view.jiffies(), len(watch.of(Sampled))
        await guest.tell("cat /proc/uptime")
        first = await watch.coordinator.capture("on-demand")
        second = await watch.coordinator.capture("on-demand")
        assert [vcpu.registers for vcpu in first.vcpus] == [vcpu.registers for vcpu in second.vcpus]
        assert [rq.rq_clock_ns for rq in first.runqueues] == [rq.rq_clock_ns for rq in second.runqueues]
        assert watch.view.jiffies() == frozen_at
        assert len(watch.of(Sampled)) == samples
        assert await watch.coordinator.thaw("test")
        assert float((await guest.answer()).split()[0]) > 0
        await watch.wait_until(lambda: len(watch.of(Sampled)) > samples)
        assert watch.view.jiffies() > frozen_at
        assert [type(event) for event in watch.events if isinstance(event, Frozen | Thawed)] == [
            Frozen,
            Thawed,
        ]
        assert watch.coordinator.frozen_total_ns() > 0


async def test_a_cancelled_freeze_leaves_the_guest_running(
    boot_guest: BootGuest, machine_spec: MachineSpec, tmp_path: Path
) -> None:
    async with boot_guest(machine_spec) as guest, observed(guest.machine, tmp_path) as watch:
        for _ in range(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch.coordinator.freeze, "test")
                await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
        assert "Linux" in await guest.ask("cat /proc/version")
        await watch.coordinator.thaw("a last request, behind all others")
        assert not watch.coordinator.frozen


async def test_the_samples_agree_with_the_guest(
    boot_guest: BootGuest, machine_spec: MachineSpec, tmp_path: Path
) -> None:
    async with boot_guest(machine_spec) as guest, observed(guest.machine, tmp_path) as watch:
        await watch.wait_until(lambda: len(watch.of(Sampled)) >= 5)
        before, after = watch.of(Sampled)[0].sample, watch.of(Sampled)[-1].sample
        assert [cpu.cpu for cpu in after.cpus] == [0, 1]
        for earlier, later in zip(before.cpus, after.cpus, strict=True):
            assert later.unreadable is None
            if len(set((await watch.machine.vcpu_threads()).values())) == 1:
                assert later.vcpu_cpu_time_ns is None
                continue
            assert later.vcpu_cpu_time_ns is not None
            assert earlier.vcpu_cpu_time_ns is not None
            assert later.vcpu_cpu_time_ns >= earlier.vcpu_cpu_time_ns > 0
        assert after.scheduler.name is None
        uptime_ns = float((await guest.ask("cat /proc/uptime")).split()[0]) * 1e9
        assert after.guest_ns is not None
        assert 0 < after.guest_ns <= uptime_ns + 1e9


async def _pump(machine: Machine, seen: dict[str, trio.Event]) -> None:
    assembler = FrameAssembler()
    while data := await machine.bulk.receive_some(65536):
        for frame in assembler.feed(bytes(data)):
            kind = MsgType.from_wire(frame.msg_type)
            if kind is not None and kind.name in seen:
                seen[kind.name].set()


@asynccontextmanager
async def ejecting(machine_spec: MachineSpec, directory: Path) -> AsyncIterator[Observed]:
    """Observe a guest that loads a good scheduler, then one that is thrown out, up to its end."""
    scenario = parse_scenario(SCENARIO, "ejection.toml")
    seen = {name: trio.Event() for name in ("SysRdy", "Exit")}
    async with open_booted(spec_of(machine_spec, scenario)) as machine, trio.open_nursery() as nursery:
        nursery.start_soon(_pump, machine, seen)
        await wait_said(machine, seen["SysRdy"])
        async with observed(machine, directory) as watch:
            await machine.bulk.send_all(encode_frame(MsgType.AccessorReady))
            yield watch
            await wait_said(machine, seen["Exit"])
        nursery.cancel_scope.cancel()


async def test_the_ejection_is_captured_at_the_write(machine_spec: MachineSpec, tmp_path: Path) -> None:
    async with ejecting(machine_spec, tmp_path) as watch:
        await watch.wait_until(lambda: ("detached", "stall", None) in watch.changes())
        await watch.coordinator.wait_captures_finished()
        check_ejection(watch)


async def test_without_debug_registers_the_ejection_is_found_by_polling(
    machine_spec: MachineSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(client: GdbClient, address: int, length: int = 4) -> None:
        raise HostError("no debug register left")

    monkeypatch.setattr(GdbClient, "arm_watch", refuse)
    async with ejecting(machine_spec, tmp_path) as watch:
        await watch.wait_until(lambda: bool(watch.of(CaptureTaken)))
        (taken,) = watch.of(CaptureTaken)
        assert (taken.report.trigger, taken.report.exit_kind) == ("error", 1026)
        assert "late" in taken.report.trigger_detail
        assert ("ejected", "stall", 1026) in watch.changes()
        assert watch.coordinator.statistics().hits == 0
        assert watch.of(WatchpointChanged)[-1].state == "failed"


def check_ejection(watch: Observed) -> None:
    kinds = [(change, name) for change, name, _ in watch.changes()]
    assert kinds == [
        ("attached", "fifo"),
        ("exiting", "fifo"),
        ("detached", "fifo"),
        ("attached", "stall"),
        ("ejected", "stall"),
        ("detached", "stall"),
    ]
    (taken,) = watch.of(CaptureTaken)
    report = taken.report
    assert (report.trigger, report.exit_kind, report.is_placeholder) == ("error", 1026, False)
    assert "at the write by vCPU" in report.trigger_detail
    assert report.stalled is not None
    assert report.stalled.dsq == "0x7"
    assert report.tasks[0].pid == report.stalled.pid
    assert report.pause is not None
    assert report.pause.stop_us is None
    assert watch.coordinator.freeze_state is FreezeState.DONE
    statistics = watch.coordinator.statistics()
    assert statistics.captures == 1
    assert statistics.late_finds == statistics.timeouts == statistics.read_failures == 0
    assert watch.of(WatchpointChanged)[-1].expression == "scx_root"
    alerts = watch.of(AlertRaised)
    # Between the ejection and the end, samples may still see the task wait, then in a queue of the bypass.
    first = next(alert for alert in alerts if alert.key == "runnable-age")
    assert first.text.endswith("of 3.0 s watchdog timeout, in DSQ 0x7")
    assert [alert.capture for alert in alerts if alert.key == "ejected"] == [report.tag]
