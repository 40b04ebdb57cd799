from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ktstr_tui.guest.guest_time import HostTime
from ktstr_tui.health.monitor import Monitor
from ktstr_tui.health.sampler import FAILURES_BEFORE_ALERT, Sampler
from ktstr_tui.health.vcpu_times import VcpuTimes
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.events import AlertCleared, AlertRaised, Event, HealthChanged, Sampled
from ktstr_tui.model.sample import CpuSample, Sample, SchedulerSample
from tests.unit.capture.fakes import clock_ns

_E = TypeVar("_E")


class View:
    """A kernel whose samples take as long as they are told to."""

    nr_cpus = 2

    def __init__(self, clock: MockClock) -> None:
        self.clock = clock
        self.times: list[float] = []
        self.given: Mapping[int, int] | None = None
        self.takes_s: list[float] = []
        self.error: Exception | None = None

    def sample(self, vcpu_times: Mapping[int, int] | None = None) -> Sample:
        self.times.append(round(trio.current_time() - self.start_s, 6))
        self.given = vcpu_times
        if self.takes_s:
            self.clock.jump(self.takes_s.pop(0))
        if self.error is not None:
            raise self.error
        cpu = CpuSample(cpu=0, nr_running=1, rq_clock_ns=clock_ns() + 1, vcpu_cpu_time_ns=clock_ns())
        return Sample(cpus=(cpu,), scheduler=SchedulerSample(), read_us=50.0, torn=1, retries=2)

    start_s = 0.0


class Freezer:
    """A coordinator that only knows whether the guest stands."""

    def __init__(self) -> None:
        self.frozen = False
        self.blind = ""
        self.asked: list[tuple[int, int]] = []
        self.polls = 0

    def frozen_between_ns(self, start_ns: int, end_ns: int) -> int:
        self.asked.append((start_ns, end_ns))
        return 0

    def poll(self) -> None:
        self.polls += 1


class TrioTime(HostTime):
    """One clock for all."""

    def now_ns(self) -> int:
        return clock_ns()


class Bench:
    """A sampler with everything fake around it."""

    def __init__(self, clock: MockClock, hz: float = 10.0) -> None:
        self.view = View(clock)
        self.freezer = Freezer()
        self.events: list[Event] = []
        self.sampler = Sampler(
            self.view,
            self.events.append,
            vcpu_times=lambda: {0: 7},
            freezer=self.freezer,
            monitor=Monitor(),
            hz=hz,
            time=TrioTime(),
        )

    async def run_for(self, seconds: float) -> None:
        self.view.start_s = trio.current_time()
        with trio.move_on_after(seconds):
            await self.sampler.run()

    def of(self, kind: type[_E]) -> list[_E]:
        return [event for event in self.events if isinstance(event, kind)]


async def test_samples_lie_on_a_grid_and_feed_the_monitor(autojump_clock: MockClock) -> None:
    bench = Bench(autojump_clock)
    await bench.run_for(0.55)
    assert bench.view.times == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert len(bench.of(Sampled)) == 6
    assert bench.view.given == {0: 7}
    assert [event.verdict for event in bench.of(HealthChanged)] == ["inconclusive", "ok"]
    assert bench.freezer.polls == 6
    statistics = bench.sampler.statistics()
    assert (statistics.samples, statistics.missed, statistics.torn, statistics.retries) == (6, 0, 6, 12)
    assert (statistics.last_read_us, statistics.max_read_us) == (50.0, 50.0)


async def test_slow_samples_do_not_shift_the_grid(autojump_clock: MockClock) -> None:
    bench = Bench(autojump_clock)
    bench.view.takes_s = [0.04] * 6
    await bench.run_for(0.55)
    assert bench.view.times == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert bench.sampler.statistics().missed == 0


async def test_missed_ticks_are_counted_and_never_bunched(autojump_clock: MockClock) -> None:
    bench = Bench(autojump_clock)
    bench.view.takes_s = [0.0, 0.35]
    await bench.run_for(0.75)
    assert bench.view.times == pytest.approx([0.0, 0.1, 0.5, 0.6, 0.7])
    assert bench.sampler.statistics().missed == 3


async def test_a_long_run_does_not_drift(autojump_clock: MockClock) -> None:
    bench = Bench(autojump_clock, hz=30.0)
    await bench.run_for(100.01)
    assert len(bench.view.times) == 3001
    assert bench.view.times[-1] == pytest.approx(100.0)
    assert bench.sampler.statistics().missed == 0


async def test_a_frozen_guest_is_not_sampled(autojump_clock: MockClock) -> None:
    bench = Bench(autojump_clock)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.run_for, 0.95)
        await trio.sleep(0.25)
        bench.freezer.frozen = True
        await trio.sleep(0.3)
        bench.freezer.frozen = False
    assert bench.view.times == pytest.approx([0.0, 0.1, 0.2, 0.6, 0.7, 0.8, 0.9])
    statistics = bench.sampler.statistics()
    assert (statistics.skipped_frozen, statistics.missed) == (3, 0)
    assert max(end - start for start, end in bench.freezer.asked) == pytest.approx(400_000_000, rel=0.001)


