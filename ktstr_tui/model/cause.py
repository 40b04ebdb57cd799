"""Why a scheduler was ejected, as a capture of the ejection shows it.

The kernel names the kind and a message, and often the task it is about (``spin-0[105]``). The CPU that wrote the exit
kind is the one whose stack goes through the function that writes it; newer kernels keep its number as well.
Where the message names no task, the task that the kernel had in its hands is found by ``p->scx.ops_state``: QUEUEING
while it is enqueued, DISPATCHING while it is dispatched, and the writing CPU is in a function that does so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from ktstr_tui.model.report import (
    CaptureReport,
    StackFrame,
    TaskReport,
    VcpuReport,
    exit_kind_name,
    is_ejection,
)

_STALL = 1026
_DONE = 1
_EXIT = re.compile(r"(__)?scx_(v?exit|error|disable)\+")
"""The functions of the kernel that write ``exit_kind``."""
_NAMED = re.compile(r"(\S+)\[(\d+)\]")
_PROGRAM = re.compile(r"bpf_prog_[0-9a-f]{16}_(\w+)")
_ON_ITS_WAY = {
    "QUEUEING": re.compile(r"(do_enqueue_task|enqueue_task_scx|put_prev_task_scx)[.+]"),
    "DISPATCHING": re.compile(r"(finish_dispatch|flush_dispatch_buf|dispatch_to_local_dsq)[.+]"),
}
"""Functions of the kernel that have a task in their hands while its ``ops_state`` says so."""
_EXITS = re.compile(r"do_exit\+")
_HANDLES_SIGNAL = re.compile(r"get_signal\+")
_WAITED = re.compile(r"(?:failed to run|failed to check in|stuck) for (\d+(?:\.\d+)?) ?s\b")
_CHECK_IN = "watchdog failed to check in"
_UNBOUND = "kworker/u"
"""The watchdog is work of an unbound workqueue, done by whichever of these workers is free."""


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """Why a scheduler was ejected."""

    kind: str
    text: str | None
    """The kernel's message, or its reason when there is no message."""
    stall: bool = False
    """A task waited for too long, or the watchdog itself did not run."""
    watchdog: bool = False
    """The watchdog itself did not run."""
    comm: str | None = None
    """Of the task that the message names."""
    pid: int | None = None
    task: TaskReport | None = None
    """What the capture says of that task."""
    on_its_way: bool = False
    """The message names no task; this one was being enqueued or dispatched."""
    vcpu: VcpuReport | None = None
    """The CPU that wrote the exit kind."""
    workers: tuple[TaskReport, ...] = ()
    """When the watchdog did not run: the workers that wait and could run it."""


def cause_of(report: CaptureReport) -> Cause | None:
    """Return why the scheduler was ejected; None for a capture that is not of an ejection."""
    kind, it = report.exit_kind, report.scheduler
    ejected = is_ejection(kind) or (report.trigger == "error" and (kind or 0) > _DONE)
    if not ejected or report.is_placeholder:
        return None
    text = (it.message or it.reason) if it is not None else None
    named = it is not None and it.exit_kind == kind and it.exit_kind_name
    comm, pid, task = _task(report, (it.message if it is not None else None) or "")
    writer = _writer(report)
    moved = _on_its_way(report, writer) if pid is None and writer is not None and kind != _STALL else None
    if moved is not None:
        comm, pid, task = moved.comm, moved.pid, moved
    watchdog = text is not None and _CHECK_IN in text
    waiting = [one for one in report.tasks if one.comm.startswith(_UNBOUND) and not one.on_cpu]
    return Cause(
        kind=named or exit_kind_name(kind),
        text=text,
        stall=kind == _STALL,
        watchdog=watchdog,
        comm=comm,
        pid=pid,
        task=task,
        on_its_way=moved is not None,
        vcpu=writer,
        workers=tuple(waiting) if watchdog else (),
    )


