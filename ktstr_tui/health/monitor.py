"""Judging the guest's health from its samples: stalls, imbalance, deep queues, tasks that wait too long.

The stall rule is the delicate one. A CPU whose ``rq->clock`` stands although something is to run on it
is stuck, unless its vCPU thread did not run either: then the host is busy and the guest is innocent. So
the clock has to stand while the thread used at least ten ticks' worth of host CPU time. The proof may
span several samples (at high rates one period is less than ten ticks), counted from the first sample
that showed this clock. Frozen time needs no special care in this rule, since a frozen vCPU uses no CPU
time, but is taken out of all rates. Where one thread emulates all vCPUs in turn, a vCPU that has work gets at least an
even share of what the thread used, since every interrupt passes the turn on; that share, less one turn, is the proof.

What a healthy scheduler does on a busy host is no alert. A vCPU whose host is busy is late with its ticks, so a stall
needs a fifth of a second of its own host CPU time beside the ten ticks. ``SCX_EV_DISPATCH_KEEP_LAST`` counts how often
a CPU went on with the task that it had, as it should when nobody else waits: its rate means something only while a task
waits. And queues are uneven for a moment after a scheduler took over.

Nothing is said on one bad look: what may flicker has to hold for several samples before it is an alert, and
to be gone for several before it is cleared. Without data there is no verdict but *inconclusive*.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from ktstr_tui.health.alerts import Alerts
from ktstr_tui.health.early_alarms import EarlyAlarms
from ktstr_tui.health.thresholds import Thresholds
from ktstr_tui.model.alarms import AlarmLimits
from ktstr_tui.model.events import AlertRaised, Event, HealthChanged, Severity, Verdict
from ktstr_tui.model.sample import CpuSample, RunnableTask, Sample, SchedulerSample
from ktstr_tui.model.text import runnable_for

TURN_NS = 100_000_000
"""The longest turn of a vCPU on the thread of all; see QEMU's ``rr_start_kick_timer``."""
AGE_KEY = "runnable-age"
IMBALANCE_KEY = "imbalance"
FALLBACK_KEY = "fallback-rate"
KEEP_LAST_KEY = "keep-last-rate"
_FALLBACK = "SELECT_CPU_FALLBACK"
_KEEP_LAST = "DISPATCH_KEEP_LAST"


class MonitorStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of the monitor."""

    judged: int
    discarded: dict[str, int]
    """Samples that were not judged, by reason."""
    stalls: int
    """Stalls found, one for each time a CPU began to stand."""


class _Standing(msgspec.Struct, frozen=True):
    # Since when a CPU's clock shows the same.
    clock_ns: int
    thread_ns: int | None
    since_ns: int


class _Counters(msgspec.Struct, frozen=True):
    # Event counters at a moment; another scheduler counts from the start.
    identity: tuple[str | None, int | None]
    values: dict[str, int]
    at_ns: int


class Monitor:
    """Turns samples into a verdict and alerts. Pure: no clock, no I/O.

    Args:
        hz: The guest's tick rate.
        thresholds: When something counts as bad.
        alarms: How long something may last before it is an early alarm.
    """

    def __init__(
        self, hz: int = 250, thresholds: Thresholds | None = None, alarms: AlarmLimits | None = None
    ) -> None:
        self.verdict: Verdict = "inconclusive"
        self._limits = thresholds or Thresholds()
        self._stall_ns = max(
            self._limits.stall_ticks * 1_000_000_000 // hz, int(self._limits.stall_cpu_ms * 1_000_000)
        )
        self._scheduler_since: tuple[object, int] = (None, 0)
        self._uneven_since_ns: int | None = None
        self._alerts = Alerts(clear_after=self._limits.sustained)
        self._early = EarlyAlarms(alarms or AlarmLimits(), self._limits, self._alerts)
        self._standing: dict[int, _Standing] = {}
        self._stalled: set[int] = set()
        self._counters: _Counters | None = None
        self._guest_up_ns = 0
        self._last_ns: int | None = None
        self._said: object = None
        self._judged = self._stalls = self._bad_in_a_row = 0
        self._discarded: dict[str, int] = {}
        self._blind_in_a_row = 0
        self._has_seen_times = False

    def observe(self, sample: Sample, mono_ns: int, frozen_ns: int = 0) -> list[Event]:
        """Judge one more sample.

        Args:
            sample: The newest sample.
            mono_ns: Host monotonic clock when it was taken.
            frozen_ns: How long the guest stood still since the sample before.

        Returns:
            Alerts raised and cleared, and the verdict if it changed.
        """
        if self._last_ns is not None:
            self._guest_up_ns += max(0, mono_ns - self._last_ns - frozen_ns)
        self._last_ns = mono_ns
        reason = self._unusable(sample)
        if reason is not None:
            self._discarded[reason] = self._discarded.get(reason, 0) + 1
            self._bad_in_a_row += 1
            return list(self._judge(reason))
        self._bad_in_a_row = 0
        self._judged += 1
        self._alerts.now_ns = mono_ns
        self._note_scheduler(sample.scheduler)
        events = [*self._cpus(sample), *self._queues(sample), *self._early_alarms(sample)]
        return [*events, *self._scheduler(sample.scheduler), *self._judge("")]

    def lose_sight(self, reason: str) -> list[Event]:
        """Say that the guest cannot be judged now, until the next sample that can be.

        Args:
            reason: Why.

        Returns:
            The verdict if it changed.
        """
        self._bad_in_a_row = self._limits.sustained
        return list(self._judge(reason))

    def drops(self) -> dict[str, int]:
        """Return the samples that were not judged, by reason."""
        return {f"not-judged: {reason}": count for reason, count in self._discarded.items()}

    def statistics(self) -> MonitorStatistics:
        """Counters so far."""
        return MonitorStatistics(judged=self._judged, discarded=dict(self._discarded), stalls=self._stalls)

    def _unusable(self, sample: Sample) -> str | None:
        readable = [cpu for cpu in sample.cpus if cpu.unreadable is None]
        if not readable:
            return "no CPU could be read"
        if any((cpu.local_dsq_nr or 0) > self._limits.plausible_nr for cpu in readable):
            return "a local DSQ is implausibly deep"
        return None

    # -- stalls ----------------------------------------------------------------------------------------

    def _cpus(self, sample: Sample) -> Iterator[Event]:
        used = {cpu.cpu: _used_ns(cpu, sample) for cpu in sample.cpus}
        blind = all(time is None for time in used.values())
        self._blind_in_a_row = self._blind_in_a_row + 1 if blind else 0
        for cpu in sample.cpus:
            alert = self._stall(cpu, used[cpu.cpu])
            if alert is not None and cpu.cpu not in self._stalled:
                self._stalls += 1
                self._stalled.add(cpu.cpu)
            elif alert is None:
                self._stalled.discard(cpu.cpu)
            yield from self._alerts.update(f"stall-cpu-{cpu.cpu}", alert)

    def _stall(self, cpu: CpuSample, used_ns: int | None) -> AlertRaised | None:
        busy = cpu.unreadable is None and bool(cpu.nr_running) and cpu.idle is not True
        if not busy or not cpu.rq_clock_ns:
            self._standing.pop(cpu.cpu, None)
            return None
        before = self._standing.get(cpu.cpu)
        if before is None or before.clock_ns != cpu.rq_clock_ns or before.thread_ns is None:
            self._standing[cpu.cpu] = _Standing(cpu.rq_clock_ns, used_ns, self._guest_up_ns)
            return None
        enough_ns = self._stall_ns + (TURN_NS if cpu.vcpu_cpu_time_ns is None else 0)
        if used_ns is None or used_ns - before.thread_ns < enough_ns:
            return None
        stood_s = (self._guest_up_ns - before.since_ns) / 1e9
        used_s = (used_ns - before.thread_ns) / 1e9
        curr = f", curr {cpu.curr_comm}[{cpu.curr_pid}]" if cpu.curr_pid is not None else ""
        text = f"cpu {cpu.cpu}: rq->clock has not advanced for {stood_s:.1f} s while its vCPU ran {used_s:.1f} s{curr}"
        return AlertRaised(
            key=f"stall-cpu-{cpu.cpu}",
            kind="stall",
            severity="error",
            text=text,
            cpu=cpu.cpu,
            pid=cpu.curr_pid,
        )

    # -- queues ----------------------------------------------------------------------------------------

    def _queues(self, sample: Sample) -> Iterator[Event]:
        readable = [cpu for cpu in sample.cpus if cpu.unreadable is None]
        sustained = self._limits.sustained
        uneven = self._lasting(self._imbalance(readable))
        yield from self._alerts.update(IMBALANCE_KEY, uneven, raise_after=sustained)
        for cpu in readable:
            depth = cpu.local_dsq_nr
            if depth is None:
                continue
            key = f"local-dsq-cpu-{cpu.cpu}"
            alert = None
            if depth > self._limits.local_dsq_depth:
                text = (
                    f"cpu {cpu.cpu}: local_dsq holds {depth} tasks (more than {self._limits.local_dsq_depth})"
                )
                alert = AlertRaised(key=key, kind="local-dsq", severity="warning", text=text, cpu=cpu.cpu)
            yield from self._alerts.update(key, alert, raise_after=sustained)

    def _early_alarms(self, sample: Sample) -> Iterator[Event]:
        if sample.scheduler.unreadable is None and not _leaves(sample.scheduler):
            cpus = [cpu for cpu in sample.cpus if cpu.unreadable is None]
            settled = self._guest_up_ns - self._scheduler_since[1] >= int(self._limits.settle_ms * 1_000_000)
            yield from self._early.judge(sample.scheduler, cpus, self._guest_up_ns, settled=settled)

    def _note_scheduler(self, scheduler: SchedulerSample) -> None:
        identity = (scheduler.name, scheduler.enable_seq)
        if identity != self._scheduler_since[0]:
            self._scheduler_since = (identity, self._guest_up_ns)

    def _lasting(self, uneven: AlertRaised | None) -> AlertRaised | None:
        """Keep back what has not lasted, or follows on a change of the scheduler."""
        settle_ns = int(self._limits.settle_ms * 1_000_000)
        if uneven is None or self._guest_up_ns - self._scheduler_since[1] < settle_ns:
            self._uneven_since_ns = None
            return None
        if self._uneven_since_ns is None:
            self._uneven_since_ns = self._guest_up_ns
        return uneven if self._guest_up_ns - self._uneven_since_ns >= settle_ns else None

    def _waits(self, scheduler: SchedulerSample) -> RunnableTask | None:
        """Return the task that has waited for long enough to matter, if there is one."""
        oldest, timeout_ms = scheduler.oldest_runnable, scheduler.oldest_timeout_ms
        if scheduler.unreadable is not None or oldest is None or not timeout_ms:
            return None
        return oldest if oldest.age_ms >= self._limits.waiting * timeout_ms else None

    def _imbalance(self, cpus: Iterable[CpuSample]) -> AlertRaised | None:
        counts = {cpu.cpu: cpu.nr_running for cpu in cpus if cpu.nr_running is not None}
        if len(counts) < 2:
            return None
        most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        ratio = counts[most] / max(1, counts[least])
        if ratio <= self._limits.imbalance:
            return None
        text = (
            f"imbalance {ratio:.1f}: nr_running {counts[most]} on cpu {most}, {counts[least]} on cpu {least}"
        )
        return AlertRaised(key=IMBALANCE_KEY, kind="imbalance", severity="warning", text=text, cpu=most)

    # -- the scheduler ---------------------------------------------------------------------------------

    def _scheduler(self, scheduler: SchedulerSample) -> Iterator[Event]:
        if scheduler.unreadable is not None or _leaves(scheduler):
            return
        oldest, window_ms = scheduler.oldest_runnable, scheduler.ejection_window_ms
        age = None
        if scheduler.name is not None and oldest is not None and window_ms is not None:
            age = self._age(oldest, *window_ms)
        yield from self._alerts.update(AGE_KEY, age, clear_at_once=scheduler.name is None)
        rates = self._rates(scheduler)
        limits = self._limits
        for key, counter, limit in (
            (FALLBACK_KEY, _FALLBACK, limits.fallback_per_s),
            (KEEP_LAST_KEY, _KEEP_LAST, limits.keep_last_per_s),
        ):
            rate = rates.get(counter)
            if rate is None and scheduler.name is not None:
                continue
            alert = None
            waits = self._waits(scheduler)
            if rate is not None and rate > limit and (key != KEEP_LAST_KEY or waits is not None):
                beside = (
                    "" if waits is None else f" while {runnable_for(waits.comm, waits.pid, waits.age_ms)}"
                )
                text = f"SCX_EV_{counter} {rate:.0f} /s (more than {limit:.0f}){beside}"
                alert = AlertRaised(key=key, kind="event-rate", severity="warning", text=text)
            yield from self._alerts.update(key, alert, raise_after=limits.sustained)

    def _age(self, oldest: RunnableTask, timeout_ms: float, latest_ms: float) -> AlertRaised | None:
        limits = self._limits
        standing = self._alerts.severity(AGE_KEY)
        share = oldest.age_ms / timeout_ms
        error_from = limits.age_error - (limits.age_hysteresis if standing == "error" else 0.0)
        warning_from = limits.age_warning - (limits.age_hysteresis if standing is not None else 0.0)
        if share < warning_from:
            return None
        who = runnable_for(oldest.comm, oldest.pid, oldest.age_ms)
        limit = f"{timeout_ms / 1000:.1f} s watchdog timeout"
        within = f"the watchdog looks every {(latest_ms - timeout_ms) / 1000:.1f} s"
        text = (
            f"{who} of {limit}, {oldest.place}"
            if share < 1
            else f"{who}, past the {limit} ({within}), {oldest.place}"
        )
        severity: Severity = "error" if share >= error_from else "warning"
        return AlertRaised(
            key=AGE_KEY,
            kind="runnable-age",
            severity=severity,
            text=text,
            cpu=oldest.cpu,
            pid=oldest.pid,
        )

    def _rates(self, scheduler: SchedulerSample) -> dict[str, float]:
        before = self._counters
        if scheduler.event_counters is None:
            self._counters = None
            return {}
        values = {name.removeprefix("SCX_EV_"): count for name, count in scheduler.event_counters.items()}
        identity = (scheduler.name, scheduler.enable_seq)
        self._counters = _Counters(identity, values, self._guest_up_ns)
        if before is None or before.identity != identity or self._guest_up_ns <= before.at_ns:
            return {}
        seconds = (self._guest_up_ns - before.at_ns) / 1e9
        return {
            name: max(0, count - before.values[name]) / seconds
            for name, count in values.items()
            if name in before.values
        }

    # -- the verdict -----------------------------------------------------------------------------------

    def _is_blind(self) -> bool:
        """Whether no host CPU time is known: from the beginning, or for several samples (not as a machine ends)."""
        self._has_seen_times = self._has_seen_times or self._blind_in_a_row == 0
        return self._blind_in_a_row >= (self._limits.sustained if self._has_seen_times else 1)

    def _judge(self, unusable: str) -> Iterator[Event]:
        standing = self._alerts.standing
        reasons = tuple(alert.text for alert in sorted(standing.values(), key=_urgency))
        if self._judged < 2 or self._bad_in_a_row >= self._limits.sustained:
            verdict: Verdict = "inconclusive"
            reasons = (unusable or "too few samples yet",)
        elif any(alert.severity == "error" for alert in standing.values()):
            verdict = "stalled"
        elif standing:
            verdict = "degraded"
        elif self._is_blind():
            verdict = "inconclusive"
            reasons = ("no vCPU's host CPU time is known, so stalls cannot be detected",)
        else:
            verdict = "ok"
        keys = frozenset((key, alert.severity) for key, alert in standing.items())
        said = (verdict, keys, reasons if verdict == "inconclusive" else ())
        if said != self._said:
            self._said = said
            self.verdict = verdict
            yield HealthChanged(verdict=verdict, reasons=reasons)


def _leaves(scheduler: SchedulerSample) -> bool:
    """Whether the kernel is taking a scheduler away: what waits now waits for the kernel, and shows nothing of it."""
    return bool(scheduler.exit_kind) or scheduler.state == "disabling"


def _used_ns(cpu: CpuSample, sample: Sample) -> int | None:
    """Host CPU time so far of a vCPU that always had work: of its own thread, or its share of the one of all."""
    if cpu.vcpu_cpu_time_ns is None and sample.shared_cpu_time_ns is not None:
        return sample.shared_cpu_time_ns // len(sample.cpus)
    return cpu.vcpu_cpu_time_ns


_URGENCY = {"runnable-age": 0, "stall": 1, "dsq": 3, "wait": 3}
"""By kind; 2 for others."""


def _urgency(alert: AlertRaised) -> tuple[bool, int]:
    """Order alerts by what ends the run first: errors, of these the task that the watchdog will find."""
    return alert.severity != "error", _URGENCY.get(alert.kind, 2)
