"""A capture with a broken list says so wherever its tasks are counted."""

from __future__ import annotations

import pytest

from ktstr_tui.capture.report.store import summary_of
from ktstr_tui.model import events as ev
from ktstr_tui.model.fold import fold
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.state import RunState


@pytest.mark.parametrize("table", ["truncated", "unavailable"])
def test_what_the_lists_lack_is_said_with_the_count(table: str) -> None:
    lists = {table: {"tasks": "the runnable list of CPU 1 is damaged", "maps": "not of interest here"}}
    report = CaptureReport(tag="a", trigger="on-demand", **lists)  # type: ignore[arg-type]
    said = "0 runnable tasks (incomplete, tasks: the runnable list of CPU 1 is damaged)"
    state = fold(RunState(), ev.CaptureTaken(seq=1, report=report, path="/d/a.json"))
    assert state.log[-1].text == f"a (on-demand): {said}"
    assert summary_of(report).endswith(said)


def test_whole_lists_are_not_spoken_of() -> None:
    report = CaptureReport(tag="a", trigger="on-demand", truncated={"maps": "the first 9"})
    state = fold(RunState(), ev.CaptureTaken(seq=1, report=report, path="/d/a.json"))
    assert state.log[-1].text == "a (on-demand): 0 runnable tasks"
