"""Counting what tasks and CPUs do in plain Python: the specification to read, and the oracle of the counting in C.

Same interface as `ktstr_tui.history.counted`, but for the events, which are values here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from ktstr_tui.history.counted import MAX_KNOWN, MAX_TASKS
from ktstr_tui.kernel.trace.decode import KINDS, RECORD
from ktstr_tui.kernel.trace.events import Kind, is_runnable
from ktstr_tui.model.rates import BOUNDS_MS, CpuRate, TaskRate, TaskRates, Waits

_U64_MAX: Final = (1 << 64) - 1


class Seen(NamedTuple):
    """One event, as the numbers of ``struct ktt_event``."""

    time_ns: int
    cpu: int
    kind: Kind
    pid: int
    prev_pid: int
    number: int
    """``prev_state``."""
    prio: int


def packed(events: Iterable[Seen]) -> bytes:
    """Return them as an array of ``struct ktt_event``."""
    return b"".join(
        RECORD.pack(
            it.time_ns,
            0,
            0,
            0,
            it.cpu,
            0,
            KINDS.index(it.kind) + 1,
            it.pid,
            it.prev_pid,
            it.number,
            0,
            0,
            it.prio,
            0,
        )
        for it in events
    )


class _Task:
    __slots__ = (
        "cpu",
        "exits",
        "migrations",
        "preempted",
        "prio",
        "ran_ns",
        "since_ns",
        "sleeps",
        "switches",
        "waited_ms",
        "wakeups",
    )

    def __init__(self, cpu: int) -> None:
        self.cpu = cpu
        self.prio: int | None = None
        self.since_ns: int | None = None
        """Since when it waits; None when it does not, or nobody knows."""
        self.sleeps = self.exits = False
        self.begin()

    def begin(self) -> None:
        """Begin a stretch."""
        self.ran_ns = self.switches = self.preempted = self.migrations = self.wakeups = 0
        self.waited_ms: list[float] = []

    def waits_for(self, now_ns: int) -> int:
        """Nanoseconds; 0 when it does not wait."""
        return 0 if self.since_ns is None else max(0, now_ns - self.since_ns)


class PyCounts:
    """What is known of all tasks and CPUs.

    Args:
        nr_cpus: How many there are.
    """

    def __init__(self, nr_cpus: int) -> None:
        self._tasks: dict[int, _Task] = {}
        self._on_cpu: list[int | None] = [None] * nr_cpus
        self._on_since_ns = [0] * nr_cpus
        self._buckets = [0] * (len(BOUNDS_MS) + 1)
        self._begin_ns: int | None = None
        self._begin()

    def _begin(self) -> None:
        self._touched: dict[int, _Task] = {}
        self._busy_ns = [0] * len(self._on_cpu)
        self._idle_ns = [0] * len(self._on_cpu)
        self._switches = [0] * len(self._on_cpu)
        self._preempted = [0] * len(self._on_cpu)
        self._events = self._kicks = self._left_out = 0
        self._lost_ms: list[float] = []

    def forget(self, cpu: int) -> None:
        """Something of a CPU was lost: who runs there is not known until it switches again."""
        self._on_cpu[cpu] = None

    def forget_waits(self) -> None:
        """Something was lost: that a task waits still is not known."""
        for task in self._tasks.values():
            task.since_ns = None

    def add(self, events: Iterable[Seen]) -> None:
        """Count events, in order of time."""
        for event in events:
            self._events += 1
            if self._begin_ns is None:
                self._begin_ns = event.time_ns
            match event.kind:
                case "switch":
                    self._switch(event)
                case "wakeup" | "new":
                    self._wakeup(event)
                case "migrate":
                    self._task(event.pid, event.cpu).migrations += 1
                case "kick":
                    self._kicks += 1
                case "exit" if event.pid in self._tasks:
                    self._tasks[event.pid].exits = True

    def _task(self, pid: int, cpu: int) -> _Task:
        task = self._tasks.get(pid)
        if task is None:
            if len(self._tasks) >= MAX_KNOWN:
                self._left_out += len(self._touched)
                self._lost_ms += [ms for it in self._touched.values() for ms in it.waited_ms]
                self._tasks.clear()
                self._touched.clear()
            task = self._tasks[pid] = _Task(cpu)
        self._touched[pid] = task
        return task

    def _switch(self, event: Seen) -> None:
        cpu, now = event.cpu, event.time_ns
        self._switches[cpu] += 1
        self._charge(cpu, now, event.prev_pid)
        if event.prev_pid:
            prev = self._task(event.prev_pid, cpu)
            prev.cpu = cpu
            prev.sleeps = not is_runnable(event.number)
            prev.since_ns = None if prev.sleeps else now
            prev.preempted += not prev.sleeps
            self._preempted[cpu] += not prev.sleeps
        self._on_cpu[cpu], self._on_since_ns[cpu] = event.pid, now
        if not event.pid:
            return
        task = self._task(event.pid, cpu)
        task.cpu, task.prio, task.sleeps = cpu, event.prio, False
        task.switches += 1
        if task.since_ns is not None:
            waited_ms = max(0, now - task.since_ns) / 1e6
            task.waited_ms.append(waited_ms)
            self._buckets[bucket_of(waited_ms)] += 1
            task.since_ns = None

    def _charge(self, cpu: int, now: int, pid: int) -> None:
        """Give the time since the last switch to whoever had the CPU, if that is known."""
        if self._on_cpu[cpu] != pid:
            return
        ns = max(0, now - max(self._on_since_ns[cpu], self._begin_ns or 0))
        if pid:
            task = self._task(pid, cpu)
            task.ran_ns = min(_U64_MAX, task.ran_ns + ns)
            self._busy_ns[cpu] = min(_U64_MAX, self._busy_ns[cpu] + ns)
        else:
            self._idle_ns[cpu] = min(_U64_MAX, self._idle_ns[cpu] + ns)

    def _wakeup(self, event: Seen) -> None:
        task = self._task(event.pid, event.cpu)
        task.wakeups += 1
        if event.kind == "new":
            task.exits = False
        if task.since_ns is None and event.pid not in self._on_cpu:
            task.since_ns, task.sleeps = event.time_ns, False

    def finish(
        self, now_ns: int, comms: Mapping[int, str], lost: Mapping[int, int], *, kicks: bool = False
    ) -> TaskRates:
        """End a stretch at a time of the guest, and begin the next.

        Args:
            now_ns: The end, on the trace's clock.
            comms: Of the tasks that were seen.
            lost: Events of each CPU that were not seen.
            kicks: Whether the trace records kicks.
        """
        begin_ns = now_ns if self._begin_ns is None else min(self._begin_ns, now_ns)
        for cpu, pid in enumerate(self._on_cpu):
            if pid is not None:
                self._charge(cpu, now_ns, pid)
                self._on_since_ns[cpu] = max(now_ns, self._on_since_ns[cpu])
        for pid, task in self._tasks.items():
            if task.since_ns is not None:
                self._touched.setdefault(pid, task)
        span_ns = max(1, now_ns - begin_ns)
        order = sorted(self._touched.items(), key=lambda it: (-it[1].ran_ns, -it[1].waits_for(now_ns), it[0]))
        rates = [self._rate(pid, task, span_ns, now_ns, comms) for pid, task in order]
        waited = self._lost_ms + [ms for task in self._touched.values() for ms in task.waited_ms]
        result = TaskRates(
            span_ms=(now_ns - begin_ns) / 1e6,
            events=self._events,
            tasks=tuple(rates[:MAX_TASKS]),
            more_tasks=max(0, len(rates) - MAX_TASKS) + self._left_out,
            cpus=tuple(self._cpu(cpu, lost.get(cpu, 0)) for cpu in range(len(self._on_cpu))),
            waits=waits_of(waited),
            kicks=self._kicks if kicks else None,
            buckets=tuple(self._buckets),
        )
        for pid, task in list(self._tasks.items()):
            task.begin()
            if task.exits and task.since_ns is None and pid not in self._on_cpu:
                del self._tasks[pid]
        self._begin()
        self._begin_ns = now_ns
        return result

    def _rate(self, pid: int, task: _Task, span_ns: int, now_ns: int, comms: Mapping[int, str]) -> TaskRate:
        runs = pid in self._on_cpu
        waits = task.since_ns is not None
        return TaskRate(
            pid=pid,
            comm=comms.get(pid, "?"),
            cpu=task.cpu,
            doing="runs" if runs else "waits" if waits or not task.sleeps else "sleeps",
            prio=task.prio,
            run_share=min(1.0, task.ran_ns / span_ns),
            switches=task.switches,
            preempted=task.preempted,
            migrations=task.migrations,
            wakeups=task.wakeups,
            waits=waits_of(task.waited_ms),
            waiting_ms=None if task.since_ns is None else max(0.0, (now_ns - task.since_ns) / 1e6),
        )

    def _cpu(self, cpu: int, lost: int) -> CpuRate:
        known_ns = self._busy_ns[cpu] + self._idle_ns[cpu]
        return CpuRate(
            cpu=cpu,
            busy_share=self._busy_ns[cpu] / known_ns if known_ns else None,
            switches=self._switches[cpu],
            preempted=self._preempted[cpu],
            lost=lost,
        )


def bucket_of(ms: float) -> int:
    """Return the number of the bucket that a wait belongs to."""
    return bisect_left(BOUNDS_MS, ms)


def waits_of(waited_ms: list[float]) -> Waits:
    """Sum up waits; the list is sorted in place."""
    if not waited_ms:
        return Waits()
    waited_ms.sort()
    last = len(waited_ms) - 1
    return Waits(
        count=last + 1,
        p50_ms=waited_ms[last // 2],
        p99_ms=waited_ms[min(last, int(0.99 * last + 0.5))],
        max_ms=waited_ms[last],
    )
