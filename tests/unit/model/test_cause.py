"""What a capture leads with: the kernel's words, the CPU that wrote them, the task they are about."""

from __future__ import annotations

import msgspec
import pytest

from ktstr_tui.model.cause import bpf_frame, cause_of
from ktstr_tui.model.kinds import Trigger
from ktstr_tui.model.report import (
    CaptureReport,
    RunningTask,
    RunqueueReport,
    SchedulerReport,
    Stack,
    StackFrame,
    TaskReport,
    VcpuReport,
)
from ktstr_tui.model.sample import RunnableTask
from ktstr_tui.text.cause import headline, subject
from ktstr_tui.text.lines import text_of
from ktstr_tui.text.report_lines import overview

SOURCE = "bad.bpf.c:12  scx_bpf_dsq_insert(p, 99, 0, 0);"
IDLE = Stack((StackFrame(1, "default_idle+0xf"),), "end of stack")
WRITER = Stack(
    (
        StackFrame(1, "scx_vexit+0x5b"),
        StackFrame(2, "scx_bpf_dsq_insert+0x1"),
        StackFrame(3, "bpf_prog_0123456789abcdef_bad_enqueue+0x7", guess=True, source=SOURCE),
    ),
    "end of stack",
)


def task(comm: str, pid: int, age_ms: float, *, on_cpu: bool = False) -> TaskReport:
    return TaskReport(
        pid=pid, tgid=pid, comm=comm, state="R", sched_class="ext", policy="NORMAL", nice=0, cpu=1, age_ms=age_ms,
        cpus_allowed="1", nr_cpus_allowed=1, on_cpu=on_cpu, dsq="0x7",
    )  # fmt: skip


def report(
    kind: int | None,
    message: str | None,
    *tasks: TaskReport,
    trigger: Trigger = "error",
    kind_name: str = "ERROR",
) -> CaptureReport:
    first = tasks[0] if tasks and tasks[0].age_ms and not tasks[0].on_cpu else None
    return CaptureReport(
        tag="x",
        trigger=trigger,
        exit_kind=kind,
        scheduler=SchedulerReport(name="bad", exit_kind=kind, exit_kind_name=kind_name, message=message),
        tasks=tasks,
        vcpus=(VcpuReport(cpu=0, stack=IDLE), VcpuReport(cpu=1, stack=WRITER)),
        stalled=RunnableTask(pid=first.pid, comm=first.comm, age_ms=first.age_ms or 0.0, cpu=1, dsq="0x7")
        if first
        else None,
    )


def test_an_error_leads_with_the_message_and_the_line_that_made_it() -> None:
    it = report(1024, "non-existent DSQ 0x63", task("innocent", 9, 0.0))
    assert headline(it) == f"ERROR: non-existent DSQ 0x63; cpu 1 in bad_enqueue, {SOURCE}"
    lines = [text_of(line).strip() for line in overview(it, 120)]
    assert lines[:2] == ["cause", "ERROR: non-existent DSQ 0x63"]
    assert "cpu 1 wrote it, called from" in lines
    assert any(SOURCE in line for line in lines)
    assert "stalled task" not in lines


def test_the_task_of_an_error_is_the_one_that_the_message_names() -> None:
    hog = task("odd name [x]", 44, 0.0, on_cpu=True)
    it = report(
        1024, "SCX_DSQ_LOCAL_ON target CPU 0 not allowed for odd name [x][44]", task("spin", 9, 40.0), hog
    )
    cause = cause_of(it)
    assert cause is not None
    assert cause.task is hog
    assert subject(it) == ("task that the kernel names", hog)
    assert "odd name [x][44] runs on cpu 1, allowed CPUs 1" in headline(it)


def test_a_task_that_only_a_runqueue_has_is_found() -> None:
    hog = task("hog", 44, 0.0, on_cpu=True)
    it = CaptureReport(
        tag="x",
        trigger="error",
        exit_kind=1024,
        scheduler=SchedulerReport(exit_kind=1024, message="bad slice of hog[44]"),
        runqueues=(RunqueueReport(cpu=1, running=hog),),
    )
    cause = cause_of(it)
    assert cause is not None
    assert cause.task is hog


def frames(*names: str) -> Stack:
    return Stack(tuple(StackFrame(k, f"{name}+0x1") for k, name in enumerate(names)), "end of stack")


def written_by(kind: int, stack: Stack, *tasks: TaskReport, message: str | None = None) -> CaptureReport:
    """A report of an ejection that CPU 1 wrote while it ran ``crash[44]``."""
    curr = RunningTask(cpu=1, pid=44, comm="crash", sched_class="ext")
    return CaptureReport(
        tag="x",
        trigger="error",
        exit_kind=kind,
        scheduler=SchedulerReport(name="bad", exit_kind=kind, message=message, reason="the kernel's reason"),
        tasks=tasks,
        vcpus=(VcpuReport(cpu=0, stack=IDLE), VcpuReport(cpu=1, stack=stack, curr=curr)),
    )


def moving(pid: int, state: str, *, on_cpu: bool = False) -> TaskReport:
    return msgspec.structs.replace(task("spin", pid, 0.0, on_cpu=on_cpu), dsq=None, ops_state_name=state)


