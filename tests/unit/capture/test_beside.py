"""What a capture says besides the guest's memory at the stop: the host's part in a wait, and last words."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ktstr_tui.kernel.scx import ExitText
from ktstr_tui.model.events import AlertRaised, CaptureTaken
from ktstr_tui.model.host import HostWait
from ktstr_tui.model.report import CaptureReport, SchedulerReport
from ktstr_tui.model.sample import RunnableTask
from ktstr_tui.text.cause import headline
from ktstr_tui.text.lines import text_of
from ktstr_tui.text.report_lines import overview
from tests.unit.capture.fakes import EXIT_OFFSET, SCHED_A, SCHED_B
from tests.unit.capture.rig import Rig, in_place, running

A_EXIT = SCHED_A + EXIT_OFFSET
PART = HostWait(without_cpu_ms=3900.0, wait_ms=4000.0, reason="QEMU was stopped")
WORDS = "he host gave the guest no CPU for 3.9 s of the 4.0 s wait: QEMU was stopped (host steal unknown"
TASK = RunnableTask(pid=7, comm="spin", age_ms=4000.0, cpu=0)
pytestmark = pytest.mark.usefixtures("no_threads")


class Host:
    """A host that has a part in every wait."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def part_in(self, start_ns: int, end_ns: int) -> HostWait | None:
        self.asked.append((start_ns, end_ns))
        return PART


@pytest.mark.parametrize("trigger", ["error", "on-demand"])
async def test_a_capture_says_what_part_the_host_has_in_the_wait(
    autojump_clock: MockClock, trigger: str
) -> None:
    host = Host()
    rig = Rig(host=host)
    rig.collect.more = {"stalled": TASK, "scheduler": SchedulerReport(name="alpha", exit_kind=1026)}
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.coordinator.run)
        rig.view.root = SCHED_A
        await rig.attach()
        await trio.sleep(10)
        if trigger == "error":
            rig.engine.write_exit(SCHED_A, 1026)
            await rig.settle()
        else:
            await rig.coordinator.capture("on-demand")
        nursery.cancel_scope.cancel()
    report = rig.of(CaptureTaken)[-1].report
    assert report.host == PART
    ((start_ns, end_ns),) = host.asked
    assert (end_ns, end_ns - start_ns) == (report.mono_ns, 4_000_000_000)
    assert headline(report).startswith(f"T{WORDS}")
    first = " ".join(text_of(line).strip() for line in overview(report, 60)[:5])
    assert first.startswith(f"host t{WORDS}")


async def test_an_ejection_that_is_not_about_a_wait_says_nothing_of_the_host(
    autojump_clock: MockClock,
) -> None:
    host = Host()
    rig = Rig(host=host)
    rig.collect.more = {"stalled": TASK, "scheduler": SchedulerReport(name="alpha", exit_kind=1025)}
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.coordinator.run)
        rig.view.root = SCHED_A
        await rig.attach()
        rig.engine.write_exit(SCHED_A, 1025)
        await rig.settle()
        nursery.cancel_scope.cancel()
    assert rig.of(CaptureTaken)[-1].report.host is None
    assert host.asked == []


async def rendered_late(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, scheduler: SchedulerReport
) -> CaptureReport:
    """An ejection whose capture is rendered when its scheduler is gone and another one is loaded."""
    rig.collect.more = {"scheduler": scheduler}
    rig.view.root = SCHED_A
    await rig.attach()
    gate = trio.Event()
    monkeypatch.setattr(trio.to_thread, "run_sync", in_place(gate.wait))
    rig.engine.write_exit(SCHED_A, 1026)
    await wait_all_tasks_blocked()
    rig.view.exit_infos[SCHED_A] = ExitText(1026, 66, "runnable task stall", "spin[7] failed to run", 1)
    rig.engine.write_root(SCHED_B)
    await wait_all_tasks_blocked()
    assert rig.of(CaptureTaken) == []
    gate.set()
    await rig.settle()
    return rig.of(CaptureTaken)[-1].report


async def test_a_capture_that_is_rendered_late_has_the_schedulers_last_words(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running() as rig:
        report = await rendered_late(rig, monkeypatch, SchedulerReport(name="alpha", exit_kind=1026))
        found = report.scheduler
        assert found is not None
        assert (found.exit_code, found.exit_cpu) == (66, 1)
        assert (found.reason, found.message) == ("runnable task stall", "spin[7] failed to run")
        assert report.read_late["scheduler.exit_info"] == "read when the kernel took the scheduler down"
        assert rig.of(AlertRaised) == [], "another scheduler is loaded"


async def test_words_that_were_read_in_time_are_left_alone(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = SchedulerReport(name="alpha", exit_kind=1026, exit_code=5, message="whole")
    async with running() as rig:
        report = await rendered_late(rig, monkeypatch, scheduler)
        assert report.scheduler == scheduler
        assert report.read_late == {}
