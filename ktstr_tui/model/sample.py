"""What one look at the running kernel gives, in the kernel's own words.

A sample is read while the guest runs, so any value may be torn. What could not be read is ``None`` and the
record says why in ``unreadable``; zero always means that the kernel's value was zero.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

SubState: TypeAlias = Literal["enabling", "enabled", "disabling"]
"""How far a sub-scheduler is, in the words of ``enum scx_enable_state``, which the kernel keeps for the root alone."""


OFFLINE: Final = "offline"
"""Why a CPU that is down has no values: the only reason that is no failure to read."""


class CpuSample(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One CPU: its ``struct rq``, what runs on it, and the host thread that carries it."""

    # In no cycle: Python's collector need not look at the thousands of them that come each second.

    cpu: int
    curr_pid: int | None = None
    curr_comm: str | None = None
    curr_class: str | None = None
    """``ext``, ``fair``, ``rt``, ``dl``, ``stop`` or ``idle``."""
    idle: bool | None = None
    """Whether ``rq->curr`` is ``rq->idle``."""
    nr_running: int | None = None
    scx_nr_running: int | None = None
    """``rq->scx.nr_running``."""
    scx_flags: int | None = None
    """``rq->scx.flags``."""
    local_dsq_nr: int | None = None
    """``rq->scx.local_dsq.nr``."""
    nr_switches: int | None = None
    """``rq->nr_switches``: context switches since boot."""
    rq_clock_ns: int | None = None
    """``rq->clock``."""
    vcpu_cpu_time_ns: int | None = None
    """Host CPU time that the vCPU's thread has used so far; the proof that the CPU had a chance to run.
    None also when vCPUs share a thread."""
    unreadable: str | None = None
    """Why this CPU could not be read, or why its values are not to be trusted (``torn: …``); `OFFLINE` when down."""

    @property
    def is_offline(self) -> bool:
        """Whether the CPU is down, so that there is nothing to read."""
        return self.unreadable == OFFLINE


class RunnableTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task that waits to run, and for how long."""

    pid: int
    comm: str
    age_ms: float
    """``jiffies - p->scx.runnable_at``; resolution is one jiffy."""
    cpu: int
    """The runqueue on whose ``runnable_list`` it is."""
    dsq: str | None = None
    """Where it is queued: ``0x7``, ``local cpu 1``, ``bypass cpu 0``, ``global node 0``; None when in no DSQ."""
    held: bool = False
    """In no DSQ because the BPF scheduler has it: its ``ops_state`` is QUEUED."""
    idle_cpus: tuple[int, ...] = ()
    """CPUs that were idle at this look and that the task may use."""
    sub: str | None = None
    """Cgroup of the sub-scheduler whose task it is; None for one of the root scheduler."""
    timeout_ms: float | None = None
    """After how long the kernel ejects that sub-scheduler; None where the root's timeout counts."""

    @property
    def place(self) -> str:
        """Where it waits, as a phrase: ``in DSQ 0x7``."""
        if self.dsq is not None:
            return f"in DSQ {self.dsq}"
        return "held by the BPF scheduler, in no DSQ" if self.held else "in no DSQ"


class DsqSample(msgspec.Struct, frozen=True, kw_only=True):
    """One dispatch queue and how many tasks are in it."""

    id: int
    """``dsq->id``, an unsigned 64-bit number."""
    label: str
    """``0x7`` for a user queue, ``global node 0``, ``bypass cpu 1``, …; ``0x7 of /cgroup`` of a sub-scheduler."""
    nr: int
    sub: str | None = None
    """Cgroup of the sub-scheduler whose queue it is; None for one of the root scheduler."""
    seq: int | None = None
    """``dsq->seq``: tasks that were ever put into it, modulo 2^32; None in recordings of older versions."""


class SubSample(msgspec.Struct, frozen=True, kw_only=True):
    """One sub-scheduler, which schedules the tasks of a cgroup below another scheduler."""

    name: str
    """``sch->ops.name``."""
    cgroup: str
    """``sch->cgrp_path``, which no other scheduler has."""
    parent: str | None = None
    """Cgroup of the sub-scheduler that it is below; None for the root scheduler."""
    level: int
    """1 for a child of the root scheduler."""
    state: SubState
    exit_kind: int
    exit_kind_name: str = ""
    """In the words of the guest's kernel, without ``SCX_EXIT_``; empty in recordings that lack it."""
    bypass_depth: int | None = None
    watchdog_timeout_ms: float | None = None
    nr_runnable: int = 0
    """Its tasks among those on the runnable lists of all CPUs."""
    oldest_runnable: RunnableTask | None = None
    """The one of its tasks that waits longest."""


