"""One capture in short, for every command that lists captures."""

from __future__ import annotations

from ktstr_tui.model.outputs import CaptureLine, StalledTask
from ktstr_tui.model.report import CaptureReport, kind_word
from ktstr_tui.model.state import CaptureState
from ktstr_tui.text.before import sentence
from ktstr_tui.text.cause import headline


def first_stalled(report: CaptureReport) -> StalledTask | None:
    """Return the longest waiting task of a capture, or None when no task waited."""
    task = report.stalled
    if task is None:
        return None
    return {"pid": task.pid, "comm": task.comm, "age_ms": task.age_ms, "dsq": task.dsq}


def capture_line(entry: CaptureState) -> CaptureLine:
    """Return what ``status`` prints of a capture; times in microseconds and milliseconds."""
    report = entry.report
    scheduler = report.scheduler
    return {
        "tag": report.tag,
        "trigger": report.trigger,
        "scheduler": scheduler.name if scheduler else None,
        "cgroup": scheduler.cgroup if scheduler else None,
        "exit_kind": report.exit_kind,
        "exit_kind_name": kind_word(report) if report.exit_kind else None,
        "message": scheduler.message if scheduler else None,
        "headline": headline(report),
        "before": sentence(report.history) or None,
        "host_without_cpu_ms": report.host.without_cpu_ms if report.host else None,
        "pause_us": report.pause.total_us if report.pause else None,
        "tasks": len(report.tasks),
        "first_stalled": first_stalled(report),
        "is_placeholder": report.is_placeholder,
        "degraded_reason": entry.degraded.reason if entry.degraded else None,
        "dual_path": entry.dual_path or None,
        "dual_outcome": entry.dual_outcome,
        "path": entry.path,
    }
