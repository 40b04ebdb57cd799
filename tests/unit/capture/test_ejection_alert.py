"""What the alert about an ejection says, and how loud it is."""

from __future__ import annotations

import pytest

from ktstr_tui.capture.finisher import ejection_alert
from ktstr_tui.capture.job import Label
from ktstr_tui.model.report import EXIT_CODE_RESTART, CaptureReport, SchedulerReport


@pytest.mark.parametrize(
    ("exit_code", "severity", "text"),
    [
        (EXIT_CODE_RESTART | 7, "warning", "mine ejected, to be attached again: UNREG_BPF, next slice"),
        (7, "error", "mine ejected: UNREG_BPF, next slice"),
        (None, "error", "mine ejected: UNREG_BPF, next slice"),
    ],
)
def test_a_restart_that_was_asked_for_is_a_warning(exit_code: int | None, severity: str, text: str) -> None:
    scheduler = SchedulerReport(name="mine", exit_code=exit_code, message="next slice")
    report = CaptureReport(tag="error-001", trigger="error", scheduler=scheduler)
    label = Label(
        number=1,
        tag="error-001",
        trigger="error",
        scheduler="mine",
        exit_kind=65,
        exit_kind_name="UNREG_BPF",
    )
    alert = ejection_alert(report, label)
    assert (alert.severity, alert.text, alert.capture) == (severity, text, "error-001")
