"""Stops in which not every vCPU is heard: what is left of the capture that they were for."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from ktstr_tui.capture.coordinator import FreezeState
from ktstr_tui.capture.finisher import CaptureFailedError, CaptureTimedOutError
from ktstr_tui.capture.report.store import CaptureStore
from ktstr_tui.guest.engine import EngineLostError, Stop
from ktstr_tui.model.events import AlertRaised, CaptureTaken
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.report_files import DegradedReport, decode_report
from tests.unit.capture.fakes import EXIT_OFFSET, SCHED_A
from tests.unit.capture.rig import Rig, running

A_EXIT = SCHED_A + EXIT_OFFSET
pytestmark = pytest.mark.usefixtures("no_threads")


def saved(rig: Rig, kind: type[CaptureReport] | type[DegradedReport]) -> list[tuple[int, object]]:
    return [(number, report) for number, report in rig.store.reports if isinstance(report, kind)]


async def test_a_stop_that_times_out_leaves_a_degraded_file_in_place_of_the_placeholders(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        rig.view.root = SCHED_A
        await rig.attach()
        rig.engine.stop_delay_s = 60.0
        with pytest.raises(CaptureTimedOutError, match="rendezvous timed out: stopping the vCPUs"):
            await rig.coordinator.capture("on-demand", "key c", "mine")
        (taken,) = rig.of(CaptureTaken)
        assert taken.report.is_placeholder
        assert taken.path == "/captures/001-mine.degraded.json"
        assert rig.bridge.has("mine")
        ((number, report),) = rig.store.reports
        assert (number, report) == (1, taken.degraded)
        assert isinstance(report, DegradedReport)
        assert report.reason == (
            "rendezvous timed out after 2000 ms: 0 of 2 vCPUs answered; stopping the vCPUs took longer than 2 s"
        )
        assert (report.tag, report.trigger, report.trigger_detail) == ("mine", "on-demand", "key c")
        assert (report.elapsed_ms, report.exit_kind, report.watchpoint_hit) == (2000.0, 0, False)
        assert (report.exit_kind_name, report.scheduler, report.cgroup) == ("NONE", None, None)
        assert (report.step, report.step_index, report.kernel) == ("stalling", 2, "7.2.12-fake")
        assert report.wall_time
        assert [(it.cpu, it.registers, it.unavailable) for it in report.vcpus] == [
            (0, {}, "no response"),
            (1, {}, "no response"),
        ]
        # The stop comes after all; the next capture is whole and knows nothing of it.
        rig.engine.stop_delay_s = 0.0
        rig.engine.arrive(Stop("interrupt"))
        await rig.settle()
        assert not (await rig.coordinator.capture("on-demand")).is_placeholder
        assert rig.of(CaptureTaken)[-1].degraded is None


async def test_before_memory_is_typed_the_exit_kind_is_not_known(autojump_clock: MockClock) -> None:
    async with running() as rig:
        rig.engine.stop_delay_s = 60.0
        with pytest.raises(CaptureTimedOutError):
            await rig.coordinator.capture("on-demand")
        (taken,) = rig.of(CaptureTaken)
        assert taken.degraded is not None
        assert (taken.degraded.exit_kind, taken.degraded.vcpus, taken.degraded.kernel) == (None, (), "")
        rig.engine.arrive(Stop("interrupt"))
        await rig.settle()


async def test_memory_that_cannot_be_read_costs_the_exit_kind_only(autojump_clock: MockClock) -> None:
    async with running() as rig:
        await rig.attach()
        rig.engine.stop_delay_s = 60.0
        rig.view.error = OSError("gone")
        with pytest.raises(CaptureTimedOutError):
            await rig.coordinator.capture("on-demand")
        (taken,) = rig.of(CaptureTaken)
        assert taken.degraded is not None
        assert taken.degraded.exit_kind is None
        rig.view.error = None
        rig.engine.arrive(Stop("interrupt"))
        await rig.settle()


async def test_vcpus_that_answer_are_kept_and_the_capture_is_saved_as_well(autojump_clock: MockClock) -> None:
    async with running() as rig:
        await rig.attach()
        rig.engine.register_delay_s = 1.5
        report = await rig.coordinator.capture("on-demand")
        rig.engine.register_delay_s = 0.0
        assert not report.is_placeholder
        (taken,) = rig.of(CaptureTaken)
        assert taken.path == "/captures/001-on-demand-001.json"
        assert saved(rig, CaptureReport) == [(1, report)]
        assert saved(rig, DegradedReport) == [(1, taken.degraded)]
        degraded = taken.degraded
        assert degraded is not None
        assert degraded.reason == (
            "rendezvous timed out after 2000 ms: 1 of 2 vCPUs answered; "
            "vCPUs 1 to 1: reading registers took longer than 2 s"
        )
        assert [(it.registers.get("rip"), it.unavailable) for it in degraded.vcpus] == [
            (0x1000, None),
            (None, "no response"),
        ]


async def test_registers_are_of_this_stop_and_never_of_an_earlier_one(autojump_clock: MockClock) -> None:
    async with running() as rig:
        await rig.attach()
        await rig.coordinator.capture("on-demand")
        rig.engine.stop_delay_s = 60.0
        with pytest.raises(CaptureTimedOutError):
            await rig.coordinator.capture("on-demand")
        rig.engine.stop_delay_s = 0.0
        rig.engine.arrive(Stop("interrupt"))
        await rig.settle()
        before = rig.engine.stops
        await rig.coordinator.capture("on-demand")
        assert [it.get("rax") for it in rig.collect.calls[-1]["registers"]] == [before + 1] * 2
        degraded = rig.of(CaptureTaken)[1].degraded
        assert degraded is not None
        assert not any(it.registers for it in degraded.vcpus)


async def test_a_guest_lost_while_it_is_being_stopped_is_aborted(autojump_clock: MockClock) -> None:
    async with running() as rig:
        await rig.attach()
        rig.engine.stop_delay_s = 1.0
        errors: list[BaseException] = []

        async def capture() -> None:
            try:
                await rig.coordinator.capture("on-demand", tag="mine")
            except EngineLostError as error:
                errors.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(capture)
            await trio.sleep(0.5)
            rig.engine.die()
        await rig.coordinator.wait_captures_finished()
        await trio.sleep(1)
        assert [str(error) for error in errors] == ["QEMU is gone"]
        (taken,) = rig.of(CaptureTaken)
        assert taken.path == "/captures/001-mine.degraded.json"
        assert taken.report.is_placeholder
        assert taken.report.unavailable["tasks"] == "aborted: QEMU is gone"
        assert taken.degraded is not None
        assert taken.degraded.reason == "aborted after 1000 ms: 0 of 2 vCPUs answered; QEMU is gone"


async def test_a_guest_lost_while_it_stands_leaves_the_capture_and_the_registers_that_came(
    autojump_clock: MockClock,
) -> None:
    rig = Rig()
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.coordinator.run)
        await rig.attach()
        rig.engine.register_delay_s = 0.4

        async def die() -> None:
            await trio.sleep(0.6)
            rig.engine.die()

        nursery.start_soon(die)
        with pytest.raises(EngineLostError):
            await rig.coordinator.capture("on-demand", tag="mine")
    (taken,) = rig.of(CaptureTaken)
    assert not taken.report.is_placeholder
    assert taken.degraded is not None
    assert taken.degraded.reason == (
        "aborted after 800 ms: 1 of 2 vCPUs answered; vCPUs 1 to 1: QEMU is gone"
    )
    assert [it.registers.get("rip") for it in taken.degraded.vcpus] == [0x1000, None]
    assert len(rig.store.reports) == 2


async def test_a_watchpoint_that_stopped_the_guest_is_told(autojump_clock: MockClock) -> None:
    async with running() as rig:
        rig.view.root = SCHED_A
        await rig.attach()
        rig.engine.register_delay_s = 1.5
        rig.engine.write_exit(SCHED_A, 1026)
        await trio.sleep(5)
        rig.engine.register_delay_s = 0.0
        (taken,) = rig.of(CaptureTaken)
        assert taken.degraded is not None
        assert (taken.degraded.watchpoint_hit, taken.degraded.exit_kind) == (True, 1026)


async def test_an_ejection_that_no_stop_tells_is_degraded_once_and_captured_when_the_guest_stops(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        rig.engine.refuse_watches = True
        rig.view.root = SCHED_A
        await rig.attach()
        rig.engine.stop_delay_s = 60.0
        rig.view.exit_kinds[SCHED_A] = 1026
        await trio.sleep(10)
        (taken,) = rig.of(CaptureTaken)
        assert (taken.report.trigger, taken.report.exit_kind) == ("error", 1026)
        assert taken.degraded is not None
        assert taken.degraded.trigger_detail == (
            "exit_kind 1026 (ERROR_STALL), seen in memory: the guest could not be stopped"
        )
        assert (taken.degraded.exit_kind, taken.degraded.watchpoint_hit) == (1026, False)
        assert [alert.key for alert in rig.of(AlertRaised)] == ["ejected"]
        assert rig.freeze_state() is FreezeState.IDLE
        rig.engine.stop_delay_s = 0.0
        rig.engine.arrive(Stop("interrupt"))
        await trio.sleep(3)
        whole = rig.of(CaptureTaken)[-1]
        assert (whole.report.tag, whole.report.is_placeholder, whole.degraded) == ("error-002", False, None)
        assert rig.changes()[-1] == ("ejected", "alpha", 1026)
        assert rig.freeze_state() is FreezeState.DONE
        assert len(rig.of(CaptureTaken)) == 2


async def test_an_ejection_of_a_guest_that_is_gone_is_aborted(autojump_clock: MockClock) -> None:
    rig = Rig()
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.coordinator.run)
        rig.view.root = SCHED_A
        await rig.attach()
        rig.view.exit_kinds[SCHED_A] = 1026
        rig.engine.die()
    (taken,) = rig.of(CaptureTaken)
    assert taken.degraded is not None
    assert taken.degraded.reason.startswith("aborted after 0 ms: 0 of 2 vCPUs answered")
    assert taken.degraded.exit_kind == 1026


async def test_a_full_disk_puts_the_degraded_report_on_standard_error(
    autojump_clock: MockClock, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    store = CaptureStore(tmp_path / "file" / "captures", lambda event: None)
    rig = Rig(store=store)
    coordinator = rig.coordinator
    async with trio.open_nursery() as nursery:
        await nursery.start(coordinator.run)
        await rig.attach()
        rig.engine.stop_delay_s = 60.0
        with pytest.raises(CaptureFailedError):
            await coordinator.capture("on-demand")
        rig.engine.arrive(Stop("interrupt"))
        await rig.settle()
        nursery.cancel_scope.cancel()
    (taken,) = rig.of(CaptureTaken)
    assert (taken.path, taken.report.is_placeholder) == ("", True)
    assert store.statistics().drops == {"Not a directory": 1}
    summary, _, rest = capfd.readouterr().err.partition("\n")
    assert summary.startswith(
        "degraded capture on-demand-001 (on-demand): rendezvous timed out after 2000 ms"
    )
    assert "Not a directory" in summary
    assert decode_report(rest.encode()) == taken.degraded
