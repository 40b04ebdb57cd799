"""Who waits to run at one look at the running kernel, and under which scheduler.

The kernel's watchdog measures each task by the timeout of its own scheduler, so with sub-schedulers the task that waits
longest need not be the one whose scheduler is ejected next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ktstr_tui.kernel.address import AddressSpace
from ktstr_tui.kernel.dsq import BuiltinDsqs
from ktstr_tui.kernel.sched_tree import Subs, sub_of
from ktstr_tui.kernel.scx import DEFAULT_TIMEOUT_MS, SchedState
from ktstr_tui.kernel.tasks import Runnable
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.sample import RunnableTask, SubSample

PF_KTHREAD = 0x00200000
"""Of ``task->flags``: a thread of the kernel (include/linux/sched.h)."""
MAX_KTHREADS = 8
"""Kernel threads whose allowed CPUs are read at one look, those that wait longest."""


class CpuMasks(NamedTuple):
    """CPUs by what they do, as bit masks."""

    idle: int
    above: int
    """Those that run an rt or dl task."""


class _Waiter(NamedTuple):
    task: Runnable
    age_ms: float
    share: float
    """Of its scheduler's timeout."""


class Waiting:
    """Reads the runnable lists of all CPUs.

    Args:
        view: The kernel.
        space: Where to read.
        root: The root scheduler.
        subs: The schedulers below it.
        builtin: The kernel's own queues.
        masks: What the CPUs do.
    """

    def __init__(
        self,
        view: KernelView,
        space: AddressSpace,
        root: SchedState,
        subs: Subs,
        builtin: BuiltinDsqs,
        masks: CpuMasks,
    ) -> None:
        self._view, self._space, self._builtin, self._masks = view, space, builtin, masks
        self._root, self._subs = root.address, subs
        self._online = view.cpus.online(space)
        self._cgroups = subs.cgroups()
        self._timeouts = {it.state.address: timeout_ms(it.state, view.hz) for it in subs.found}
        tasks = [task for cpu in range(view.nr_cpus) for task in view.tasks.runnable(space, cpu)[0]]
        self.nr_runnable = len(tasks)
        """Tasks on the lists, with those that run."""
        self._counts = _counts(tasks)
        now, limit_ms = view.jiffies(), timeout_ms(root, view.hz)
        self._waiters: list[_Waiter] = []
        for task in tasks:
            if not task.on_cpu:
                age_ms = view.age_ms(task.runnable_at, now)
                self._waiters.append(
                    _Waiter(task, age_ms, age_ms / (self._timeouts.get(task.sched or 0, limit_ms) or 1.0))
                )

    def oldest(self, sched: int | None = None) -> RunnableTask | None:
        """Return the task that has used most of its scheduler's timeout.

        Args:
            sched: Only tasks of this scheduler count; None for all.
        """
        mine = [it for it in self._waiters if sched is None or it.task.sched == sched]
        return self._told(max(mine, key=lambda it: it.share)) if mine else None

    def starved_kthread(self) -> tuple[RunnableTask | None, tuple[int, ...]]:
        """Return the kernel thread that waits longest while rt or dl tasks have all CPUs that it may use, and these."""
        above = self._masks.above
        threads = [it for it in self._waiters if above and it.task.flags & PF_KTHREAD]
        for waiter in sorted(threads, key=lambda it: -it.age_ms)[:MAX_KTHREADS]:
            allowed = self._view.tasks.allowed_of(self._space, waiter.task.address) & self._online
            if allowed and not allowed & ~above:
                return self._told(waiter), self._listed(allowed)
        return None, ()

    def _told(self, waiter: _Waiter) -> RunnableTask:
        task, age_ms, _ = waiter
        label, _ = self._view.dsqs.name(self._space, task.dsq, self._builtin)
        return RunnableTask(
            pid=task.pid,
            comm=task.comm,
            age_ms=age_ms,
            cpu=task.cpu,
            dsq=label,
            held=label is None and self._view.tasks.is_held(self._space, task.address),
            idle_cpus=self._idle_for(task),
            sub=sub_of(task.sched, self._root, self._cgroups),
            timeout_ms=self._timeouts.get(task.sched or 0),
        )

    def subs(self) -> tuple[SubSample, ...]:
        """Return a sample of each sub-scheduler."""
        return tuple(
            SubSample(
                name=it.state.name,
                cgroup=it.cgroup,
                parent=sub_of(it.parent, self._root, self._cgroups),
                level=it.level,
                state=it.phase,
                exit_kind=it.state.exit_kind,
                exit_kind_name=self._view.exit_kind_name(it.state.exit_kind),
                bypass_depth=it.state.bypass_depth,
                watchdog_timeout_ms=self._timeouts[it.state.address],
                nr_runnable=self._counts.get(it.state.address, 0),
                oldest_runnable=self.oldest(it.state.address),
            )
            for it in self._subs.found
        )

    def _idle_for(self, task: Runnable) -> tuple[int, ...]:
        """Return the idle CPUs that a task may use."""
        idle = self._masks.idle
        return self._listed(idle & self._view.tasks.allowed_of(self._space, task.address) if idle else 0)

    def _listed(self, mask: int) -> tuple[int, ...]:
        return tuple(cpu for cpu in range(self._view.nr_cpus) if mask >> cpu & 1)


def _counts(tasks: list[Runnable]) -> Mapping[int, int]:
    counts: dict[int, int] = {}
    for task in tasks:
        counts[task.sched or 0] = counts.get(task.sched or 0, 0) + 1
    return counts


def timeout_ms(state: SchedState, hz: int) -> float:
    """How long a task may wait before the kernel ejects the scheduler."""
    if state.timeout_jiffies is not None:
        return state.timeout_jiffies * 1e3 / hz
    return float(state.timeout_ms or DEFAULT_TIMEOUT_MS)
