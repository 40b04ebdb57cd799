"""What a capture says of an exit that the kernel has not finished writing."""

from __future__ import annotations

import time

import pytest

from ktstr_tui.capture.report import render
from ktstr_tui.capture.report.collect import collect
from tests.unit.capture.test_report import INFO, Stopped
from tests.unit.kernel.tiny import SCHED


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> Stopped:
    """A stopped kernel whose exit info is not waited for."""
    monkeypatch.setattr(render, "_EXIT_WAIT_S", 0.0)
    return Stopped()


def test_an_exit_code_that_the_kernel_has_not_written_is_absent(whole: Stopped) -> None:
    whole.kernel.memory.put(SCHED + 80, INFO)
    report = whole.report()
    assert report.scheduler is not None
    assert (report.scheduler.exit_code, report.scheduler.reason) == (None, None)


def test_an_exit_kind_that_has_moved_on_before_its_reason_is_waited_for(
    whole: Stopped, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = whole.kernel.open()
    raw = collect(view, whole.registers, tag="error-001", trigger="error")
    whole.kernel.memory.put(SCHED + 80, INFO)
    whole.kernel.memory.put(SCHED + view.scx.exit_kind_offset, 1, 4)  # type: ignore[union-attr]
    monkeypatch.setattr(render, "_EXIT_WAIT_S", 60.0)
    monkeypatch.setattr(time, "sleep", lambda _s: whole.say_why())
    report = raw.render(view)
    assert report.scheduler is not None
    assert report.scheduler.message == "w/0[42] failed to run for 3.000s"
    assert report.scheduler.exit_code == 5
