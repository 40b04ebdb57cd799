"""The coordinator captures on demand and keeps its deadlines."""

from __future__ import annotations

from typing import cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ktstr_tui.capture.coordinator import FreezeState
from ktstr_tui.capture.finisher import MAX_UNFINISHED, CaptureFailedError
from ktstr_tui.capture.stop.rendezvous import RendezvousTimeoutError
from ktstr_tui.capture.stop.requests import MAX_PENDING
from ktstr_tui.guest.engine import Stop
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.errors import HostError
from ktstr_tui.model.events import (
    CaptureTaken,
    Frozen,
)
from tests.unit.capture.fakes import (
    EXIT_OFFSET,
    SCHED_A,
)
from tests.unit.capture.rig import in_place, running

A_EXIT = SCHED_A + EXIT_OFFSET
pytestmark = pytest.mark.usefixtures("no_threads")


# -- captures on demand ----------------------------------------------------------------------------------


async def test_a_capture_on_demand_stops_and_resumes(autojump_clock: MockClock) -> None:
    async with running() as rig:
        await rig.attach()
        rig.engine.log.clear()
        report = await rig.coordinator.capture("on-demand", "key c", "mine")
        assert rig.engine.log == ["stop", "resume"]
        assert (report.tag, report.trigger, report.trigger_detail) == ("mine", "on-demand", "key c")
        assert report.pause is not None
        assert report.pause.stop_us is not None
        assert report.pause.total_us >= report.pause.stop_us
        assert rig.store.reports == [(1, report)]
        assert rig.of(CaptureTaken)[0].report == report
        assert rig.of(Frozen) == []
        assert rig.freeze_state() is FreezeState.IDLE
        assert rig.bridge.has("mine")


async def test_a_tag_that_was_used_before_is_numbered(autojump_clock: MockClock) -> None:
    async with running() as rig:
        await rig.attach()
        for _ in range(3):
            await rig.coordinator.capture("on-demand", tag="mine")
        await rig.coordinator.capture("on-demand", tag="mine-2")
        await rig.coordinator.capture("on-demand", tag="on-demand-006")
        await rig.coordinator.capture("on-demand")
        tags = ["mine", "mine-2", "mine-3", "mine-2-2", "on-demand-006", "on-demand-006-2"]
        assert [event.report.tag for event in rig.of(CaptureTaken)] == tags
        assert [report.tag for _, report in rig.store.reports] == tags
        assert all(rig.bridge.has(tag) for tag in tags)


async def test_the_bridge_keeps_the_newest_capture_of_a_watch_by_its_tag(autojump_clock: MockClock) -> None:
    async with running() as rig:
        await rig.attach()
        for _ in range(2):
            await rig.coordinator.capture("watch", tag="jiffies")
        assert [event.report.tag for event in rig.of(CaptureTaken)] == ["jiffies", "jiffies-2"]
        assert [report.tag for report in rig.bridge.drain().values()] == ["jiffies-2"]


