"""Alarms long before the watchdog: what goes wrong while the scheduler could still be saved, each with its cause.

Four conditions, each over an age that the kernel itself keeps, so that none depends on how often it is looked at:

- a task waits beside an idle CPU that it may use. Tasks in a local DSQ do not count: no other CPU takes them.
- a DSQ has tasks and no CPU takes one. ``dsq->seq`` counts what was ever put into it and ``dsq->nr`` what is in it, so
  their difference is what was ever taken out. As long as it stays the same nothing was taken, however much came.
- a task waits for longer than somebody wants.
- a kernel thread waits while rt or dl tasks run on all CPUs that it may use. These come before every scheduler's
  tasks, so it is not the scheduler that starves it. A CPU that ran an rt task at two looks, and switched at most once
  in between, ran nothing else meanwhile. Only threads of the class ext are seen: the kernel lists no others.

A busy host makes a guest slow, not its scheduler bad. So without a limit of somebody's own a condition must hold for
several looks in a row and for a third of the watchdog's timeout, which no healthy scheduler comes near.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from ktstr_tui.health.alerts import Alerts
from ktstr_tui.health.thresholds import Thresholds
from ktstr_tui.model.alarms import AlarmLimits
from ktstr_tui.model.events import AlertRaised, Event
from ktstr_tui.model.kinds import AlertKind
from ktstr_tui.model.sample import CpuSample, DsqSample, RunnableTask, SchedulerSample
from ktstr_tui.model.text import counted, runnable_for, task_name

IDLE_KEY = "idle-beside-queue"
DSQ_KEY = "dsq-not-served"
WAIT_KEY = "wait"
KTHREAD_KEY = "kthread-starved"
EARLY_KEYS = frozenset({IDLE_KEY, DSQ_KEY, WAIT_KEY, KTHREAD_KEY})
"""Keys of the alerts that are made here."""
_SEQ_MASK = (1 << 32) - 1
_NAMED_CPUS = 4
_ABOVE = ("rt", "dl")


class _Untaken(msgspec.Struct, frozen=True):
    # Since when nothing was taken out of a queue, and what had been put into it then.
    taken: int
    seq: int
    since_ns: int


class _Above(NamedTuple):
    # A CPU that runs rt or dl tasks: its switches at the last look, and since when it ran nothing else.
    switches: int
    since_ns: int


class EarlyAlarms:
    """Judges what waits. Pure: no clock, no I/O.

    Args:
        limits: How long each may last.
        thresholds: When something counts as bad.
        alerts: The standing alerts.
    """

    def __init__(self, limits: AlarmLimits, thresholds: Thresholds, alerts: Alerts) -> None:
        self._limits, self._thresholds, self._alerts = limits, thresholds, alerts
        self._given = {
            IDLE_KEY: limits.idle_ms,
            DSQ_KEY: limits.dsq_ms,
            WAIT_KEY: limits.wait_ms,
            KTHREAD_KEY: limits.kthread_ms,
        }
        self._untaken: dict[str, _Untaken] = {}
        self._above: dict[int, _Above] = {}

    def judge(
        self, scheduler: SchedulerSample, cpus: Sequence[CpuSample], up_ns: int, *, settled: bool
    ) -> Iterator[Event]:
        """Take one look in.

        Args:
            scheduler: Of the newest sample; one that can be read and is not leaving.
            cpus: Those that can be read.
            up_ns: For how long the guest has run.
            settled: Whether the scheduler had time to settle after it took over.
        """
        oldest = scheduler.oldest_runnable
        self._note_above(cpus, up_ns)
        found: dict[str, AlertRaised | None] = {
            IDLE_KEY: self._idle_beside(scheduler, oldest),
            DSQ_KEY: self._not_served(scheduler, cpus, up_ns),
            WAIT_KEY: self._waits(oldest),
            KTHREAD_KEY: self._starved(scheduler, cpus, up_ns),
        }
        if not settled:
            # Whoever gave a limit wants it from the first moment on.
            found |= {key: None for key in (DSQ_KEY, KTHREAD_KEY) if not self._given[key]}
        for key, alert in found.items():
            # Whoever gave a limit wants to hear of it soon; one look may be torn.
            looks = 2 if self._given[key] else self._thresholds.sustained
            yield from self._alerts.update(key, alert, raise_after=looks)

    def _limit_ms(self, given: float | None, timeout_ms: float | None) -> float | None:
        """How long something may last; None for ever."""
        if given is not None:
            return given or None
        return self._thresholds.idle_beside * timeout_ms if timeout_ms else None

    def _idle_beside(self, scheduler: SchedulerSample, oldest: RunnableTask | None) -> AlertRaised | None:
        limit_ms = self._limit_ms(self._limits.idle_ms, scheduler.oldest_timeout_ms)
        if oldest is None or limit_ms is None or oldest.age_ms < limit_ms:
            return None
        if not oldest.idle_cpus or (oldest.dsq or "").startswith("local"):
            return None
        who = runnable_for(oldest.comm, oldest.pid, oldest.age_ms)
        text = f"cpu {_listed(oldest.idle_cpus)} idle while {who} {oldest.place}, which it may run"
        return _alarm(IDLE_KEY, "imbalance", text, oldest.idle_cpus[0], oldest.pid)

    def _waits(self, oldest: RunnableTask | None) -> AlertRaised | None:
        limit_ms = self._limits.wait_ms
        if oldest is None or not limit_ms or oldest.age_ms < limit_ms:
            return None
        who = runnable_for(oldest.comm, oldest.pid, oldest.age_ms)
        beside = f", cpu {_listed(oldest.idle_cpus)} idle beside it" if oldest.idle_cpus else ""
        return _alarm(
            WAIT_KEY,
            "wait",
            f"{who} {oldest.place}: more than {limit_ms:g} ms{beside}",
            oldest.cpu,
            oldest.pid,
        )

    def _note_above(self, cpus: Sequence[CpuSample], up_ns: int) -> None:
        before, self._above = self._above, {}
        for cpu in cpus:
            if cpu.curr_class in _ABOVE and cpu.nr_switches is not None:
                known = before.get(cpu.cpu)
                lasts = known is not None and cpu.nr_switches - known.switches <= 1
                since_ns = known.since_ns if known is not None and lasts else up_ns
                self._above[cpu.cpu] = _Above(cpu.nr_switches, since_ns)

    def _starved(
        self, scheduler: SchedulerSample, cpus: Sequence[CpuSample], up_ns: int
    ) -> AlertRaised | None:
        limit_ms = self._limit_ms(self._limits.kthread_ms, scheduler.watchdog_timeout_ms)
        thread = scheduler.starved_kthread
        if thread is None or limit_ms is None or thread.age_ms < limit_ms:
            return None
        held = [self._above.get(cpu) for cpu in scheduler.starved_cpus]
        if any(it is None or (up_ns - it.since_ns) / 1e6 < limit_ms for it in held):
            return None
        above = next((it for it in cpus if it.cpu == thread.cpu), None)
        what = (
            ""
            if above is None
            else f": {task_name(above.curr_comm, above.curr_pid)} ({above.curr_class}) runs"
        )
        who = runnable_for(thread.comm, thread.pid, thread.age_ms)
        return _alarm(
            KTHREAD_KEY,
            "starved",
            f"kernel thread {who} on cpu {thread.cpu}{what} there",
            thread.cpu,
            thread.pid,
        )

    def _not_served(
        self, scheduler: SchedulerSample, cpus: Sequence[CpuSample], up_ns: int
    ) -> AlertRaised | None:
        limit_ms = self._limit_ms(self._limits.dsq_ms, scheduler.watchdog_timeout_ms)
        waiting = self._note_taken(scheduler, up_ns)
        if limit_ms is None or not waiting:
            return None
        dsq, since = min(waiting, key=lambda it: it[1].since_ns)
        ms = (up_ns - since.since_ns) / 1e6
        if ms < limit_ms:
            return None
        came = ((dsq.seq or 0) - since.seq) & _SEQ_MASK
        others = sum((up_ns - it.since_ns) / 1e6 >= limit_ms for _, it in waiting) - 1
        text = f"DSQ {dsq.label} holds {counted(dsq.nr, 'task')} and no CPU took one for {ms / 1000:.1f} s"
        text += f" ({came} came meanwhile)" if came else ""
        text += f", nor from {counted(others, 'other')}" if others else ""
        text += f"; {_doing(cpus)}"
        oldest = scheduler.oldest_runnable
        if oldest is not None and oldest.dsq == dsq.label:
            text += f"; {runnable_for(oldest.comm, oldest.pid, oldest.age_ms)} in it"
        return _alarm(DSQ_KEY, "dsq", text, None, None)

    def _note_taken(self, scheduler: SchedulerSample, up_ns: int) -> list[tuple[DsqSample, _Untaken]]:
        """The queues that have tasks, with since when nothing was taken; none while the kernel bypasses them."""
        if scheduler.name is None or scheduler.bypass_depth or scheduler.state != "enabled":
            self._untaken.clear()
            return []
        before, self._untaken = self._untaken, {}
        found = []
        for dsq in scheduler.dsqs:
            if not dsq.nr or dsq.seq is None:
                continue
            taken = (dsq.seq - dsq.nr) & _SEQ_MASK
            known = before.get(dsq.label)
            if known is None or known.taken != taken:
                known = _Untaken(taken, dsq.seq, up_ns)
            self._untaken[dsq.label] = known
            found.append((dsq, known))
        return found


def _alarm(key: str, kind: AlertKind, text: str, cpu: int | None, pid: int | None) -> AlertRaised:
    return AlertRaised(key=key, kind=kind, severity="warning", text=text, cpu=cpu, pid=pid)


def _doing(cpus: Sequence[CpuSample]) -> str:
    """What the CPUs do instead: those that idle, or else what they run."""
    idle = tuple(it.cpu for it in cpus if it.idle)
    if idle:
        return f"cpu {_listed(idle)} idle"
    busy = [f"cpu {it.cpu} runs {task_name(it.curr_comm, it.curr_pid)} ({it.curr_class})" for it in cpus]
    more = f" and {len(busy) - _NAMED_CPUS} more" if len(busy) > _NAMED_CPUS else ""
    return ", ".join(busy[:_NAMED_CPUS]) + more


def _listed(cpus: Sequence[int]) -> str:
    return ", ".join(map(str, cpus))
