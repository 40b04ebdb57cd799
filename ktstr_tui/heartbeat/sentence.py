"""Turns a silence into a sentence: who, for how long, and why."""

from __future__ import annotations

from ktstr_tui.model.beats import Progress, StallCause
from ktstr_tui.model.report import RunningTask
from ktstr_tui.model.running import running_words
from ktstr_tui.model.text import counted

MAX_NAMED = 4
"""Tasks that the sentence names before it only counts them."""


def stall_sentence(comm: str, pid: int, silent_ms: float, cause: StallCause | None, never_heard: bool) -> str:
    """Compose the text of an alert.

    Args:
        comm: The sender's name; empty when it is not known.
        pid: Its pid.
        silent_ms: How long it has been silent.
        cause: Why, where somebody could look.
        never_heard: It has not beaten once.
    """
    who = f"{comm or 'pid'}[{pid}]"
    what = "has sent no heartbeat for" if never_heard else "silent"
    head = f"{who} {what} {silent_ms / 1000:.1f} s"
    return head if cause is None else f"{head}: {cause_words(cause)}"


def cause_words(cause: StallCause) -> str:
    """Compose its second half: the cause."""
    words = {
        "runnable": _runnable,
        "running": _running,
        "blocked": _blocked,
        "no-host-cpu": _no_host_cpu,
    }.get(cause.kind)
    if words is not None:
        return words(cause)
    if cause.kind == "exited":
        return f"exited{f' ({cause.reason})' if cause.reason else ''}"
    return f"cause unknown: {cause.reason or 'nothing could be read'}"


def _runnable(cause: StallCause) -> str:
    waiting = "" if cause.waiting_ms is None else f" for {cause.waiting_ms / 1000:.1f} s"
    place = f" in DSQ {cause.dsq}" if cause.dsq else " in no DSQ" if cause.sched_class == "ext" else ""
    if cause.sched_class not in (None, "ext"):
        place = f" ({cause.sched_class})"
    allowed = f", allowed CPUs {cause.cpus_allowed}" if cause.cpus_allowed else ""
    there = f"running there: {_there(cause.running_there)}"
    return f"runnable{waiting}{place}{_preempted(cause.progress)}{allowed}, {there}"


def _preempted(progress: Progress | None) -> str:
    """That a task does run, but loses its CPU again and again; empty when it does not."""
    if progress is None or not progress.preempted:
        return ""
    over_s, ran_s = progress.over_ms / 1000, progress.ran_ms / 1000
    times = counted(progress.preempted, "time")
    return f", preempted {times} and ran for {ran_s:.2f} s in the last {over_s:.1f} s"


def _there(tasks: tuple[RunningTask, ...]) -> str:
    if not tasks:
        return "unreadable"
    busy = [task for task in tasks if task.sched_class != "idle"]
    if not busy:
        return "nothing (idle)"
    named = ", ".join(running_words(task) for task in busy[:MAX_NAMED])
    more = len(busy) - MAX_NAMED
    return f"{named} and {more} more" if more > 0 else named


def _running(cause: StallCause) -> str:
    where = "" if cause.cpu is None else f" on CPU {cause.cpu}"
    used = "" if cause.vcpu_ms is None else f", which got {cause.vcpu_ms / 1000:.1f} s of host CPU"
    often = _preempted(cause.progress)
    return f"runs{where} ({cause.sched_class or 'class unknown'}){used}{often}, but sends no heartbeats"


def _blocked(cause: StallCause) -> str:
    where = f" in {cause.wchan}" if cause.wchan else ""
    return f"blocked ({cause.state or '?'}){where}"


def _no_host_cpu(cause: StallCause) -> str:
    used = "no" if cause.vcpu_ms is None else f"{cause.vcpu_ms / 1000:.2f} s of"
    return f"vCPU {cause.cpu} got {used} host CPU; the host is busy, not the guest's scheduler"