def ejecting_wait_ms(report: CaptureReport) -> float | None:
    """For how long somebody waited so that the kernel ejected the scheduler, in milliseconds.

    The kernel's message says it: of a task that did not run, of the watchdog that did not check in (then no task need
    wait at all), of a CPU that was stuck. Without a message the task that waited longest counts, and without one the
    watchdog's timeout, which was over.

    Returns:
        None for a capture that is not of such an ejection.
    """
    if report.trigger != "error" or not is_ejection(report.exit_kind):
        return None
    it = report.scheduler
    found = _WAITED.search((it.message or "") if it is not None else "")
    if found is not None:
        return float(found[1]) * 1e3
    if report.exit_kind != _STALL:
        return None
    if report.stalled is not None:
        return report.stalled.age_ms
    return it.watchdog_timeout_ms if it is not None else None


def shown_wait_ms(report: CaptureReport) -> float | None:
    """Milliseconds that somebody had waited at the stop: for an ejection, or the task that waited longest."""
    if report.trigger == "error":
        return ejecting_wait_ms(report)
    return report.stalled.age_ms if report.stalled is not None else None


def bpf_frame(vcpu: VcpuReport | None) -> StackFrame | None:
    """Return the innermost frame of a BPF program on a CPU's stack."""
    frames = vcpu.stack.frames if vcpu is not None and vcpu.stack is not None else ()
    return next((it for it in frames if it.source or (it.symbol or "").startswith("bpf_prog_")), None)


def program_name(frame: StackFrame) -> str:
    """Return the name of the BPF program of a frame, such as ``fifo_enqueue``."""
    found = _PROGRAM.match(frame.symbol or "")
    return found[1] if found is not None else frame.symbol or ""


def calling_frame(vcpu: VcpuReport) -> StackFrame | None:
    """Return the frame that called the function which writes ``exit_kind``; None when the stack shows neither."""
    frames = vcpu.stack.frames if vcpu.stack is not None else ()
    last = max((k for k, it in enumerate(frames) if _EXIT.match(it.symbol or "")), default=-1)
    return frames[last + 1] if 0 <= last < len(frames) - 1 else None


def is_exiting(vcpu: VcpuReport) -> bool:
    """Whether the task on a CPU exits: its stack goes through ``do_exit()``."""
    return _calls(vcpu, _EXITS)


def is_killed(vcpu: VcpuReport) -> bool:
    """Whether the task on a CPU handles a signal: its stack goes through ``get_signal()``."""
    return _calls(vcpu, _HANDLES_SIGNAL)


def _calls(vcpu: VcpuReport, function: re.Pattern[str]) -> bool:
    return vcpu.stack is not None and any(function.match(it.symbol or "") for it in vcpu.stack.frames)


def _on_its_way(report: CaptureReport, writer: VcpuReport) -> TaskReport | None:
    states = {name for name, function in _ON_ITS_WAY.items() if _calls(writer, function)}
    # When several tasks are, on several CPUs, nobody knows which one it is about.
    found = {it.pid: it for it in _known(report) if it.ops_state_name in states}
    return next(iter(found.values())) if len(found) == 1 else None


def _task(report: CaptureReport, message: str) -> tuple[str | None, int | None, TaskReport | None]:
    # A name may hold any character, so the tasks that are known are looked for first.
    for task in _known(report):
        if f"{task.comm}[{task.pid}]" in message:
            return task.comm, task.pid, task
    found = _NAMED.search(message)
    return (None, None, None) if found is None else (found[1], int(found[2]), None)


def _known(report: CaptureReport) -> Iterator[TaskReport]:
    yield from report.tasks
    yield from (queue.running for queue in report.runqueues if queue.running is not None)


def _writer(report: CaptureReport) -> VcpuReport | None:
    for vcpu in report.vcpus:
        if vcpu.stack is not None and any(_EXIT.match(it.symbol or "") for it in vcpu.stack.frames):
            return vcpu
    number = report.scheduler.exit_cpu if report.scheduler is not None else None
    return next((vcpu for vcpu in report.vcpus if vcpu.cpu == number), None)
