"""Typed questions to a kernel through drgn, the same wherever its memory lies. Needs drgn and our helpers alone."""

from __future__ import annotations

from typing import Any

from drgn import Object, Program
from drgn.helpers.linux.cpumask import for_each_online_cpu, for_each_possible_cpu
from drgn.helpers.linux.percpu import per_cpu
from drgn.helpers.linux.pid import find_task, for_each_task
from drgn.helpers.linux.sched import cpu_curr, task_cpu, task_state_to_char

from ktstr_tui.kernel import scx_helpers as scx

OF_RUNQUEUES = (
    "nr_running",
    "nr_switches",
    "clock",
    "clock_task",
    "cpu",
    "scx.nr_running",
    "scx.flags",
    "scx.ops_qseq",
    "scx.local_dsq.nr",
    "scx.local_dsq.seq",
    "cfs.h_nr_runnable",
    "rt.rt_nr_running",
)
OF_TASKS = (
    "prio",
    "static_prio",
    "policy",
    "on_rq",
    "on_cpu",
    "nvcsw",
    "nivcsw",
    "utime",
    "stime",
    "start_time",
    "nr_cpus_allowed",
    "scx.flags",
    "scx.slice",
    "scx.dsq_vtime",
    "scx.weight",
    "scx.runnable_at",
    "scx.ops_state.counter",
    "se.vruntime",
    "se.sum_exec_runtime",
)
OF_SCHEDULERS = ("exit_kind.counter", "dsq_hash.nelems.counter", "watchdog_timeout", "warned_zero_slice")


def member(thing: Object, path: str) -> Any:  # noqa: ANN401
    """A member behind dots; the word "absent" when this kernel has none of that name."""
    try:
        for name in path.split("."):
            thing = thing.member_(name)
    except LookupError:
        return "absent"
    return thing.value_()


def text(value: Object) -> str:
    return bytes(value.string_()).decode("ascii", "replace")


def answers(prog: Program) -> dict[str, Any]:
    """More than fifty questions and their answers, as plain values."""
    cpus = list(for_each_possible_cpu(prog))
    tasks = sorted(for_each_task(prog), key=lambda it: it.pid.value_())
    runnable = sorted(scx.scx_runnable_tasks(prog), key=lambda it: it.pid.value_())
    sch = scx.scx_root_sched(prog)
    found: dict[str, Any] = {
        "release": text(prog["init_uts_ns"].name.release),
        "version": text(prog["init_uts_ns"].name.version),
        "first task": text(prog["init_task"].comm),
        "jiffies": prog["jiffies_64"].value_(),
        "possible CPUs": cpus,
        "online CPUs": list(for_each_online_cpu(prog)),
        "tasks": {it.pid.value_(): text(it.comm) for it in tasks},
        "states": {it.pid.value_(): task_state_to_char(it) for it in tasks},
        "CPUs of tasks": {it.pid.value_(): task_cpu(it) for it in tasks},
        "parents": {it.pid.value_(): it.real_parent.pid.value_() for it in tasks},
        "init": text(find_task(prog, 1).comm),
        "current": [text(cpu_curr(prog, cpu).comm) for cpu in cpus],
        "scheduler": scx.scx_ops_name(sch).decode() if sch else None,
        "exit kind": scx.scx_exit_kind(sch) if sch else None,
        "queues": [
            (scx.scx_dsq_name(it), it.nr.value_(), [task.pid.value_() for task in scx.scx_dsq_tasks(it)])
            for it in scx.for_each_scx_dsq(prog)
        ],
        "runnable": {it.pid.value_(): scx.scx_task_age_ms(it) for it in runnable},
        "why not": {it.pid.value_(): scx.scx_why_not_running(it) for it in tasks},
        "scx states": {it.pid.value_(): scx.task_scx_state(it) for it in tasks},
        "in queues": {it.pid.value_(): scx.task_scx_dsq(it).value_() for it in runnable},
    }
    for path in OF_RUNQUEUES:
        found[f"rq.{path}"] = [member(per_cpu(prog["runqueues"], cpu), path) for cpu in cpus]
    for path in OF_TASKS:
        found[f"task.{path}"] = {it.pid.value_(): member(it, path) for it in tasks}
    for path in OF_SCHEDULERS:
        found[f"sch.{path}"] = member(sch, path) if sch else None
    return found
