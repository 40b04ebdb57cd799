"""The kernel's own list of tasks, as it is followed while the guest runs.

A look gives all tasks. What goes onto the stream are those that differ from the look before, and those that are gone:
of a thousand tasks that sleep, nothing is said a second time.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

import msgspec

from ktstr_tui.model.event_base import RunEvent
from ktstr_tui.model.rates import TaskRate, TaskRates, TasksMeasured
from ktstr_tui.model.scheduler_values import SchedulerValuesRead
from ktstr_tui.model.trace_block import TraceRead

MAX_LISTED: Final = 4096
"""Tasks that are followed; the kernel's first ones, and how many more there are is counted."""


class ListedTask(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One task (a thread) of the kernel's list."""

    pid: int
    comm: str
    tgid: int
    state: str
    """As ``/proc`` has it: ``R``, ``S``, ``D``, ``I``, …"""
    sched_class: str
    policy: str
    nice: int = 0
    cpu: int = 0
    """On whose runqueue it is, or was last."""
    allowed: str = ""
    """CPUs that it may use, as the kernel prints them: ``0-3,8``."""
    on_cpu: bool = False
    is_waiting: bool = False
    """It is on a CPU's ``runnable_list`` and has no CPU."""
    dsq: str | None = None
    """Where it is queued: ``0x7``, ``local cpu 1``, …; None when in no DSQ."""
    held: bool = False
    """It waits in no DSQ, because the BPF scheduler has it."""
    age_ms: float | None = None
    """``jiffies - p->scx.runnable_at`` of one that waits."""


class TasksListed(RunEvent, frozen=True, tag="tasks"):
    """What has changed in the kernel's list of tasks since the event before, or all of it."""

    tasks: tuple[ListedTask, ...] = ()
    """Those that are new or differ."""
    gone: tuple[int, ...] = ()
    """Pids that are no longer there."""
    fresh: bool = False
    """Whether this is the whole list, and nothing of before counts."""
    more: int = 0
    """Tasks that the list has besides those that are followed."""
    read_us: float = 0.0
    unreadable: str | None = None
    """Why the list could not be read; what was known before is of then."""


TaskEvent: TypeAlias = TasksMeasured | TasksListed | TraceRead | SchedulerValuesRead


class TaskList(msgspec.Struct, frozen=True, kw_only=True):
    """The newest list that is known."""

    tasks: dict[int, ListedTask] = {}
    """By pid."""
    mono_ns: int = 0
    """When it was read."""
    more: int = 0
    read_us: float = 0.0
    unreadable: str | None = None


class TaskLine(NamedTuple):
    """One task with all that is known of it."""

    pid: int
    comm: str
    listed: ListedTask | None
    """None when the kernel's list has it no more, or has not been read."""
    rate: TaskRate | None
    """None when nothing is known of how it fared in the last second or so."""

    @property
    def cpu(self) -> int | None:
        """Where it runs, or ran or was woken last."""
        return (
            self.listed.cpu if self.listed is not None else self.rate.cpu if self.rate is not None else None
        )


def task_table(listed: TaskList, rates: TaskRates | None) -> list[TaskLine]:
    """Join the kernel's list with the rates of the trace, in the kernel's order."""
    by_pid = {it.pid: it for it in rates.tasks} if rates is not None else {}
    table = [TaskLine(pid, it.comm, it, by_pid.pop(pid, None)) for pid, it in listed.tasks.items()]
    return table + [TaskLine(pid, it.comm, None, it) for pid, it in by_pid.items()]
