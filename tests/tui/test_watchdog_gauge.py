"""The gauge of the oldest runnable task knows that the kernel's watchdog looks only every half timeout."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ktstr_tui.model import events as ev
from ktstr_tui.model.report import placeholder
from ktstr_tui.model.sample import RunnableTask, Sample, SchedulerSample, SubSample
from ktstr_tui.model.state import CaptureState
from ktstr_tui.text import words
from ktstr_tui.text.lines import text_of
from ktstr_tui.tui.bars import HeaderBar, deadline_line, watchdog_gauge
from ktstr_tui.tui.lists import CapturesPane
from ktstr_tui.tui.scheduler import scheduler_lines
from ktstr_tui.tui.view import View
from tests.tui.fakes import FakeSource
from tests.tui.story import Story


def sample(age_ms: float, **more: object) -> SchedulerSample:
    oldest = RunnableTask(pid=7, comm="spin", age_ms=age_ms, cpu=0)
    values = {
        "name": "x",
        "state": "enabled",
        "exit_kind": 0,
        "watchdog_timeout_ms": 3000.0,
        "oldest_runnable": oldest,
    }
    return SchedulerSample(**{**values, **more})  # type: ignore[arg-type]


def seen(scheduler: SchedulerSample) -> FakeSource:
    source = FakeSource(Story().until(10))
    source.feed([ev.Sampled(sample=Sample(cpus=(), scheduler=scheduler), seq=source.state.seq + 1)])
    return source


def test_the_kernel_ejects_between_the_timeout_and_its_next_look() -> None:
    assert sample(0.0).ejection_window_ms == (3000.0, 4500.0)
    assert sample(0.0, watchdog_timeout_ms=None).ejection_window_ms is None
    quick = SubSample(
        name="s", cgroup="/a", level=1, state="enabled", exit_kind=0, watchdog_timeout_ms=1000.0
    )
    assert sample(0.0, subs=(quick,)).ejection_window_ms == (3000.0, 3500.0), (
        "all share the shortest interval"
    )


@pytest.mark.parametrize(
    ("age_ms", "drawn", "role"),
    [
        (0.0, "░░░░░░▒▒▒", "ok"),
        (1500.0, "███░░░▒▒▒", "warn"),
        (3000.0, "██████▒▒▒", "bad"),
        (4000.0, "████████▒", "bad"),
        (4500.0, "█████████", "bad"),
        (9000.0, "█████████", "bad"),
    ],
)
def test_the_gauge_is_full_where_it_ends_at_the_latest(age_ms: float, drawn: str, role: str) -> None:
    spans = watchdog_gauge(age_ms, (3000.0, 4500.0), 9)
    assert text_of(spans) == drawn
    assert spans[0][1] == role


def test_the_window_is_in_words_in_the_bar_and_in_the_panel() -> None:
    assert words.window((3000.0, 4500.0)) == "3.0 to 4.5 s"
    assert words.window((500.0, 1500.0)) == "500 ms to 1.5 s"
    state = seen(sample(3300.0)).state
    assert "of 3.0 to 4.5 s" in text_of(deadline_line(state, 78))
    panel = [text_of(line) for line in scheduler_lines(state, 40)]
    assert any("of 3.0 to 4.5 s" in line for line in panel)
    assert any("110 %" in line for line in panel)
    assert "ejected at the watchdog's next look" in panel
    early = [text_of(line) for line in scheduler_lines(seen(sample(2900.0)).state, 40)]
    assert "ejected at the watchdog's next look" not in early


def test_live_exit_kinds_have_the_kernels_own_words() -> None:
    source = seen(sample(0.0, exit_kind=1027, exit_kind_name="ERROR_NEW"))
    header = [text_of(line) for line in HeaderBar("header").lines(View(source), 120)]
    assert "ERROR_NEW" in header[1]
    assert any("ERROR_NEW" in text_of(line) for line in scheduler_lines(source.state, 40))


def test_a_capture_in_the_list_has_the_kernels_own_word_and_its_longest_waiting_task() -> None:
    report = Story().report()
    assert report.scheduler is not None
    own = replace(report.scheduler, exit_kind=1027, exit_kind_name="ERROR_NEW")
    source = FakeSource(Story().until(33))
    source.state.captures[:] = [
        CaptureState(report=replace(report, exit_kind=1027, scheduler=own)),
        CaptureState(report=placeholder("key-002", "on-demand", "no answer")),
    ]
    pane = CapturesPane("captures")
    pane.sync(View(source), force=True)
    heading = pane.heading(78)
    assert heading is not None
    assert "longest waiting" in text_of(heading)
    assert "stalled" not in text_of(heading)
    row = pane.row(1, 78)
    assert "ERROR_NEW" in text_of(row)
    age = next(role for text, role in row if text.strip() == "4.1 s")
    assert age == "", "a wait is only bad news where the stall is the cause"


def test_a_long_name_does_not_push_the_freeze_off_the_header() -> None:
    source = FakeSource(Story().until(10))
    begin = ev.OutputText(stream="sched_log", text=f"--- begin /sched/{'x' * 60} ---\n")
    for event in (begin, ev.Frozen(reason="me")):
        source.feed([replace(event, seq=source.state.seq + 1, mono_ns=source.state.mono_ns)])
    for width in (40, 80, 120):
        second = text_of(HeaderBar("header").lines(View(source), width)[1])
        assert "FROZEN" in second
        assert len(second) <= width


def test_what_is_being_loaded_is_in_the_header() -> None:
    source = FakeSource(Story().until(10))
    begin = ev.OutputText(stream="sched_log", text="--- begin scx_big ---\n", seq=source.state.seq + 1)
    source.feed([replace(begin, mono_ns=source.state.mono_ns)])
    source.feed([ev.BackendBeat(seq=source.state.seq + 1, mono_ns=source.state.mono_ns + 4_200_000_000)])
    header = [text_of(line) for line in HeaderBar("header").lines(View(source), 120)]
    assert "loading scx_big 4.2 s" in header[1]
