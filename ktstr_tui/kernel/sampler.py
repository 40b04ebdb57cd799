"""One sample: all CPUs and the scheduler, read from a machine that runs on.

Each part is looked at on its own and given up by itself, so a queue that is re-linked a thousand times a
second costs the sample that queue and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from ktstr_tui.kernel.address import AddressSpace
from ktstr_tui.kernel.dsq import BuiltinDsqs, DsqRef, user_ref
from ktstr_tui.kernel.sched_tree import NO_SUBS, Subs
from ktstr_tui.kernel.scx import Scx
from ktstr_tui.kernel.torn import Attempts, Torn, plausible_depth
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.kernel.waiting import CpuMasks, Waiting, timeout_ms
from ktstr_tui.model.sample import OFFLINE, CpuSample, DsqSample, Sample, SchedulerSample

MAX_SAMPLED_DSQS = 256
_ABOVE = ("rt", "dl")
"""Classes whose tasks run before those of every scheduler."""


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
        scheduler = self._scheduler(space, attempts, _masks(cpus))
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
            return CpuSample(cpu=cpu, vcpu_cpu_time_ns=time_ns, unreadable=OFFLINE)
        try:
            found = attempts.run(lambda: self._view.cpus.sample(space, cpu))
        except Torn as torn:
            return CpuSample(cpu=cpu, vcpu_cpu_time_ns=time_ns, unreadable=torn.message)
        return found if time_ns is None else msgspec.structs.replace(found, vcpu_cpu_time_ns=time_ns)

    def _scheduler(self, space: AddressSpace, attempts: Attempts, masks: CpuMasks) -> SchedulerSample:
        scx = self._view.scx
        if scx is None:
            return SchedulerSample(unreadable=self._view.scx_missing)
        try:
            return attempts.run(lambda: self._one_scheduler(scx, space, masks, attempts))
        except Torn as torn:
            return SchedulerSample(unreadable=torn.message)

    def _one_scheduler(
        self, scx: Scx, space: AddressSpace, masks: CpuMasks, attempts: Attempts
    ) -> SchedulerSample:
        """One try at the scheduler; ``scx_root`` must be the same before and after."""
        sched = scx.root(space)
        state, seq = scx.state(space), scx.enable_seq(space)
        if sched is None:
            return SchedulerSample(state=state, enable_seq=seq)
        found = scx.read(space, sched)
        subs, subs_unreadable = self._subs(space, sched, attempts)
        builtin = self._view.builtin_dsqs(sched, subs)
        waiting = Waiting(self._view, space, found, subs, builtin, masks)
        starved, starved_on = waiting.starved_kthread()
        dsqs, cut = self._dsqs(space, sched, builtin)
        sample = SchedulerSample(
            name=found.name,
            state=state,
            exit_kind=found.exit_kind,
            exit_kind_name=scx.exit_kind_name(found.exit_kind),
            enable_seq=seq,
            aborting=found.aborting,
            bypass_depth=found.bypass_depth,
            watchdog_timeout_ms=timeout_ms(found, self._view.hz),
            oldest_runnable=waiting.oldest(),
            starved_kthread=starved,
            starved_cpus=starved_on,
            nr_runnable=waiting.nr_runnable,
            dsqs=dsqs,
            dsqs_truncated=cut,
            event_counters=scx.events(space, found),
            subs=waiting.subs(),
            subs_truncated=subs.cut,
            subs_unreadable=subs_unreadable,
        )
        if scx.root(space) != sched:
            raise Torn("the scheduler was replaced while it was read")
        return sample

    def _subs(self, space: AddressSpace, sched: int, attempts: Attempts) -> tuple[Subs, str | None]:
        """Read the schedulers below the root. They are given up by themselves."""
        try:
            return attempts.run(lambda: self._view.sched_tree.read(space, sched)), None
        except Torn as torn:
            return NO_SUBS, torn.message

    def _dsqs(
        self, space: AddressSpace, sched: int, builtin: BuiltinDsqs
    ) -> tuple[tuple[DsqSample, ...], bool]:
        """Read the queues of all schedulers, the root's first."""
        dsqs, found, cut = self._view.dsqs, list[DsqSample](), False
        for one in (sched, *builtin.subs):
            rows, more = dsqs.user(space, one, MAX_SAMPLED_DSQS - len(found))
            found += [_dsq(user_ref(at, row, builtin.subs.get(one)), row) for at, row in rows]
            cut = cut or more
        own = [ref for ref in builtin.listed if ref.sub is None]
        others = [ref for ref in builtin.listed if ref.sub is not None]
        for ref in (*own, *others[:MAX_SAMPLED_DSQS]):
            found.append(_dsq(ref, dsqs.layout.read(space, ref.address)))
        return tuple(found), cut or len(others) > MAX_SAMPLED_DSQS


def _dsq(ref: DsqRef, row: dict[str, Any]) -> DsqSample:
    return DsqSample(
        id=row["id"], label=ref.label, nr=plausible_depth(row["nr"], "nr"), sub=ref.sub, seq=row["seq"]
    )


def _masks(cpus: tuple[CpuSample, ...]) -> CpuMasks:
    idle = sum(1 << cpu.cpu for cpu in cpus if cpu.idle)
    return CpuMasks(idle, sum(1 << cpu.cpu for cpu in cpus if cpu.curr_class in _ABOVE))
