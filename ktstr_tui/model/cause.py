"""Why a scheduler was ejected, as a capture of the ejection shows it.

The kernel names the kind and a message, and often the task it is about (``spin-0[105]``). The CPU that wrote the exit
kind is the one whose stack goes through the function that writes it; newer kernels keep its number as well.
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
_EXIT = re.compile(r"(__)?scx_(v?exit|error)\+")
"""The functions of the kernel that write ``exit_kind``."""
_NAMED = re.compile(r"(\S+)\[(\d+)\]")
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
        vcpu=_writer(report),
        workers=tuple(waiting) if watchdog else (),
    )


def bpf_frame(vcpu: VcpuReport | None) -> StackFrame | None:
    """Return the innermost frame of a BPF program on a CPU's stack."""
    frames = vcpu.stack.frames if vcpu is not None and vcpu.stack is not None else ()
    return next((it for it in frames if it.source or (it.symbol or "").startswith("bpf_prog_")), None)


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
