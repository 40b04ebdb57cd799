"""The section that says what changed since an earlier capture."""

from __future__ import annotations

import msgspec

from ktstr_tui.model import events as ev
from ktstr_tui.model.diff import diff_reports
from ktstr_tui.model.report import CaptureReport, DsqReport, placeholder
from ktstr_tui.text.lines import text_of, width_of
from ktstr_tui.text.report_diff import baseline, changes, diff_lines
from ktstr_tui.text.report_lines import overview
from tests.tui.fakes import FakeSource, screen
from tests.tui.story import Story

replace = msgspec.structs.replace
HOSTILE = "\x1b[31m[bold]x[/bold]\u202e"


def late() -> CaptureReport:
    return replace(Story().report(), early_tag="early-001")


def early() -> CaptureReport:
    """Two seconds before: the first task waited already, the second ran, a third was still there."""
    report = Story().report("early-001")
    first, second, third, *_ = report.tasks
    assert first.age_ms is not None
    return replace(
        report,
        trigger="early",
        mono_ns=report.mono_ns - 2_000_000_000,
        guest_ns=None if report.guest_ns is None else report.guest_ns - 2_000_000_000,
        tasks=(
            replace(first, age_ms=first.age_ms - 2000),
            replace(second, age_ms=3900.0),
            replace(third, pid=999),
        ),
        dsqs=(DsqReport(id=7, label="0x7", origin="user", nr=2, seq=40209, pids=(first.pid, second.pid)),),
    )


def shown(report: CaptureReport, *others: CaptureReport, width: int = 100) -> str:
    return "\n".join(text_of(line) for line in changes(report, [*others, report], width))


def test_the_difference_to_the_early_capture() -> None:
    text = shown(late(), replace(early(), tag="other"), early())
    lines = text.split("\n")
    assert lines[0] == "early-001 → error-001  2.0 s apart"
    (starved,) = (line for line in lines if "did not run in between" in line)
    assert "spin-1[201]" in starved
    assert "2.1 s → 4.1 s" in starved
    assert any("999" in line and "no longer runnable" in line for line in lines)
    assert any(line.strip().startswith("+") and line.endswith("new") for line in lines)
    assert any("0x7" in line and "nr 2 → 6" in line and "no task left it" in line for line in lines)
    assert any("+4 waiting, 4 inserted, 0 removed" in line for line in lines)


def test_a_queue_that_tasks_left_says_how_many() -> None:
    before, after = early(), late()
    queue = replace(before.dsqs[0], seq=40213 - 117)
    text = shown(after, replace(before, dsqs=(queue,)))
    assert "+4 waiting, 117 inserted, 113 removed" in text
    assert "no task left it" not in text


def test_a_count_that_cannot_be_is_not_claimed() -> None:
    before, after = early(), late()
    text = shown(after, replace(before, dsqs=(replace(before.dsqs[0], seq=40213),)))
    assert "+4 waiting" in text
    assert "removed" not in text
    assert "no task left it" not in text


def test_codes_are_not_subtracted_and_texts_are_counted() -> None:
    before, after = early(), late()
    fields = {"exit_kind": 1026, "exit_kind_name": "ERROR_STALL", "dump": ("stall: root", "CPU states")}
    assert before.scheduler is not None
    ejected = replace(after, scheduler=msgspec.structs.replace(before.scheduler, **fields))
    before = replace(before, scheduler=msgspec.structs.replace(before.scheduler, exit_kind=0, dump=()))
    lines = [line.strip() for line in shown(ejected, before).split("\n")]
    assert "exit_kind 0 → 1026" in lines
    assert "dump 0 lines → 2 lines" in lines


def test_without_an_early_capture_the_reason_is_told() -> None:
    skipped = replace(late(), early_tag=None, early_skipped_reason="the sampler is off")
    assert shown(skipped, early()) == "no early capture: the sampler is off"
    assert "early-001 is no longer kept" in shown(late())


def test_other_captures_are_compared_with_the_one_before() -> None:
    ordered = [replace(early(), tag=f"periodic_00{n}", mono_ns=n) for n in range(1, 4)]
    assert baseline(ordered[2], ordered) == (ordered[1], "")
    assert baseline(ordered[0], ordered) == (None, "no earlier capture to compare with")


def test_a_placeholder_says_why_nothing_is_compared() -> None:
    text = shown(late(), placeholder("early-001", "early", "the guest hung", mono_ns=1), width=60)
    assert "tasks: not compared: unavailable in early-001: the" in text
    assert "DSQs" not in text


def test_it_fits_any_width_and_text_of_the_guest_is_harmless() -> None:
    before, after = early(), late()
    tasks = tuple(replace(task, comm=HOSTILE, dsq=HOSTILE) for task in after.tasks)
    diff = diff_reports(before, replace(after, tasks=tasks))
    for width in (40, 80, 200):
        for line in diff_lines(diff, width):
            assert "\x1b" not in text_of(line)
            assert "\u202e" not in text_of(line)
    narrow = [line for line in diff_lines(diff, 60) if "did not run" in text_of(line)]
    assert all(width_of(line) <= 60 for line in narrow)


def test_the_overview_tells_what_belongs_to_a_capture() -> None:
    def told(**fields: object) -> str:
        return "\n".join(text_of(line) for line in overview(replace(Story().report(), **fields), 100))

    assert "at 3.020 s, due at 3.000 s" in told(elapsed_ms=3020.0, boundary_offset_ms=3000.0)
    assert "statistics  {'nr': 7}" in told(scheduler_stats={"nr": 7})
    assert "none: no scheduler: nobody" in told(scheduler_stats_unavailable="no scheduler: nobody")
    assert "early-001, compared under 8" in told(early_tag="early-001")
    assert "none: the sampler is off" in told(early_skipped_reason="the sampler is off")
    assert "\x1b" not in told(scheduler_stats={HOSTILE: HOSTILE}, early_skipped_reason=HOSTILE)


def test_the_section_on_the_screen() -> None:
    source = FakeSource(Story().until(20))
    for report in (early(), late()):
        seq, mono_ns = source.state.seq + 1, source.state.mono_ns
        source.feed([ev.CaptureTaken(seq=seq, mono_ns=mono_ns, report=report)])
    text = screen(source, "3", "enter", "8", size=(120, 40))
    assert "early-001 → error-001" in text
    assert "did not run in between" in text