async def test_captures_on_demand_still_work_when_the_error_capture_is_done(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        rig.view.root = SCHED_A
        await rig.attach()
        rig.engine.write_exit(SCHED_A, 1026)
        await rig.settle()
        assert (await rig.coordinator.capture("on-demand")).tag == "on-demand-002"
        assert rig.freeze_state() is FreezeState.DONE


async def test_an_early_capture_moves_the_freeze_state_once(autojump_clock: MockClock) -> None:
    async with running() as rig:
        rig.view.root = SCHED_A
        await rig.attach()
        await rig.coordinator.capture("early")
        assert rig.freeze_state() is FreezeState.TOOK_EARLY
        rig.engine.write_exit(SCHED_A, 1026)
        await rig.settle()
        await rig.coordinator.capture("early")
        assert rig.freeze_state() is FreezeState.DONE


async def test_a_second_capture_waits_until_the_guest_runs_again(autojump_clock: MockClock) -> None:
    async with running() as rig:
        await rig.attach()
        rig.engine.register_delay_s = 0.1
        rig.engine.log.clear()
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(rig.coordinator.capture, "on-demand")
        assert rig.engine.log == ["stop", "resume"] * 3
        stops = [call["registers"][0]["rax"] for call in rig.collect.calls]
        assert len(set(stops)) == 3


async def test_a_hit_during_rendering_is_served_at_once(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running() as rig:
        rig.view.root = SCHED_A
        await rig.attach()
        gate = trio.Event()

        monkeypatch.setattr(trio.to_thread, "run_sync", in_place(gate.wait))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.coordinator.capture, "on-demand")
            await wait_all_tasks_blocked()
            rig.engine.write_exit(SCHED_A, 1026)
            await wait_all_tasks_blocked()
            assert rig.runs()
            assert [call["tag"] for call in rig.collect.calls] == ["on-demand-001", "error-002"]
            assert rig.of(CaptureTaken) == []
            gate.set()
        await rig.settle()
        assert [taken.report.tag for taken in rig.of(CaptureTaken)] == ["on-demand-001", "error-002"]


async def test_a_capture_before_memory_is_typed_is_a_placeholder(autojump_clock: MockClock) -> None:
    async with running() as rig:
        with pytest.raises(CaptureFailedError, match="BTF is not loaded yet"):
            await rig.coordinator.capture("on-demand")
        (taken,) = rig.of(CaptureTaken)
        assert taken.report.is_placeholder


@pytest.mark.parametrize("where", ["error", "render_error"])
async def test_a_failing_capture_leaves_a_placeholder_with_the_registers(
    autojump_clock: MockClock, where: str
) -> None:
    async with running() as rig:
        await rig.attach()
        setattr(rig.collect, where, LookupError("no such member"))
        with pytest.raises(CaptureFailedError, match="LookupError: no such member"):
            await rig.coordinator.capture("on-demand", "key c")
        (taken,) = rig.of(CaptureTaken)
        report = taken.report
        assert report.is_placeholder
        assert report.trigger_detail == "key c"
        assert "no such member" in report.unavailable["tasks"]
        assert [vcpu.registers["rip"] for vcpu in report.vcpus] == [0x1000, 0x1001]
        assert report.pause is not None
        assert rig.bridge.has(report.tag)
        assert rig.runs()


async def test_a_placeholder_never_replaces_a_real_report_on_the_bridge(autojump_clock: MockClock) -> None:
    async with running() as rig:
        await rig.attach()
        await rig.coordinator.capture("guest", tag="mine")
        rig.collect.error = LookupError("gone")
        with pytest.raises(CaptureFailedError):
            await rig.coordinator.capture("guest", tag="mine")
        assert not rig.bridge.drain()["mine"].is_placeholder


async def test_missing_registers_are_named_and_the_rest_is_captured(autojump_clock: MockClock) -> None:
    async with running() as rig:
        await rig.attach()
        rig.engine.register_delay_s = 1.5
        report = await rig.coordinator.capture("on-demand")
        assert not report.is_placeholder
        assert rig.collect.calls[0]["registers"][1] == {}
        assert report.unavailable["registers"].startswith("vCPUs 1 to 1: rendezvous timed out")


async def test_too_many_unfinished_captures_become_placeholders(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running() as rig:
        await rig.attach()
        gate = trio.Event()

        monkeypatch.setattr(trio.to_thread, "run_sync", in_place(gate.wait))
        failures: list[str] = []

        async def capture() -> None:
            try:
                await rig.coordinator.capture("on-demand")
            except CaptureFailedError as error:
                failures.append(error.message)

        async with trio.open_nursery() as nursery:
            for _ in range(MAX_UNFINISHED + 2):
                nursery.start_soon(capture)
            await wait_all_tasks_blocked()
            gate.set()
        assert len(failures) == 2
        assert rig.coordinator.statistics().finisher.overflowed == 2
        assert sum(taken.report.is_placeholder for taken in rig.of(CaptureTaken)) == 2


async def test_too_many_requests_are_refused_and_counted(autojump_clock: MockClock) -> None:
    async with running() as rig:
        await rig.attach()
        rig.engine.stop_delay_s = 1.0
        refused = 0

        async def capture() -> None:
            nonlocal refused
            try:
                await rig.coordinator.capture("on-demand")
            except HostError:
                refused += 1
            except CaptureFailedError:
                pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(capture)
            await wait_all_tasks_blocked()
            for _ in range(MAX_PENDING + 3):
                nursery.start_soon(capture)
        assert refused == rig.coordinator.statistics().refused == 3


# -- deadlines -------------------------------------------------------------------------------------------


async def test_a_stop_that_does_not_come_leaves_a_placeholder_and_an_error(autojump_clock: MockClock) -> None:
    async with running() as rig:
        await rig.attach()
        rig.engine.stop_delay_s = 60.0
        start = trio.current_time()
        with pytest.raises(CaptureFailedError, match="rendezvous timed out: stopping the vCPUs"):
            await rig.coordinator.capture("on-demand")
        assert trio.current_time() - start == pytest.approx(2.0)
        (taken,) = rig.of(CaptureTaken)
        assert taken.report.is_placeholder
        assert "rendezvous timed out" in taken.report.unavailable["tasks"]
        assert taken.path != ""
        assert rig.coordinator.statistics().timeouts == 1
        # The stop comes after all: nobody waits for it, and the guest runs on.
        rig.engine.stop_delay_s = 0.0
        rig.engine.arrive(Stop("interrupt"))
        await rig.settle()
        assert rig.runs()
        assert rig.coordinator.statistics().unexpected_stops == 1
        assert not (await rig.coordinator.capture("on-demand")).is_placeholder


async def test_a_freeze_that_does_not_come_is_an_error(autojump_clock: MockClock) -> None:
    async with running() as rig:
        rig.engine.stop_delay_s = 60.0
        with pytest.raises(RendezvousTimeoutError):
            await rig.coordinator.freeze("key f")
        assert rig.coordinator.frozen_reason is None
        assert rig.of(Frozen) == []


async def test_a_look_that_timed_out_is_made_up_for_by_polling(autojump_clock: MockClock) -> None:
    async with running() as rig:
        rig.engine.stop_delay_s = 60.0
        rig.coordinator.memory_typed(cast("KernelView", rig.view))
        await trio.sleep(3)
        assert not rig.coordinator.armed.is_set()
        rig.engine.stop_delay_s = 0.0
        rig.coordinator.poll()
        await rig.settle()
        assert rig.coordinator.armed.is_set()
