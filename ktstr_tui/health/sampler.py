"""Looks at the running guest at a steady rate.

Deadlines lie on a fixed grid counted from the start, so the rate does not drift by the time a sample takes.
A tick whose time has passed is counted as missed and skipped; samples never come in a bunch. A frozen guest
is not sampled (its last sample still holds), and its ticks are counted apart. A sample that fails is
published as unreadable with the reason: no failure ends the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec
import trio

from ktstr_tui.guest.guest_time import HostTime, RunTime, sleep_or
from ktstr_tui.health.monitor import Monitor
from ktstr_tui.health.vcpu_times import SampledView
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.events import AlertCleared, AlertRaised, Event, Sampled
from ktstr_tui.model.sample import CpuSample, Sample, SchedulerSample

DEFAULT_HZ = 10.0
MAX_HZ = 1000.0
FAILURES_BEFORE_ALERT = 5
ALERT_KEY = "sampler"


class Freezer(Protocol):
    """Knows when the guest is frozen."""

    @property
    def frozen(self) -> bool:
        """Whether it stands now."""
        ...

    def frozen_between_ns(self, start_ns: int, end_ns: int) -> int:
        """How long it stood within a stretch of the run's time."""
        ...

    def poll(self) -> None:
        """Look for what no watchpoint told."""
        ...


class Observability(Freezer, Protocol):
    """Knows when the guest cannot be observed live, and whether that is the host's doing."""

    @property
    def blind(self) -> str:
        """Why nothing can be said of the guest now; empty while it runs, and while a person froze it."""
        ...


class SamplerStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of the sampler."""

    samples: int
    """Samples published, failed ones included."""
    missed: int
    """Ticks skipped because their time had passed."""
    skipped_frozen: int
    """Ticks at which the guest stood still."""
    failed: int
    torn: int
    retries: int
    last_read_us: float | None
    max_read_us: float | None


class Sampler:
    """Samples a guest until cancelled.

    Args:
        view: Typed kernel memory.
        emit: Takes events, on the trio thread.
        vcpu_times: Host CPU time of each vCPU's thread, in nanoseconds.
        freezer: Knows when a sample would not be live.
        monitor: Judges the samples; None judges none.
        hz: Samples in a second; 0 takes none.
        time: The run's.

    Raises:
        UsageError: The rate is negative or above `MAX_HZ`.
    """

    def __init__(
        self,
        view: SampledView,
        emit: Callable[[Event], object],
        *,
        vcpu_times: Callable[[], Mapping[int, int]],
        freezer: Observability,
        monitor: Monitor | None = None,
        hz: float = DEFAULT_HZ,
        time: RunTime | None = None,
    ) -> None:
        self._view = view
        self._time = HostTime() if time is None else time
        self._emit = emit
        self._vcpu_times = vcpu_times
        self._freezer = freezer
        self._monitor = monitor
        self._hz = _checked(hz)
        self._changed = trio.Event()
        self._last_ns: int | None = None
        self._samples = self._missed = self._skipped_frozen = self._failed = 0
        self._failed_in_a_row = self._read_in_a_row = 0
        self._alerted = False
        self._torn = self._retries = 0
        self._last_read_us: float | None = None
        self._max_read_us: float | None = None

    @property
    def hz(self) -> float:
        """Samples in a second."""
        return self._hz

    def set_hz(self, hz: float) -> None:
        """Change the rate; a new grid starts now. Raises as the constructor does."""
        self._hz = _checked(hz)
        self._changed.set()

    def look(self) -> None:
        """Take one sample now, also of a guest that is frozen: there is none yet of what it was like before."""
        self._take()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Sample until cancelled."""
        task_status.started()
        while True:
            self._changed = trio.Event()
            if self._hz == 0:
                await self._changed.wait()
            else:
                await self._run_grid(1 / self._hz)

    async def _run_grid(self, period_s: float) -> None:
        start_s, tick = self._time.now_s(), 0
        while True:
            left_s = start_s + tick * period_s - self._time.now_s()
            await sleep_or(self._changed, self._time.sleep, max(0.0, left_s))
            if self._changed.is_set():
                return
            self._tick()
            # A hair is added because the grid point itself may come out a rounding error early.
            passed = int((self._time.now_s() - start_s) / period_s + 1e-6)
            self._missed += passed - tick
            tick = passed + 1

    def _tick(self) -> None:
        if self._freezer.frozen:
            self._skipped_frozen += 1
            self._lose_sight()
            return
        self._take()

    def _take(self) -> None:
        now_ns = self._time.now_ns()
        frozen_ns = 0 if self._last_ns is None else self._freezer.frozen_between_ns(self._last_ns, now_ns)
        self._last_ns = now_ns
        sample = self._sample()
        self._samples += 1
        self._emit(Sampled(sample=sample))
        if self._monitor is not None:
            for event in self._monitor.observe(sample, now_ns, frozen_ns):
                self._emit(event)
        self._freezer.poll()

    def _lose_sight(self) -> None:
        blind = self._freezer.blind
        if blind and self._monitor is not None:
            for event in self._monitor.lose_sight(blind):
                self._emit(event)

    def _sample(self) -> Sample:
        try:
            sample = self._view.sample(self._vcpu_times())
        except Exception as error:
            return self._unreadable(f"{type(error).__name__}: {error}")
        self._failed_in_a_row = 0
        self._read_in_a_row += 1
        if self._alerted and self._read_in_a_row >= FAILURES_BEFORE_ALERT:
            self._alerted = False
            self._emit(AlertCleared(key=ALERT_KEY, kind="sampler"))
        self._torn += sample.torn
        self._retries += sample.retries
        self._last_read_us = sample.read_us
        self._max_read_us = max(self._max_read_us or 0.0, sample.read_us)
        return sample

    def _unreadable(self, reason: str) -> Sample:
        self._failed += 1
        self._failed_in_a_row += 1
        self._read_in_a_row = 0
        if self._failed_in_a_row == FAILURES_BEFORE_ALERT and not self._alerted:
            self._alerted = True
            text = f"the guest's memory cannot be sampled: {reason}"
            self._emit(AlertRaised(key=ALERT_KEY, kind="sampler", severity="error", text=text))
        cpus = tuple(CpuSample(cpu=cpu, unreadable=reason) for cpu in range(self._view.nr_cpus))
        return Sample(cpus=cpus, scheduler=SchedulerSample(unreadable=reason))

    def drops(self) -> dict[str, int]:
        """Return the samples that are unreadable or not judged, by reason."""
        judged = self._monitor.drops() if self._monitor is not None else {}
        return {"failed": self._failed, **judged}

    def statistics(self) -> SamplerStatistics:
        """Counters so far."""
        return SamplerStatistics(
            samples=self._samples,
            missed=self._missed,
            skipped_frozen=self._skipped_frozen,
            failed=self._failed,
            torn=self._torn,
            retries=self._retries,
            last_read_us=self._last_read_us,
            max_read_us=self._max_read_us,
        )


def _checked(hz: float) -> float:
    if not 0 <= hz <= MAX_HZ:
        raise UsageError(f"a sample rate of {hz:g} Hz is not possible", f"use 0 (off) to {MAX_HZ:g}")
    return hz
