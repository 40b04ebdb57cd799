"""A monitor that is fed samples of the test's making."""

from collections.abc import Iterable
from typing import TypeVar

from ktstr_tui.health.monitor import Monitor
from ktstr_tui.health.thresholds import Thresholds
from ktstr_tui.model.events import AlertCleared, AlertRaised, Event, HealthChanged
from ktstr_tui.model.sample import CpuSample, RunnableTask, Sample, SchedulerSample

MS = 1_000_000
PERIOD_NS = 100 * MS
AT_ONCE = Thresholds(stall_cpu_ms=0, settle_ms=0)
"""The ten ticks of host CPU time alone, and no time for queues to settle."""
_E = TypeVar("_E")


def cpu(
    number: int = 0,
    *,
    clock: int | None = 1,
    nr: int | None = 1,
    thread_ms: float | None = 0,
    idle: bool = False,
    local: int = 0,
    unreadable: str | None = None,
) -> CpuSample:
    return CpuSample(
        cpu=number,
        curr_pid=201,
        curr_comm="spin-0",
        nr_running=nr,
        rq_clock_ns=clock,
        idle=idle,
        local_dsq_nr=local,
        vcpu_cpu_time_ns=None if thread_ms is None else int(thread_ms * MS),
        unreadable=unreadable,
    )


def sample(*cpus: CpuSample, scheduler: SchedulerSample | None = None) -> Sample:
    return Sample(cpus=cpus, scheduler=scheduler or SchedulerSample())


def loaded(
    age_ms: float | None = None,
    *,
    dsq: str | None = "0x7",
    pid: int = 201,
    counters: dict[str, int] | None = None,
    seq: int = 1,
) -> SchedulerSample:
    oldest = None if age_ms is None else RunnableTask(pid=pid, comm="spin-0", age_ms=age_ms, cpu=0, dsq=dsq)
    return SchedulerSample(
        name="stall",
        enable_seq=seq,
        watchdog_timeout_ms=3000.0,
        oldest_runnable=oldest,
        event_counters=counters,
    )


class Feed:
    """Feeds a monitor at 10 Hz and keeps what it says; at once, unless the thresholds say otherwise."""

    def __init__(self, hz: int = 250, thresholds: Thresholds = AT_ONCE) -> None:
        self.monitor = Monitor(hz, thresholds)
        self.now_ns = 0
        self.events: list[Event] = []

    def __call__(self, one: Sample, frozen_ns: int = 0, period_ns: int = PERIOD_NS) -> list[Event]:
        self.now_ns += period_ns
        events = self.monitor.observe(one, self.now_ns, frozen_ns)
        self.events += events
        return events

    def healthy(self, times: int = 3) -> None:
        for _ in range(times):
            self(sample(cpu(clock=self.now_ns + 1, thread_ms=self.now_ns / MS)))

    def of(self, kind: type[_E]) -> list[_E]:
        return [event for event in self.events if isinstance(event, kind)]

    def verdicts(self) -> list[str]:
        return [event.verdict for event in self.of(HealthChanged)]

    def keys(self) -> list[str]:
        return [f"{'+' if isinstance(event, AlertRaised) else '-'}{event.key}" for event in self.alerts()]

    def alerts(self) -> Iterable[AlertRaised | AlertCleared]:
        return [event for event in self.events if isinstance(event, AlertRaised | AlertCleared)]
