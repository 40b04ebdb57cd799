"""Sub-schedulers on the screen, in reports, in ``status`` and in the summary."""

from __future__ import annotations

import msgspec

from ktstr_tui.cli.status import status_lines
from ktstr_tui.link.status import status_of
from ktstr_tui.model.report import CaptureReport, DsqReport, SchedulerReport, TaskReport
from ktstr_tui.model.sample import DsqSample, RunnableTask, SchedulerSample, SubSample
from ktstr_tui.model.state import CaptureState, RunState
from ktstr_tui.text import report_lines
from ktstr_tui.text.cause import headline
from ktstr_tui.text.lines import text_of
from ktstr_tui.text.summary import capture_line
from ktstr_tui.tui.bars import deadline_line
from ktstr_tui.tui.scheduler import scheduler_lines

WAITS = RunnableTask(
    pid=106, comm="spin-1", age_ms=648.0, cpu=0, dsq="0x7 of /box", sub="/box", timeout_ms=1000.0
)
SAMPLE = SchedulerSample(
    name="parent",
    state="enabled",
    exit_kind=0,
    watchdog_timeout_ms=20_000.0,
    nr_runnable=4,
    oldest_runnable=WAITS,
    dsqs=(
        DsqSample(id=7, label="0x7", nr=3),
        DsqSample(id=7, label="0x7 of /box", nr=1, sub="/box"),
        DsqSample(id=9, label="global node 0", nr=0),
        DsqSample(id=9, label="global node 0 of /box", nr=0, sub="/box"),
    ),
    subs=(
        SubSample(name="child", cgroup="/box", level=1, state="enabled", exit_kind=0, nr_runnable=1),
        SubSample(
            name="inner",
            cgroup="/box/in",
            parent="/box",
            level=2,
            state="disabling",
            exit_kind=1025,
            nr_runnable=0,
        ),
    ),
)


def lines_of(sample: SchedulerSample, width: int = 40) -> list[str]:
    return [text_of(line).rstrip() for line in scheduler_lines(RunState(scheduler=sample), width)]


def test_the_panel_shows_the_tree_and_queues_under_their_scheduler() -> None:
    lines = lines_of(SAMPLE)
    tree = lines.index(next(it for it in lines if it.startswith("sub-scheduler")))
    assert [" ".join(it.split()) for it in lines[tree : tree + 4]] == [
        "sub-scheduler runnable",
        "/box child ● enabled 1",
        "/box/in inner ● disabling 0",
        "exit_kind ERROR_BPF",
    ]
    head = next(at for at, it in enumerate(lines) if it.startswith("DSQ"))
    assert [it.split()[0] for it in lines[head + 1 : head + 6]] == ["0x7", "global", "of", "0x7", "global"]


def test_the_deadline_is_that_of_the_tasks_own_scheduler() -> None:
    text = text_of(deadline_line(RunState(scheduler=SAMPLE), 120))
    assert "spin-1[106] in DSQ 0x7 of /box" in text
    assert "1.0 s" in text
    assert "20.0 s" not in text


def test_a_tree_that_is_cut_or_unreadable_says_so() -> None:
    cut = lines_of(msgspec.structs.replace(SAMPLE, subs_truncated=True))
    assert "… more sub-schedulers (limit reached)" in cut
    broken = lines_of(msgspec.structs.replace(SAMPLE, subs=(), subs_unreadable="torn: a loop"))
    assert "unreadable: torn: a loop" in broken


def test_without_sub_schedulers_nothing_is_said_of_them() -> None:
    alone = msgspec.structs.replace(SAMPLE, subs=(), dsqs=SAMPLE.dsqs[:1])
    assert not any("sub-scheduler" in it or it.startswith("of ") for it in lines_of(alone))


def test_status_lists_the_tree() -> None:
    state = RunState(scheduler=SAMPLE)
    lines = status_lines(status_of(state))
    at = lines.index(next(it for it in lines if it.startswith("scheduler")))
    assert lines[at].endswith("of 1 s")
    assert lines[at + 1 : at + 3] == [
        "below it   /box: child, enabled, 1 runnable",
        "             /box/in: inner, disabling, 0 runnable",
    ]


REPORT = CaptureReport(
    tag="error-001",
    trigger="error",
    exit_kind=1025,
    scheduler=SchedulerReport(
        name="child",
        cgroup="/bo\x1b[2Jx",
        level=1,
        state="disabling",
        exit_kind=1025,
        exit_kind_name="ERROR_BPF",
        message="child broke in task 106",
    ),
    root=SchedulerReport(name="parent", state="enabled", exit_kind=0, exit_kind_name="NONE"),
    subs=(
        SchedulerReport(
            name="child",
            cgroup="/bo\x1b[2Jx",
            level=1,
            state="disabling",
            exit_kind=1025,
            exit_kind_name="ERROR_BPF",
        ),
        SchedulerReport(
            name="other", cgroup="/other", level=1, state="enabled", exit_kind=0, exit_kind_name="NONE"
        ),
    ),
    tasks=(
        TaskReport(
            pid=106,
            tgid=106,
            comm="spin-1",
            state="R",
            sched_class="ext",
            policy="EXT",
            nice=0,
            cpu=0,
            cpus_allowed="0-1",
            nr_cpus_allowed=2,
            age_ms=1.0,
            sub="/bo\x1b[2Jx",
            ops_state_name="QUEUED",
            ops_state=2,
        ),
    ),
    dsqs=(DsqReport(id=7, label="0x7 of /other", origin="user", sub="/other", nr=0),),
)


def test_a_report_leads_with_the_sub_scheduler_and_shows_the_tree() -> None:
    assert headline(REPORT).startswith("child of /bo")
    assert "ERROR_BPF: child broke in task 106" in headline(REPORT)
    text = [text_of(line) for line in report_lines.overview(REPORT, 100)]
    assert text[0].startswith("cause of the ejection of /bo")
    tree = text.index("schedulers")
    assert text[tree + 1].split()[:2] == ["/", "parent"]
    assert text[tree + 3].startswith("    /other other")
    assert "ERROR_BPF (1025)" in text[tree + 2]
    assert any("DSQ" in it for it in text)
    assert not any("\x1b" in it for it in (*text, headline(REPORT)))


def test_a_summary_names_the_scheduler_that_a_capture_is_about() -> None:
    line = capture_line(CaptureState(report=REPORT))
    assert (line["scheduler"], line["cgroup"]) == ("child", "/bo\x1b[2Jx")


def test_a_task_that_the_bpf_scheduler_holds_names_which() -> None:
    text = [text_of(line) for line in report_lines.task_detail(REPORT.tasks[0], 100)]
    assert "held by the BPF scheduler of /bo" in text[0]
    assert any("sub-scheduler=" in it for it in text)