class SchedulerSample(msgspec.Struct, frozen=True, kw_only=True):
    """The loaded sched_ext scheduler, or its absence (``name`` is None)."""

    name: str | None = None
    """``sch->ops.name``."""
    state: str | None = None
    """``disabled``, ``enabling``, ``enabled`` or ``disabling`` (``enum scx_enable_state``)."""
    exit_kind: int | None = None
    exit_kind_name: str = ""
    """In the words of the guest's kernel, without ``SCX_EXIT_``; empty in recordings that lack it."""
    enable_seq: int | None = None
    """``scx_enable_seq``: how many schedulers were enabled since boot."""
    aborting: bool | None = None
    bypass_depth: int | None = None
    watchdog_timeout_ms: float | None = None
    oldest_runnable: RunnableTask | None = None
    """The task that waits longest by the timeout of its scheduler, which the kernel ejects when its age passes
    that."""
    starved_kthread: RunnableTask | None = None
    """The kernel thread that waits longest while rt or dl tasks run on all CPUs that it may use."""
    starved_cpus: tuple[int, ...] = ()
    """The CPUs that it may use."""
    nr_runnable: int | None = None
    """Tasks on the runnable lists of all CPUs."""
    dsqs: tuple[DsqSample, ...] = ()
    dsqs_truncated: bool = False
    event_counters: dict[str, int] | None = None
    """``SCX_EV_…`` sums over all CPUs; None where the kernel has none."""
    subs: tuple[SubSample, ...] = ()
    """Sub-schedulers, parents before their children; only of kernels that have them."""
    subs_truncated: bool = False
    """Whether there are more."""
    subs_unreadable: str | None = None
    """Why ``subs`` says nothing."""
    unreadable: str | None = None

    @property
    def oldest_timeout_ms(self) -> float | None:
        """After how long the kernel ejects the scheduler whose task is `oldest_runnable`."""
        oldest = self.oldest_runnable
        return self.watchdog_timeout_ms if oldest is None else oldest.timeout_ms or self.watchdog_timeout_ms

    def is_leaving(self, sub: str | None) -> bool:
        """Whether a sub-scheduler is being ejected or gone, as far as this sample knows.

        Args:
            sub: Its cgroup; None for the loaded scheduler, for which `exit_kind` says it.
        """
        if sub is None or self.subs_unreadable is not None:
            return False
        found = next((it for it in self.subs if it.cgroup == sub), None)
        return not self.subs_truncated if found is None else bool(found.exit_kind)

    @property
    def ejection_window_ms(self) -> tuple[float, float] | None:
        """Ages of `oldest_runnable` between which the kernel ejects; None without a timeout.

        ``scx_watchdog_workfn()`` looks at the runnable lists only every half of the shortest timeout, so a task that
        has passed its own timeout is found at the next look.
        """
        timeout_ms = self.oldest_timeout_ms
        if not timeout_ms:
            return None
        own = self.watchdog_timeout_ms or timeout_ms
        shortest_ms = min([own, *(it.watchdog_timeout_ms for it in self.subs if it.watchdog_timeout_ms)])
        return timeout_ms, timeout_ms + shortest_ms / 2


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One look at all CPUs and at the scheduler."""

    cpus: tuple[CpuSample, ...]
    scheduler: SchedulerSample
    shared_cpu_time_ns: int | None = None
    """Host CPU time so far of the one thread that emulates all vCPUs in turn; None when each has its own."""
    guest_ns: int | None = None
    """The newest ``rq->clock``: the guest's own time since boot."""
    jiffies: int | None = None
    read_us: float = 0.0
    """How long the reading took on the host."""
    retries: int = 0
    """Reads that had to be repeated because the kernel changed the data meanwhile."""
    torn: int = 0
    """Records given up as torn and marked ``unreadable``."""
