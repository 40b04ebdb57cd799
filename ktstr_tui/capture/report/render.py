"""From the copies of a capture to its report, after the thaw."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from ktstr_tui.capture.report.past import read_past, with_history
from ktstr_tui.capture.report.raw import RawCapture, RawCpu, RawTask
from ktstr_tui.capture.report.stacks import cpu_stack, task_stack
from ktstr_tui.kernel.displaced import next_task
from ktstr_tui.kernel.dmesg import DmesgUnreadable, dmesg_tail
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.sched_tree import sub_of
from ktstr_tui.kernel.scx import ExitText, SchedState
from ktstr_tui.kernel.torn import Torn
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.kernel.waiting import timeout_ms
from ktstr_tui.model.report import (
    CaptureReport,
    DsqReport,
    RunningTask,
    RunqueueReport,
    SchedulerReport,
    TaskReport,
    VcpuReport,
    is_ejection,
)
from ktstr_tui.model.sample import RunnableTask

_EXIT_DONE = 1
"""``SCX_EXIT_DONE``: what the kernel sets when it has finished disabling a scheduler."""
_EXIT_WAIT_S, _EXIT_POLL_S = 2.0, 0.005
_EXIT_INFO, _DUMP = "scheduler.exit_info", "scheduler.dump"
_EXIT_LATE = "the kernel writes the reason and the message after the write that stopped it"


def render_capture(raw: RawCapture, view: KernelView, *, wait: bool = True) -> CaptureReport:
    """The report of ``raw``; reads the exit info and the kernel's log from the guest as it is now.

    May wait two seconds for the exit info of a scheduler that is being ejected: on a busy host the vCPU that writes it
    may not get to run at once.

    Args:
        raw: The copies.
        view: The guest's memory by type.
        wait: Whether to wait at all.
    """
    late: dict[str, str] = {}
    unavailable = dict(raw.unavailable)
    trace = read_past(raw, view, unavailable)
    running = {one.cpu: _running(view, one) for one in raw.cpus}
    tasks = tuple(_task(raw, view, task, running) for task in raw.tasks)
    clocks = [one.rq["clock"] for one in raw.cpus if one.rq is not None and one.rq["clock"] is not None]
    root, subs = _scheduler(raw, view), _subs(raw, view)
    about = next(
        (it for it, one in zip(subs, raw.subs, strict=True) if one.sub.state.address == raw.about), None
    )
    scheduler = about or root
    report = CaptureReport(
        tag=raw.tag,
        trigger=raw.trigger,
        trigger_detail=raw.trigger_detail,
        mono_ns=raw.mono_ns,
        guest_ns=max(clocks, default=None),
        wall_time=raw.wall_time,
        kernel=view.release,
        step=raw.step,
        exit_kind=scheduler.exit_kind if scheduler else None,
        scheduler=scheduler,
        root=None if about is None else root,
        subs=subs,
        stalled=_stalled(tasks),
        vcpus=tuple(_vcpu(raw, view, one, running[one.cpu]) for one in raw.cpus),
        runqueues=tuple(_runqueue(raw, view, one, running[one.cpu]) for one in raw.cpus),
        tasks=tasks,
        dsqs=_dsqs(raw),
        maps=view.maps.render_all(raw.maps),
        dmesg_tail=_dmesg(raw, view, unavailable, late),
        unavailable=unavailable,
        truncated=dict(raw.truncated),
        read_late=late,
    )
    report = _with_exit_info(view, report, raw.sched if about is None else raw.about, wait)
    return with_history(report, raw, trace)


def _with_exit_info(view: KernelView, report: CaptureReport, sched: int | None, wait: bool) -> CaptureReport:
    """Wait, briefly, for the kernel to write why it ejected the scheduler, and its dump.

    The dump is made before ``exit_kind`` moves on to DONE.
    """
    deadline_s = time.monotonic() + (_EXIT_WAIT_S if wait else 0)
    while True:
        report, done = _refresh(view, report, sched)
        if done or (report.exit_kind or 0) <= _EXIT_DONE or time.monotonic() >= deadline_s:
            return report
        time.sleep(_EXIT_POLL_S)


def _refresh(view: KernelView, report: CaptureReport, sched: int | None) -> tuple[CaptureReport, bool]:
    """Complete a report with the exit info as it is now; also return whether more can no longer come.

    A struct that no longer says the captured name and exit kind is another one and is left alone.
    """
    old, scx = report.scheduler, view.scx
    if scx is None or old is None or not old.exit_kind or sched is None:
        return report, True
    try:
        space = view.fresh_space()
        now, found = scx.read(space, sched), scx.exit_text(space, sched)
        dump, cut = scx.dump(space, sched) if is_ejection(old.exit_kind) else ("", None)
    except (MemoryReadError, Torn):
        return report, True
    if found is None or now.name != old.name or now.exit_kind not in (old.exit_kind, _EXIT_DONE):
        return report, True
    if not found.reason and not found.message:
        # The kernel moves exit_kind to DONE just before it writes the reason.
        return report, False
    done = now.exit_kind == _EXIT_DONE
    new = msgspec.structs.replace(
        old,
        exit_code=found.exit_code,
        exit_cpu=found.cpu,
        reason=found.reason or old.reason,
        message=found.message or old.message,
        dump=tuple(dump.splitlines()),
    )
    late, truncated = {**report.read_late, _EXIT_INFO: _EXIT_LATE}, dict(report.truncated)
    truncated.pop(_DUMP, None)
    if cut or (dump and not done):
        truncated[_DUMP] = cut or "the kernel may not have finished writing it"
    return msgspec.structs.replace(report, scheduler=new, read_late=late, truncated=truncated), done


def _scheduler(raw: RawCapture, view: KernelView) -> SchedulerReport | None:
    found = raw.scheduler
    if found is None or view.scx is None:
        return None
    if found.sched is None:
        return SchedulerReport(state=found.state, enable_seq=found.enable_seq)
    one = _one_scheduler(view, found.sched, found.exit_text, found.events)
    return msgspec.structs.replace(one, state=found.state, enable_seq=found.enable_seq)


def _one_scheduler(
    view: KernelView, sched: SchedState, exit_text: ExitText | None, events: dict[str, int] | None
) -> SchedulerReport:
    said = exit_text or ExitText(0, 0, None, None)
    return SchedulerReport(
        name=sched.name,
        exit_kind=sched.exit_kind,
        exit_kind_name=view.exit_kind_name(sched.exit_kind),
        # The kernel writes it after the exit kind: 0 is not an exit code before there is a reason.
        exit_code=said.exit_code if exit_text and (said.reason or not sched.exit_kind) else None,
        reason=said.reason,
        message=said.message,
        ops_flags=sched.ops_flags,
        aborting=sched.aborting,
        bypass_depth=sched.bypass_depth,
        watchdog_timeout_ms=timeout_ms(sched, view.hz),
        event_counters=events,
    )


def _subs(raw: RawCapture, view: KernelView) -> tuple[SchedulerReport, ...]:
    cgroups = raw.tree.cgroups()
    return tuple(
        msgspec.structs.replace(
            _one_scheduler(view, one.sub.state, one.exit_text, one.events),
            cgroup=one.sub.cgroup,
            parent=sub_of(one.sub.parent, raw.sched, cgroups),
            level=one.sub.level,
            state=one.sub.phase,
        )
        for one in raw.subs
    )


def _running(view: KernelView, one: RawCpu) -> RunningTask | None:
    if one.curr is None:
        return None
    return view.tasks.running(one.curr, one.cpu, online=one.online, ahead_of=next_task(one.behind))


def _vcpu(raw: RawCapture, view: KernelView, one: RawCpu, running: RunningTask | None) -> VcpuReport:
    return VcpuReport(
        cpu=one.cpu,
        registers=one.registers,
        curr=running,
        stack=cpu_stack(view, one.stack, one.registers, raw.bpf_symbols, raw.bpf_lines),
        unavailable=one.unavailable if one.registers else "no registers were read for this CPU",
    )


def _runqueue(raw: RawCapture, view: KernelView, one: RawCpu, running: RunningTask | None) -> RunqueueReport:
    if one.rq is None:
        return RunqueueReport(cpu=one.cpu, online=one.online, unavailable=one.unavailable)
    rq: dict[str, Any] = one.rq
    released, flags = rq["cpu_released"], rq["flags"]
    return RunqueueReport(
        cpu=one.cpu,
        nr_running=rq["nr_running"],
        scx_nr_running=rq["scx_nr_running"],
        flags=flags,
        flag_names=() if flags is None else view.tasks.words.rq_flags(flags),
        online=one.online,
        tick_stopped=one.tick_stopped,
        nr_immed=rq["nr_immed"],
        cpu_released=None if released is None else bool(released),
        ops_qseq=rq["ops_qseq"],
        kick_sync=rq["kick_sync"],
        local_dsq_nr=rq["local_dsq_nr"],
        rq_clock_ns=rq["clock"],
        curr=running,
        running=_on_cpu(raw, view, one),
        runnable_pids=tuple(task.pid for task in one.runnable),
        runnable_truncated=one.runnable_cut,
        unavailable=one.unavailable,
    )


def _on_cpu(raw: RawCapture, view: KernelView, one: RawCpu) -> TaskReport | None:
    if one.rq is None or one.curr is None or one.rq["curr"] == one.rq["idle"]:
        return None
    task = view.tasks.report(one.curr, one.allowed, one.cpu)
    return msgspec.structs.replace(task, sub=sub_of(one.curr["sched"], raw.sched, raw.tree.cgroups()))


def _task(
    raw: RawCapture, view: KernelView, task: RawTask, running: dict[int, RunningTask | None]
) -> TaskReport:
    there = tuple(found for cpu, found in running.items() if found is not None and task.allowed >> cpu & 1)
    return msgspec.structs.replace(
        view.tasks.report(task.row, task.allowed, task.found.cpu),
        age_ms=task.age_ms,
        sub=task.sub,
        dsq=task.dsq,
        dsq_id=task.dsq_id,
        running_there=there,
        stack=task_stack(view, task.stack, raw.bpf_symbols),
    )


def _stalled(tasks: tuple[TaskReport, ...]) -> RunnableTask | None:
    first = tasks[0] if tasks else None
    if first is None or first.on_cpu or not first.age_ms:
        return None
    return RunnableTask(
        pid=first.pid,
        comm=first.comm,
        age_ms=first.age_ms,
        cpu=first.cpu,
        dsq=first.dsq,
        held=first.dsq is None and first.ops_state_name == "QUEUED",
        sub=first.sub,
    )


def _dsqs(raw: RawCapture) -> tuple[DsqReport, ...]:
    return tuple(
        DsqReport(
            id=one.row["id"],
            label=one.ref.label,
            origin=one.ref.origin,
            sub=one.ref.sub,
            nr=one.row["nr"],
            seq=one.row["seq"],
            pids=tuple(one.pids),
            truncated=one.cut,
        )
        for one in raw.dsqs
    )


def _dmesg(
    raw: RawCapture, view: KernelView, unavailable: dict[str, str], late: dict[str, str]
) -> tuple[str, ...]:
    late["dmesg_tail"] = "read after the thaw"
    try:
        return dmesg_tail(view.prog, raw.dmesg_lines)
    except DmesgUnreadable as problem:
        unavailable["dmesg_tail"] = problem.message
        return ()