async def test_whoever_begins_to_look_at_a_frozen_guest_sees_it(autojump_clock: MockClock) -> None:
    bench = Bench(autojump_clock)
    bench.freezer.frozen = True
    bench.sampler.look()
    await bench.run_for(0.15)
    statistics = bench.sampler.statistics()
    assert (statistics.samples, statistics.skipped_frozen) == (1, 2)


async def test_while_the_host_does_not_run_the_guest_the_verdict_is_inconclusive(
    autojump_clock: MockClock,
) -> None:
    bench = Bench(autojump_clock)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.run_for, 0.95)
        await trio.sleep(0.25)
        bench.freezer.frozen, bench.freezer.blind = True, "QEMU is stopped"
        await trio.sleep(0.3)
        bench.freezer.frozen, bench.freezer.blind = False, ""
    verdicts = [(it.verdict, it.reasons) for it in bench.events if isinstance(it, HealthChanged)]
    first, ok, blind, again = verdicts
    assert (first[0], ok, again) == ("inconclusive", ("ok", ()), ("ok", ()))
    assert blind == ("inconclusive", ("QEMU is stopped",))
    assert len([it for it in bench.events if isinstance(it, Sampled)]) == 7


async def test_the_rate_can_be_changed_and_turned_off(autojump_clock: MockClock) -> None:
    bench = Bench(autojump_clock)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.run_for, 2.0)
        await trio.sleep(0.15)
        bench.sampler.set_hz(0)
        await trio.sleep(0.5)
        bench.sampler.set_hz(2)
    assert bench.view.times == pytest.approx([0.0, 0.1, 0.65, 1.15, 1.65])
    assert bench.sampler.hz == 2


@pytest.mark.parametrize("hz", [-1.0, 1001.0, float("nan"), float("inf")])
async def test_impossible_rates_are_refused(autojump_clock: MockClock, hz: float) -> None:
    with pytest.raises(UsageError):
        Bench(autojump_clock, hz)


async def test_failing_samples_are_published_as_unreadable_and_alert_when_they_last(
    autojump_clock: MockClock,
) -> None:
    bench = Bench(autojump_clock)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.run_for, 1.5)
        await wait_all_tasks_blocked()
        bench.view.error = LookupError("no page")
        await trio.sleep(0.1 * FAILURES_BEFORE_ALERT - 0.05)
        assert bench.of(AlertRaised) == []
        await trio.sleep(0.2)
        bench.view.error = None
    failed = bench.of(Sampled)[1].sample
    assert [cpu.unreadable for cpu in failed.cpus] == ["LookupError: no page"] * 2
    assert failed.scheduler.unreadable == "LookupError: no page"
    assert failed.cpus[0].nr_running is None
    assert [event.key for event in bench.of(AlertRaised)] == ["sampler"]
    assert [event.key for event in bench.of(AlertCleared)] == ["sampler"]
    assert bench.sampler.statistics().failed == 6
    assert bench.sampler.statistics().samples == 15


async def test_memory_that_can_be_read_now_and_then_is_one_alert(autojump_clock: MockClock) -> None:
    bench = Bench(autojump_clock)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.run_for, 20.0)
        await wait_all_tasks_blocked()
        for _ in range(10):
            bench.view.error = LookupError("no page")
            await trio.sleep(0.1 * (FAILURES_BEFORE_ALERT + 1))
            bench.view.error = None
            await trio.sleep(0.2)
        assert bench.of(AlertCleared) == []
    assert [event.key for event in bench.of(AlertRaised)] == ["sampler"]
    assert [event.key for event in bench.of(AlertCleared)] == ["sampler"]


def test_vcpu_times_of_this_very_thread_grow() -> None:
    times = VcpuTimes(os.getpid(), [os.getpid()])
    before = times()[0]
    while times()[0] == before:
        sum(range(10_000))
    assert times()[0] > before
    assert times.failures == 0


def test_vcpu_times_fall_back_to_clock_ticks(tmp_path: Path) -> None:
    task = tmp_path / "1" / "task" / "2"
    task.mkdir(parents=True)
    fields = ["S"] + ["0"] * 10 + ["300", "20"] + ["0"] * 30
    (task / "stat").write_text(f"2 (CPU 0) (evil) {' '.join(fields)}\n")
    assert VcpuTimes(1, [2], tmp_path)() == {0: 320 * 1_000_000_000 // os.sysconf("SC_CLK_TCK")}


def test_vcpu_times_leave_out_and_count_what_cannot_be_read(tmp_path: Path) -> None:
    task = tmp_path / "1" / "task" / "3"
    task.mkdir(parents=True)
    (task / "schedstat").write_text("123456789 5 6\n")
    times = VcpuTimes(1, [2, 3], tmp_path)
    assert times() == {1: 123456789}
    assert times.failures == 1


def test_a_shared_thread_is_evidence_for_no_vcpu(tmp_path: Path) -> None:
    for thread in (2, 3):
        task = tmp_path / "1" / "task" / str(thread)
        task.mkdir(parents=True)
        (task / "schedstat").write_text(f"{thread}000 5 6\n")
    times = VcpuTimes(1, [2, 3, 2], tmp_path)
    assert times() == {1: 3000}
    assert times.shared_ns() is None
    assert VcpuTimes(1, [2, 2], tmp_path)() == {}
    assert VcpuTimes(1, [2, 2], tmp_path).shared_ns() == 2000
    assert VcpuTimes(1, [2], tmp_path).shared_ns() is None
    assert times.failures == 0
