"""Why a task of the guest fell silent, asked of its kernel while it runs on.

The order of the questions is that of certainty. A task that is gone has an answer at once. One that holds a CPU is
either stuck there, or its vCPU did not run: the host's accounting of the vCPU's thread decides that, because a
guest that gets no time cannot tell. One that waits for a CPU is the scheduler's affair: where it is queued, since
when, where it might run, and what runs there instead. All others wait for something else, and their stack says for
what.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ktstr_tui.capture.report.stacks import copy_stack, task_stack
from ktstr_tui.health.progress import ProgressOf
from ktstr_tui.kernel.address import KERNEL_HALF, AddressSpace
from ktstr_tui.kernel.displaced import displaced, next_task
from ktstr_tui.kernel.layout import Layout
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.sched_tree import NO_SUBS
from ktstr_tui.kernel.torn import Attempts, Torn
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.kernel.xarray import IdTables
from ktstr_tui.model.beats import CauseKind, StallCause
from ktstr_tui.model.errors import KtstrError
from ktstr_tui.model.report import RunningTask, Stack

MAX_CPUS_NAMED: Final = 64
"""CPUs whose current task is read for one silent task."""
STARVED_SHARE: Final = 0.1
"""A vCPU with work that got less than this share of the silence as host CPU time did not run."""
_SCHEDULING: Final = frozenset(
    (
        "__schedule",
        "__switch_to_asm",
        "io_schedule",
        "io_schedule_timeout",
        "preempt_schedule_common",
        "schedule",
        "schedule_hrtimeout_range",
        "schedule_hrtimeout_range_clock",
        "schedule_preempt_disabled",
        "schedule_timeout",
    )
)
"""Functions that are on every sleeping task's stack and say nothing, for kernels that do not say which these are."""


