"""One sample: all CPUs and the scheduler, read from a machine that runs on.

Each part is looked at on its own and given up by itself, so a queue that is re-linked a thousand times a
second costs the sample that queue and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec

from ktstr_tui.kernel.address import AddressSpace
from ktstr_tui.kernel.dsq import BuiltinDsqs
from ktstr_tui.kernel.scx import DEFAULT_TIMEOUT_MS, SchedState, Scx
from ktstr_tui.kernel.tasks import Runnable
from ktstr_tui.kernel.torn import Attempts, Torn, plausible_depth
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.sample import CpuSample, DsqSample, RunnableTask, Sample, SchedulerSample

MAX_SAMPLED_DSQS = 256


class SampleReaderStatistics(msgspec.Struct, frozen=True):
    """How the sampling of one kernel went."""

    samples: int
    retries: int
    """Looks that were repeated because the kernel changed the data meanwhile."""
    torn: int
    """Records that were given up."""
    last_us: float
    max_us: float


class SampleReader:
    """Takes samples of one kernel.

    Args:
        view: The kernel.
    """

    def __init__(self, view: KernelView) -> None:
        self._view = view
        self._samples = self._retries = self._torn = 0
        self._last_us = self._max_us = 0.0

    @property
    def nr_cpus(self) -> int:
        """CPUs in each sample."""
        return self._view.nr_cpus

    def sample(self, vcpu_times: Mapping[int, int] | None = None) -> Sample:
        """Look at all CPUs and the scheduler while the guest runs.

        Never raises for what the guest's memory holds: the records say what could not be read.

        Args:
            vcpu_times: Host CPU time of each vCPU's thread in nanoseconds, by CPU.
        """
        vcpu_times = vcpu_times or {}
        start = time.perf_counter()
        view, space, attempts = self._view, self._view.fresh_space(), Attempts()
        online = view.cpus.online(space)
        cpus = tuple(
            self._cpu(space, cpu, online, attempts, vcpu_times.get(cpu)) for cpu in range(view.nr_cpus)
        )
        scheduler = self._scheduler(space, attempts, sum(1 << cpu.cpu for cpu in cpus if cpu.idle))
        clocks = [cpu.rq_clock_ns for cpu in cpus if cpu.rq_clock_ns is not None]
        read_us = (time.perf_counter() - start) * 1e6
        self._count(attempts, read_us)
        return Sample(
            cpus=cpus,
            scheduler=scheduler,
            guest_ns=max(clocks, default=None),
            jiffies=view.jiffies(),
            read_us=read_us,
            retries=attempts.retries,
            torn=attempts.torn,
        )

    def _count(self, attempts: Attempts, read_us: float) -> None:
        self._samples += 1
        self._retries += attempts.retries
        self._torn += attempts.torn
        self._last_us, self._max_us = read_us, max(self._max_us, read_us)

    def statistics(self) -> SampleReaderStatistics:
        """Return the counts since the reader was made."""
        return SampleReaderStatistics(
            samples=self._samples,
            retries=self._retries,
            torn=self._torn,
            last_us=self._last_us,
            max_us=self._max_us,
        )

    def _cpu(
        self, space: AddressSpace, cpu: int, online: int, attempts: Attempts, time_ns: int | None
    ) -> CpuSample:
        if not online >> cpu & 1:
            return CpuSample(cpu=cpu, vcpu_cpu_time_ns=time_ns, unreadable="offline")
        try:
            found = attempts.run(lambda: self._view.cpus.sample(space, cpu))
        except Torn as torn:
            return CpuSample(cpu=cpu, vcpu_cpu_time_ns=time_ns, unreadable=torn.message)
        return found if time_ns is None else msgspec.structs.replace(found, vcpu_cpu_time_ns=time_ns)

    def _scheduler(self, space: AddressSpace, attempts: Attempts, idle: int) -> SchedulerSample:
        scx = self._view.scx
        if scx is None:
            return SchedulerSample(unreadable=self._view.scx_missing)
        try:
            return attempts.run(lambda: self._one_scheduler(scx, space, idle))
        except Torn as torn:
            return SchedulerSample(unreadable=torn.message)

    def _one_scheduler(self, scx: Scx, space: AddressSpace, idle: int) -> SchedulerSample:
        """One try at the scheduler; ``scx_root`` must be the same before and after."""
        sched = scx.root(space)
        state, seq = scx.state(space), scx.enable_seq(space)
        if sched is None:
            return SchedulerSample(state=state, enable_seq=seq)
        found = scx.read(space, sched)
        builtin = self._view.builtin_dsqs(sched)
        oldest, waiting = self._oldest(space, builtin, idle)
        dsqs, cut = self._dsqs(space, sched, builtin)
        sample = SchedulerSample(
            name=found.name,
            state=state,
            exit_kind=found.exit_kind,
            enable_seq=seq,
            aborting=found.aborting,
            bypass_depth=found.bypass_depth,
            watchdog_timeout_ms=timeout_ms(found, self._view.hz),
            oldest_runnable=oldest,
            nr_runnable=waiting,
            dsqs=dsqs,
            dsqs_truncated=cut,
            event_counters=scx.events(space, found),
        )
        if scx.root(space) != sched:
            raise Torn("the scheduler was replaced while it was read")
        return sample

    def _oldest(
        self, space: AddressSpace, builtin: BuiltinDsqs, idle: int
    ) -> tuple[RunnableTask | None, int]:
        view = self._view
        waiting: list[Runnable] = []
        for cpu in range(view.nr_cpus):
            waiting += view.tasks.runnable(space, cpu)[0]
        now = view.jiffies()
        aged = [(view.age_ms(task.runnable_at, now), task) for task in waiting if not task.on_cpu]
        if not aged:
            return None, len(waiting)
        age, task = max(aged, key=lambda pair: pair[0])
        label, _ = view.dsqs.name(space, task.dsq, builtin)
        found = RunnableTask(
            pid=task.pid,
            comm=task.comm,
            age_ms=age,
            cpu=task.cpu,
            dsq=label,
            idle_cpus=self._idle_for(space, task, idle),
        )
        return found, len(waiting)

    def _idle_for(self, space: AddressSpace, task: Runnable, idle: int) -> tuple[int, ...]:
        """Return the idle CPUs of a mask that a task may use."""
        usable = idle & self._view.tasks.allowed_of(space, task.address) if idle else 0
        return tuple(cpu for cpu in range(self._view.nr_cpus) if usable >> cpu & 1)

    def _dsqs(
        self, space: AddressSpace, sched: int, builtin: BuiltinDsqs
    ) -> tuple[tuple[DsqSample, ...], bool]:
        rows, cut = self._view.dsqs.user(space, sched, MAX_SAMPLED_DSQS)
        found = [
            DsqSample(id=row["id"], label=f"{row['id']:#x}", nr=plausible_depth(row["nr"], "nr"))
            for _, row in rows
        ]
        for ref in builtin.listed:
            row = self._view.dsqs.layout.read(space, ref.address)
            found.append(DsqSample(id=row["id"], label=ref.label, nr=plausible_depth(row["nr"], "nr")))
        return tuple(found), cut


def timeout_ms(state: SchedState, hz: int) -> float:
    """How long a task may wait before the kernel ejects the scheduler."""
    if state.timeout_jiffies is not None:
        return state.timeout_jiffies * 1e3 / hz
    return float(state.timeout_ms or DEFAULT_TIMEOUT_MS)
