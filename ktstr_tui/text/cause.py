"""The first sentence of a capture: why the scheduler was ejected, or which task has waited longest."""

from __future__ import annotations

from ktstr_tui.model.cause import Cause, bpf_frame, cause_of
from ktstr_tui.model.report import CaptureReport, TaskReport
from ktstr_tui.model.text import counted, runnable_for
from ktstr_tui.text import words
from ktstr_tui.text.lines import Line, clean, cut, wrap
from ktstr_tui.text.words import stalled_task

_INDENT = "  "
_FIRST_MET = "the kernel reports the first task over its limit that it meets, CPU by CPU"


def headline(report: CaptureReport) -> str:
    """The most important of a capture, in one sentence."""
    if report.is_placeholder:
        reason = next(iter(report.unavailable.values()), "reason unknown")
        return f"Nothing was captured: {clean(reason)}"
    cause = cause_of(report)
    sentence = longest_waiting(report) if cause is None else _cause(report, cause)
    missing = incomplete(report)
    return f"{sentence}; {missing}" if missing and "tasks" not in report.unavailable else sentence


def incomplete(report: CaptureReport) -> str:
    """What the lists of tasks and queues lack, in short; empty when nothing."""
    tables = (report.unavailable, report.truncated)
    parts = [f"{name}: {table[name]}" for name in ("tasks", "dsqs") for table in tables if name in table]
    return f"incomplete, {clean('; '.join(parts))}" if parts else ""


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
    parts = [f"{cause.kind}: {clean(cause.text)}" if cause.text else cause.kind]
    if cause.task is not None:
        parts.append(f"{words.task(cause.comm, cause.pid)} {_place(cause.task)}")
    elif cause.stall:
        parts.append("it is on no runnable list")
    frame = bpf_frame(cause.vcpu)
    if frame is not None and cause.vcpu is not None and not cause.stall:
        parts.append(f"cpu {cause.vcpu.cpu} in {clean(frame.source or frame.symbol or '')}")
    return "; ".join(parts)


def _place(task: TaskReport) -> str:
    on = f"runs on cpu {task.cpu}" if task.on_cpu else f"is {words.where(task)}"
    return f"{on}, allowed CPUs {clean(task.cpus_allowed)}"


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


def cause_lines(report: CaptureReport, width: int) -> list[Line]:
    """Kind and message, the stack of the CPU that wrote them, and what else is known of the cause."""
    cause = cause_of(report)
    if cause is None:
        return []
    text = f"{cause.kind}: {cause.text}" if cause.text else cause.kind
    lines: list[Line] = [[("cause", "head")]]
    lines += [[(_INDENT, ""), (part, "bad")] for part in wrap(clean(text), max(20, width - 2))]
    more = _workers(cause) if cause.watchdog else _other(report, cause) if cause.stall else ""
    lines += [[(_INDENT, ""), (part, "")] for part in wrap(more, max(20, width - 2)) if part]
    if cause.vcpu is not None and not cause.stall and cause.vcpu.stack is not None:
        lines.append([(f"{_INDENT}cpu {cause.vcpu.cpu} wrote it, called from", "dim")])
        for frame in cause.vcpu.stack.frames:
            name = clean(frame.symbol or "?")
            source = f"  {clean(frame.source)}" if frame.source else ""
            lines.append([(cut(f"    {name}", width), "strong" if source else "")])
            if source:
                lines[-1].append((cut(source, max(0, width - len(name) - 4)), "key"))
    return [*lines, []]


def subject(report: CaptureReport) -> tuple[str, TaskReport | None]:
    """The task that a report shows first, with its title."""
    cause = cause_of(report)
    if cause is None:
        return "longest waiting", stalled_task(report)
    if cause.task is not None:
        return ("stalled task" if cause.stall else "task that the kernel names"), cause.task
    if cause.watchdog and cause.workers:
        return "unbound kworker that waits longest", cause.workers[0]
    return "longest waiting", stalled_task(report) if cause.stall else None
