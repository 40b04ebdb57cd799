"""The first sentence of a capture: why the scheduler was ejected, or which task has waited longest."""

from __future__ import annotations

from ktstr_tui.model.cause import (
    Cause,
    bpf_frame,
    calling_frame,
    cause_of,
    is_exiting,
    is_killed,
    program_name,
)
from ktstr_tui.model.host import host_words
from ktstr_tui.model.report import EXIT_CODE_RESTART, CaptureReport, TaskReport, VcpuReport
from ktstr_tui.model.text import counted, runnable_for
from ktstr_tui.text import words
from ktstr_tui.text.plain import clean
from ktstr_tui.text.words import stalled_task

_FIRST_MET = "the kernel reports the first task over its limit that it meets, CPU by CPU"


def headline(report: CaptureReport) -> str:
    """The most important of a capture, in one sentence."""
    if report.is_placeholder:
        reason = next(iter(report.unavailable.values()), "reason unknown")
        return f"Nothing was captured: {clean(reason)}"
    cause = cause_of(report)
    sentence = longest_waiting(report) if cause is None else _about(report) + _cause(report, cause)
    if report.host is not None:
        # Whoever reads one sentence must read this: the scheduler may be innocent.
        host = clean(host_words(report.host))
        sentence = f"{host[:1].upper()}{host[1:]}; {sentence}"
    missing = incomplete(report)
    return f"{sentence}; {missing}" if missing and "tasks" not in report.unavailable else sentence


def _about(report: CaptureReport) -> str:
    """Which scheduler was ejected, where that is not the loaded one."""
    it = report.scheduler
    return "" if it is None or it.cgroup is None else f"{clean(it.name or '?')} of {clean(it.cgroup)}: "


def incomplete(report: CaptureReport) -> str:
    """What the lists of tasks and queues lack, in short; empty when nothing."""
    return f"incomplete, {clean(report.lacks)}" if report.lacks else ""


def longest_waiting(report: CaptureReport) -> str:
    """The task that has waited longest, with the answers that maintainers ask for first."""
    stalled = report.stalled
    full = stalled_task(report)
    if full is not None:
        return _waits(full)
    if stalled is not None:
        return words.waiting(stalled)
    if "tasks" in report.unavailable:
        return f"The runnable tasks could not be read: {clean(report.unavailable['tasks'])}"
    waiting = [it for it in report.tasks if not it.on_cpu]
    if waiting:
        return f"{counted(len(waiting), 'runnable task')}, none of which has waited for a tick"
    known = "" if "tasks" not in report.truncated else " among those that could be read"
    return f"No runnable task was waiting{known}."


def _waits(task: TaskReport) -> str:
    parts = [
        f"{runnable_for(task.comm, task.pid, task.age_ms or 0.0)} {words.where(task)}",
        f"allowed CPUs {clean(task.cpus_allowed)}",
        f"running there: {words.running(task.running_there)}",
    ]
    return ", ".join(parts)


def _cause(report: CaptureReport, cause: Cause) -> str:
    if cause.watchdog:
        return f"{clean(cause.text or '')}; {_workers(cause)}"
    if cause.stall and cause.task is not None and not cause.task.on_cpu:
        other = _other(report, cause)
        return _waits(cause.task) + (f"; {other}" if other else "")
    if cause.stall and cause.pid is None:
        return longest_waiting(report)
    parts = [(f"{cause.kind}: {clean(cause.text)}" if cause.text else cause.kind) + _exit_code(report)]
    if cause.task is not None:
        parts.append(f"{words.task(cause.comm, cause.pid)} {_place(cause.task)}")
    elif cause.stall:
        parts.append("it is on no runnable list")
    if cause.vcpu is not None and not cause.stall:
        parts.append(_writer(cause.vcpu))
    return "; ".join(part for part in parts if part)


def _exit_code(report: CaptureReport) -> str:
    """The exit code that a scheduler left with, or that the kernel gave it; empty for none."""
    code = report.scheduler.exit_code if report.scheduler is not None else None
    if not code:
        return ""
    return f", exit code {code:#x}" + (" (SCX_ECODE_ACT_RESTART)" if code & EXIT_CODE_RESTART else "")


def _writer(vcpu: VcpuReport) -> str:
    """The CPU that wrote the exit kind: in which BPF program, or in which function and for which task."""
    program, called = bpf_frame(vcpu), calling_frame(vcpu)
    if program is not None:
        source = f", {clean(program.source)}" if program.source else ""
        return f"cpu {vcpu.cpu} in {clean(program_name(program))}{source}"
    if called is None:
        return ""
    parts = [f"cpu {vcpu.cpu} in {clean((called.symbol or '?').partition('+')[0])}"]
    if vcpu.curr is not None:
        parts.append(f"running {words.task(vcpu.curr.comm, vcpu.curr.pid)}")
    if is_exiting(vcpu):
        parts.append("which exits after a signal" if is_killed(vcpu) else "which exits")
    return ", ".join(parts)


def _place(task: TaskReport) -> str:
    on = (
        f"runs on cpu {task.cpu}" if task.on_cpu and not words.on_its_way(task) else f"is {words.where(task)}"
    )
    return f"{on}, allowed CPUs {clean(task.cpus_allowed)}"


def aside(report: CaptureReport, cause: Cause) -> str:
    """What is worth knowing beside the kernel's message of a stall; empty when nothing."""
    if cause.watchdog:
        return _workers(cause)
    return _other(report, cause) if cause.stall else ""


def _other(report: CaptureReport, cause: Cause) -> str:
    """The task that waited longest, when the kernel names another one."""
    stalled = report.stalled
    if stalled is None or stalled.pid == cause.pid:
        return ""
    return f"longest waiting is {words.waiting(stalled)} ({_FIRST_MET})"


def _workers(cause: Cause) -> str:
    if not cause.workers:
        return "no unbound kworker, which would run it, is waiting"
    return f"of the unbound kworkers that run it, waiting: {_waits(cause.workers[0])}"


def subject(report: CaptureReport) -> tuple[str, TaskReport | None]:
    """The task that a report shows first, with its title."""
    cause = cause_of(report)
    if cause is None:
        return "longest waiting", stalled_task(report)
    if cause.task is not None:
        found = "task on its way" if cause.on_its_way else "task that the kernel names"
        return "stalled task" if cause.stall else found, cause.task
    if cause.watchdog and cause.workers:
        return "unbound kworker that waits longest", cause.workers[0]
    return "longest waiting", stalled_task(report) if cause.stall else None