ENQUEUES = frames("scx_vexit", "__scx_exit", "dispatch_enqueue", "enqueue_task_scx", "wake_up_new_task")
PRIQ = "DSQ ID 0x51 already had PRIQ-enqueued tasks"


def test_the_task_that_was_being_enqueued_is_named_where_the_message_names_none() -> None:
    it = written_by(1024, ENQUEUES, task("other", 9, 0.0), moving(12, "QUEUEING"), message=PRIQ)
    where = "allowed CPUs 1; cpu 1 in dispatch_enqueue, running crash[44]"
    assert headline(it) == f"ERROR: {PRIQ}; spin[12] is being enqueued, {where}"
    assert subject(it) == ("task on its way", it.tasks[1])
    # On its way off the CPU it is still there.
    leaves = frames("scx_vexit", "dispatch_enqueue", "put_prev_task_scx", "__schedule")
    it = written_by(1024, leaves, moving(12, "QUEUEING", on_cpu=True), message=PRIQ)
    assert f"; spin[12] is being enqueued, {where}" in headline(it)


@pytest.mark.parametrize(
    ("stack", "tasks"),
    [
        (ENQUEUES, (moving(12, "QUEUEING"), moving(13, "QUEUEING"))),
        (ENQUEUES, (moving(12, "QUEUED"), moving(13, "DISPATCHING"))),
        (frames("scx_vexit", "scx_bpf_kick_cpu", "balance_one"), (moving(12, "QUEUEING"),)),
    ],
    ids=["two tasks", "another state", "the writer does something else"],
)
def test_no_task_is_named_that_may_be_innocent(stack: Stack, tasks: tuple[TaskReport, ...]) -> None:
    it = written_by(1024, stack, *tasks, message="broken")
    assert "spin" not in headline(it)
    assert subject(it)[1] is None


@pytest.mark.parametrize(
    ("calls", "ending"),
    [
        (("task_work_run", "do_exit", "do_group_exit", "get_signal"), ", which exits after a signal"),
        (("task_work_run", "do_exit"), ", which exits"),
        (("bpf_link_detach",), ""),
    ],
)
def test_who_unregistered_the_scheduler_is_named(calls: tuple[str, ...], ending: str) -> None:
    it = written_by(64, frames("scx_disable", "bpf_scx_unreg", *calls))
    assert headline(it) == f"UNREG: the kernel's reason; cpu 1 in bpf_scx_unreg, running crash[44]{ending}"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, ""),
        (0x42, ", exit code 0x42"),
        (1 << 48 | 1, ", exit code 0x1000000000001 (SCX_ECODE_ACT_RESTART)"),
    ],
)
def test_the_exit_code_is_told_when_there_is_one(code: int, words: str) -> None:
    it = CaptureReport(
        tag="x",
        trigger="error",
        exit_kind=65,
        scheduler=SchedulerReport(exit_kind=65, message="topology changed", exit_code=code),
    )
    assert headline(it) == f"UNREG_BPF: topology changed{words}"


def test_a_stall_leads_with_the_kernels_task_and_says_why_ours_differs() -> None:
    ours, theirs = task("spin", 9, 3100.0), task("mixed", 8, 3050.0)
    text = headline(report(1026, "mixed[8] failed to run for 3.050s", ours, theirs, kind_name="ERROR_STALL"))
    assert text.startswith("mixed[8] runnable for 3.050 s in DSQ 0x7")
    assert "longest waiting is spin[9] runnable for 3.100 s" in text
    assert "first task over its limit that it meets" in text
    same = headline(report(1026, "spin[9] failed to run for 3.100s", ours, kind_name="ERROR_STALL"))
    assert "longest waiting" not in same


def test_a_watchdog_that_did_not_run_names_its_worker() -> None:
    message = "watchdog failed to check in for 4.100s"
    it = report(
        1026, message, task("spin", 9, 4200.0), task("kworker/u8:1", 5, 4100.0), kind_name="ERROR_STALL"
    )
    text = headline(it)
    assert text.startswith(message)
    assert "kworker/u8:1[5] runnable for 4.100 s in DSQ 0x7" in text
    none = headline(report(1026, message, task("spin", 9, 4200.0), kind_name="ERROR_STALL"))
    assert "no unbound kworker, which would run it, is waiting" in none


@pytest.mark.parametrize("trigger", ["on-demand", "periodic", "early"])
def test_without_an_ejection_a_task_is_the_longest_waiting(trigger: Trigger) -> None:
    it = report(0, None, task("spin", 9, 40.0), trigger=trigger)
    assert cause_of(it) is None
    assert subject(it)[0] == "longest waiting"
    young = report(0, None, task("spin", 9, 0.0), trigger=trigger)
    assert headline(young) == "1 runnable task, none of which has waited for a tick"


def test_the_frame_of_a_bpf_program_is_found_without_its_source() -> None:
    plain = StackFrame(3, "bpf_prog_0123456789abcdef_bad+0x7", guess=True)
    vcpu = VcpuReport(cpu=0, stack=Stack((StackFrame(1, "scx_exit+0x1"), plain), "user"))
    assert bpf_frame(vcpu) is plain
    assert bpf_frame(None) is None
