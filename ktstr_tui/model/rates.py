"""How tasks and CPUs fare at the moment, from the kernel's trace: shares, rates and waits of the last second or so."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from ktstr_tui.model.event_base import RunEvent

TaskDoing: TypeAlias = Literal["runs", "waits", "sleeps"]

BOUNDS_MS: Final = (
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
    10,
    20,
    50,
    100,
    200,
    500,
    1000,
    2000,
    5000,
    10000,
)
"""Upper bounds of the buckets of waits; one more bucket takes what is longer."""


class Waits(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How long tasks waited for a CPU, in milliseconds; the numbers are None when nothing waited."""

    count: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None


class TaskRate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One task in the last stretch."""

    pid: int
    comm: str
    cpu: int
    """Where it runs, or ran or was woken last."""
    doing: TaskDoing
    prio: int | None = None
    run_share: float = 0.0
    """Of one CPU."""
    switches: int = 0
    """To it."""
    preempted: int = 0
    """Switches away from it while it was runnable: what the kernel counts in ``nivcsw``."""
    migrations: int = 0
    wakeups: int = 0
    waits: Waits = Waits()
    """From becoming runnable to running: those that ended in this stretch."""
    waiting_ms: float | None = None
    """For how long it has been waiting now; None when it does not, or that began before what was read."""


class CpuRate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One CPU in the last stretch."""

    cpu: int
    busy_share: float | None = None
    """Without the idle task; None when nothing is known."""
    switches: int = 0
    preempted: int = 0
    """Of those, the ones away from a task that was runnable."""
    lost: int = 0
    """Events that were overwritten before they were read, or dropped by the kernel."""
    unreadable: str | None = None


class TaskRates(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of a run: its tasks, those that had most of the CPUs first."""

    span_ms: float = 0.0
    """Of guest time."""
    events: int = 0
    tasks: tuple[TaskRate, ...] = ()
    more_tasks: int = 0
    """Further ones that did something and are left out."""
    cpus: tuple[CpuRate, ...] = ()
    waits: Waits = Waits()
    """Of all tasks."""
    kicks: int | None = None
    """Calls of ``scx_kick_cpu()``; None when the trace does not record them."""
    buckets: tuple[int, ...] = ()
    """Waits since the run began, by `BOUNDS_MS`."""
    read_us: float = 0.0
    """Host time that it took to read and count."""
    unavailable: str | None = None
    """Why there is nothing."""


class TasksMeasured(RunEvent, frozen=True, tag="task-rates"):
    """How tasks and CPUs fared since the last one."""

    rates: TaskRates
