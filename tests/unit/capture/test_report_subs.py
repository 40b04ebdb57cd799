"""Captures of a kernel with sub-schedulers: whose queues, whose tasks, and which scheduler the capture is about."""

from __future__ import annotations

from ktstr_tui.capture.report.collect import collect
from ktstr_tui.model.cause import cause_of
from ktstr_tui.model.report import CaptureReport, DsqReport
from tests.unit.kernel.blob import PAGE_OFFSET
from tests.unit.kernel.test_sched_tree import WILD, with_sub
from tests.unit.kernel.tiny import SCHED, SIBLING
from tests.unit.kernel.whole import WholeKernel

ERROR_BPF = 1025
INFO = PAGE_OFFSET + 0x68000


def eject(kernel: WholeKernel, sub: int) -> None:
    """The kernel has written why it ejected a sub-scheduler, and has gone on to disable it."""
    put = kernel.memory
    put.put(sub + 64, ERROR_BPF, 4)
    put.put(sub + 80, INFO)
    put.put(INFO, ERROR_BPF, 4)
    put.put(INFO + 16, INFO + 0x80)
    put.put_bytes(INFO + 0x80, b"scx_bpf_error\0")
    put.put(INFO + 24, INFO + 0x100)
    put.put_bytes(INFO + 0x100, b"child broke in task 43\0")


def captured(kernel: WholeKernel, about: int | None = None) -> CaptureReport:
    view = kernel.open()
    raw = collect(view, tag="error-001", trigger="error", about=about)
    if about is not None:
        kernel.memory.put(about + 64, 1, 4)
    return raw.render(view)


def test_queues_and_tasks_are_told_apart_by_their_scheduler() -> None:
    kernel, _ = with_sub()
    report = captured(kernel)
    assert report.scheduler is not None
    assert (report.scheduler.name, report.scheduler.cgroup, report.root) == ("made_up", None, None)
    (child,) = report.subs
    assert (child.name, child.cgroup, child.parent, child.level, child.state, child.exit_kind_name) == (
        "child",
        "/box",
        None,
        1,
        "enabled",
        "NONE",
    )
    assert child.watchdog_timeout_ms == 1000
    assert [(it.pid, it.dsq, it.sub) for it in report.tasks] == [
        (42, "0x7", None),
        (43, "0x7 of /box", "/box"),
    ]
    assert [it for it in report.dsqs if it.origin == "user"] == [
        DsqReport(id=7, label="0x7", origin="user", nr=1, seq=0, pids=(42,)),
        DsqReport(id=7, label="0x7 of /box", origin="user", sub="/box", nr=1, seq=0, pids=(43,)),
    ]


def test_a_capture_of_an_ejected_sub_scheduler_is_about_that_one() -> None:
    kernel, sub = with_sub()
    eject(kernel, sub)
    report = captured(kernel, about=sub)
    assert report.scheduler is not None
    assert report.root is not None
    assert (report.root.name, report.root.exit_kind) == ("made_up", 0)
    assert (report.scheduler.cgroup, report.exit_kind) == ("/box", ERROR_BPF)
    assert report.scheduler.message == "child broke in task 43"
    cause = cause_of(report)
    assert cause is not None
    assert cause.text == "child broke in task 43"


def test_a_broken_tree_costs_a_capture_the_sub_schedulers_alone() -> None:
    kernel, sub = with_sub()
    kernel.memory.put(sub + SIBLING, WILD)
    report = captured(kernel)
    assert report.scheduler is not None
    assert report.scheduler.name == "made_up"
    assert "subs" in report.truncated
    assert [it.sub for it in report.tasks] == [None, "/box"]
    kernel.memory.put(SCHED + 96, 0x1000)
    report = captured(kernel)
    assert (report.subs, "subs" in report.truncated) == ((), True)
    assert [it.sub for it in report.tasks] == [None, f"{sub:#x}"]
