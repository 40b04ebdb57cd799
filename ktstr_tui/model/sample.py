"""What one look at the running kernel gives, in the kernel's own words.

A sample is read while the guest runs, so any value may be torn. What could not be read is ``None`` and the
record says why in ``unreadable``; zero always means that the kernel's value was zero.
"""

from __future__ import annotations

import msgspec


class CpuSample(msgspec.Struct, frozen=True, kw_only=True):
    """One CPU: its ``struct rq``, what runs on it, and the host thread that carries it."""

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
    rq_clock_ns: int | None = None
    """``rq->clock``."""
    vcpu_cpu_time_ns: int | None = None
    """Host CPU time that the vCPU's thread has used so far; the proof that the CPU had a chance to run.
    None also when vCPUs share a thread."""
    unreadable: str | None = None
    """Why this CPU could not be read, or why its values are not to be trusted (``torn: …``)."""


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
    idle_cpus: tuple[int, ...] = ()
    """CPUs that were idle at this look and that the task may use."""


class DsqSample(msgspec.Struct, frozen=True, kw_only=True):
    """One dispatch queue and how many tasks are in it."""

    id: int
    """``dsq->id``, an unsigned 64-bit number."""
    label: str
    """``0x7`` for a user queue, ``global node 0``, ``bypass cpu 1``, …"""
    nr: int


class SchedulerSample(msgspec.Struct, frozen=True, kw_only=True):
    """The loaded sched_ext scheduler, or its absence (``name`` is None)."""

    name: str | None = None
    """``sch->ops.name``."""
    state: str | None = None
    """``disabled``, ``enabling``, ``enabled`` or ``disabling`` (``enum scx_enable_state``)."""
    exit_kind: int | None = None
    enable_seq: int | None = None
    """``scx_enable_seq``: how many schedulers were enabled since boot."""
    aborting: bool | None = None
    bypass_depth: int | None = None
    watchdog_timeout_ms: float | None = None
    oldest_runnable: RunnableTask | None = None
    """The task that waits longest; the kernel ejects the scheduler when its age passes the timeout."""
    nr_runnable: int | None = None
    """Tasks on the runnable lists of all CPUs."""
    dsqs: tuple[DsqSample, ...] = ()
    dsqs_truncated: bool = False
    event_counters: dict[str, int] | None = None
    """``SCX_EV_…`` sums over all CPUs; None where the kernel has none."""
    unreadable: str | None = None


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One look at all CPUs and at the scheduler."""

    cpus: tuple[CpuSample, ...]
    scheduler: SchedulerSample
    guest_ns: int | None = None
    """The newest ``rq->clock``: the guest's own time since boot."""
    jiffies: int | None = None
    read_us: float = 0.0
    """How long the reading took on the host."""
    retries: int = 0
    """Reads that had to be repeated because the kernel changed the data meanwhile."""
    torn: int = 0
    """Records given up as torn and marked ``unreadable``."""