class Explainer:
    """Explains silences in one kernel.

    Args:
        view: The kernel.

    Raises:
        BtfError: This kernel keeps its pids in a way that is not known here.
    """

    def __init__(self, view: KernelView) -> None:
        self._view = view
        namespace = Layout(view.btf, "pid_namespace", {})
        self._idr = view.symbols.address("init_pid_ns") + namespace.offset("idr")
        self._ids = IdTables(view.btf)
        self._tasks_of_pid = Layout(view.btf, "pid", {}).offset("tasks")
        task = Layout(view.btf, "task_struct", {"queued_ns": "sched_info.last_queued", "on_rq": "on_rq"})
        self._pid_links = task.offset("pid_links")
        self._queueing = task
        self._progress = ProgressOf(view.btf)
        self._sched_text = _sched_text(view)

    def explain(self, pid: int, silent_ms: float, vcpu_ms: Mapping[int, float]) -> StallCause:
        """Why a task is silent. Never raises for what the guest's memory holds.

        Args:
            pid: In the guest's first pid namespace.
            silent_ms: How long it has been silent, frozen time excluded.
            vcpu_ms: Host CPU time that each vCPU got in that time.
        """
        space = self._view.fresh_space()
        try:
            return Attempts().run(lambda: self._explain(space, pid, silent_ms, vcpu_ms))
        except Torn as torn:
            return StallCause(kind="unknown", reason=torn.message, torn=True)
        except KtstrError as error:
            return StallCause(kind="unknown", reason=error.message)

    def _find(self, space: AddressSpace, pid: int) -> int | None:
        """The address of the task with a pid."""
        struct_pid = self._ids.find(space, self._idr, pid)
        if struct_pid is None:
            return None
        first = space.u64(struct_pid + self._tasks_of_pid)
        return first - self._pid_links if first >= KERNEL_HALF else None

    def _explain(
        self, space: AddressSpace, pid: int, silent_ms: float, vcpu_ms: Mapping[int, float]
    ) -> StallCause:
        view = self._view
        task = self._find(space, pid)
        if task is None:
            return StallCause(kind="exited")
        row = view.tasks.full.read(space, task)
        if row["pid"] != pid:
            raise Torn(f"the task of pid {pid} was replaced while it was read")
        cpu = int(row["cpu"])
        if not 0 <= cpu < view.nr_cpus:
            raise Torn(f"task_cpu of pid {pid} is {cpu}")
        mask = view.tasks.cpus_allowed(space, row["cpus_ptr"])
        report = view.tasks.report(row, mask, cpu)
        if row["exit_state"] or report.state in "XZ":
            return StallCause(kind="exited", reason="a zombie", state=report.state)
        rq = view.cpus.rq.read(space, view.cpus.rq_address(cpu))
        host_ms = vcpu_ms.get(cpu)
        common: dict[str, Any] = {
            "cpu": cpu,
            "sched_class": report.sched_class,
            "state": report.state,
            "cpus_allowed": report.cpus_allowed,
            "vcpu_ms": host_ms,
        }
        starved = host_ms is not None and rq["curr"] != rq["idle"] and host_ms < STARVED_SHARE * silent_ms
        now_ms = view.jiffies() * 1e3 / view.hz
        progress = self._progress.look(space, task, pid, now_ms, silent_ms)
        if rq["curr"] == task:
            kind: CauseKind = "no-host-cpu" if starved else "running"
            return StallCause(kind=kind, progress=progress, **common)
        if report.state != "R" and row["on_cpu"]:
            # In the middle of a switch: what thread.sp points to is the stack of an earlier sleep.
            return StallCause(kind="blocked", reason="it is going to sleep", **common)
        # A task that is preempted on its way to sleep still waits for a CPU, whatever its state says already.
        if report.state != "R" and not self._queueing.read(space, task)["on_rq"]:
            stack = self._stack(space, row)
            return StallCause(kind="blocked", wchan=wchan_of(stack, self._sched_text), stack=stack, **common)
        if starved:
            return StallCause(kind="no-host-cpu", **common)
        return StallCause(
            kind="runnable",
            waiting_ms=self._waiting_ms(space, task, row, rq, report.sched_class),
            dsq=self._queue(space, row["dsq"]),
            running_there=self._there(space, mask),
            progress=progress,
            **common,
        )

    def _waiting_ms(
        self, space: AddressSpace, task: int, row: dict[str, Any], rq: dict[str, Any], sched_class: str
    ) -> float | None:
        """How long the task has been runnable: by sched_ext's tick, else by the time it was queued."""
        if sched_class == "ext" and row["runnable_at"]:
            return self._view.age_ms(row["runnable_at"], self._view.jiffies())
        queued_ns, clock_ns = self._queueing.read(space, task)["queued_ns"], rq["clock"]
        if not queued_ns or clock_ns is None or clock_ns < queued_ns:
            return None
        return float(clock_ns - queued_ns) / 1e6

    def _queue(self, space: AddressSpace, dsq: int | None) -> str | None:
        if not dsq or self._view.scx is None:
            return None
        root = self._view.scx_root()
        try:
            subs = self._view.sched_tree.read(space, root)
        except (Torn, MemoryReadError):
            subs = NO_SUBS
        return self._view.dsqs.name(space, dsq, self._view.builtin_dsqs(root, subs))[0]

    def _there(self, space: AddressSpace, mask: int) -> tuple[RunningTask, ...]:
        view, cpus, found = self._view, self._view.cpus, []
        allowed = mask & cpus.online(space)
        for cpu in [cpu for cpu in range(cpus.count) if allowed >> cpu & 1][:MAX_CPUS_NAMED]:
            address = cpus.rq.read(space, cpus.rq_address(cpu))["curr"]
            cpus.running(space, address)
            curr = view.tasks.full.read(space, address)
            behind = next_task(displaced(view, space, cpu, curr))
            found.append(view.tasks.running(curr, cpu, ahead_of=behind))
        return tuple(found)

    def _stack(self, space: AddressSpace, row: dict[str, Any]) -> Stack | None:
        try:
            copy = copy_stack(space, row["sp"], row["stack"], self._view.tasks.stack_bytes)
            return task_stack(self._view, copy, self._view.bpf_symbols.read(space))
        except MemoryReadError:
            return None


def wchan_of(stack: Stack | None, sched_text: range = range(0)) -> str | None:
    """The function in which a task sleeps: the innermost that is not of scheduling, as the kernel has it.

    Args:
        stack: Of the task.
        sched_text: Addresses of what the kernel counts as scheduling, which mutexes and timers are as well
            (``in_sched_functions``, kernel/sched/core.c).
    """
    for frame in stack.frames if stack else ():
        name = (frame.symbol or "").partition("+")[0]
        if name and name not in _SCHEDULING and frame.address not in sched_text:
            return name
    return None


def _sched_text(view: KernelView) -> range:
    start, end = map(view.symbols.find, ("__sched_text_start", "__sched_text_end"))
    return range(0) if start is None or end is None else range(start, end)
