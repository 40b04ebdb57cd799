"""What is in a capture's files besides the capture: a stop that failed, a pair of an early and a late capture."""

from __future__ import annotations

from ktstr_tui.model.diff import ReportDiff, diff_reports
from ktstr_tui.model.report import CaptureReport, exit_kind_name
from ktstr_tui.model.report_files import DegradedReport, DualReport, why_alone
from ktstr_tui.model.state import CaptureState
from ktstr_tui.text import words
from ktstr_tui.text.lines import ABSENT, Line, clean, wrap
from ktstr_tui.text.report_diff import diff_lines
from ktstr_tui.text.report_lines import vcpu_lines

_INDENT = "  "
_OUTCOMES = {
    "both": "early and late capture available",
    "late-only": "only the late capture is available",
    "early-degraded": "the early capture failed",
    "early-pre-late-degraded": "early capture available, the late one is degraded",
    "early-only-late-suppressed": "early capture available, the late one failed",
    "early-only-late-never-fired": "early capture available, no late one followed",
}
CANNOT_COMPARE = "it holds no guest memory, so it cannot be compared"
"""Of a degraded report."""


def degraded_lines(report: DegradedReport, width: int) -> list[Line]:
    """A stop that did not hear every vCPU: why, for how long, and the registers that came."""
    lines: list[Line] = [[(part, "bad")] for part in wrap(clean(report.reason), width)]
    hit = "stopped the guest" if report.watchpoint_hit else "did not stop the guest"
    name_of = report.exit_kind_name or ("" if report.exit_kind is None else exit_kind_name(report.exit_kind))
    exit_kind = ABSENT if report.exit_kind is None else f"{clean(name_of)} ({report.exit_kind})"
    about = clean(report.scheduler or "") + (f" of {clean(report.cgroup)}" if report.cgroup else "")
    rows = (
        *((("scheduler", about),) if about else ()),
        ("waited", words.milliseconds(report.elapsed_ms)),
        ("watchpoint", hit),
        ("exit_kind", exit_kind),
    )  # fmt: skip
    lines += [[(f"{_INDENT}{name:<12}", "dim"), (value, "")] for name, value in rows]
    return lines + [line for vcpu in report.vcpus for line in vcpu_lines(vcpu, width)]


def dual_lines(report: DualReport, width: int) -> list[Line]:
    """The difference of a pair, or why there is only one of the two."""
    diff = difference(report)
    lines: list[Line] = [[(f"{clean(report.tag)}: {_OUTCOMES[report.outcome]}", "strong")]]
    if diff is not None:
        return [*lines, *diff_lines(diff, width)]
    why = why_alone(report)
    lines += [[(part, "warn")] for part in wrap(clean(why or "they were not compared"), width)]
    if isinstance(report.late, DegradedReport):
        lines += [[], *degraded_lines(report.late, width)]
    return lines


def difference(report: DualReport) -> ReportDiff | None:
    """From the early to the late capture; None unless both are whole."""
    early, late = report.early, report.late
    if report.diff is not None or early is None or not isinstance(late, CaptureReport):
        return report.diff
    return None if early.is_placeholder or late.is_placeholder else diff_reports(early, late)


def saved_lines(capture: CaptureState, width: int) -> list[Line]:
    """Where a capture's other files are, on the host of the run."""
    rows = []
    if capture.path and capture.degraded is not None:
        rows.append(("saved as", clean(capture.path)))
    if capture.snapshot:
        rows.append(("snapshot", clean(capture.snapshot)))
    if capture.dual_path:
        rows.append(("dual report", f"{clean(capture.dual_path)} ({capture.dual_outcome})"))
    lines: list[Line] = []
    for name, value in rows:
        first, *rest = wrap(value, max(20, width - 14)) or [""]
        lines.append([(f"{_INDENT}{name:<12}", "dim"), (first, "")])
        lines += [[(" " * 14 + more, "")] for more in rest]
    return lines
