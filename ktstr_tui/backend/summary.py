"""The one JSON object that a headless run leaves on its standard output."""

from __future__ import annotations

from typing import cast

import msgspec

from ktstr_tui.model.outputs import Conclusion, StalledTask, Summary, SummaryCapture
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.state import CaptureState, RunState


def first_stalled(report: CaptureReport) -> StalledTask | None:
    """The longest waiting task of a capture, or None when no task waited."""
    task = report.stalled
    if task is None:
        return None
    return {"pid": task.pid, "comm": task.comm, "age_ms": task.age_ms, "dsq": task.dsq}


def capture_summary(entry: CaptureState) -> SummaryCapture:
    """One capture as a line of the summary; times in microseconds and milliseconds."""
    report = entry.report
    return {
        "tag": report.tag,
        "trigger": report.trigger,
        "exit_kind": report.exit_kind,
        "pause_us": report.pause.total_us if report.pause else None,
        "tasks": len(report.tasks),
        "first_stalled": first_stalled(report),
        "is_placeholder": report.is_placeholder,
        "step_index": report.step_index,
        "elapsed_ms": report.elapsed_ms,
        "boundary_offset_ms": report.boundary_offset_ms,
        "scheduler_stats_unavailable": report.scheduler_stats_unavailable,
        "early_tag": report.early_tag,
        "early_skipped_reason": report.early_skipped_reason,
        "degraded_reason": entry.degraded.reason if entry.degraded else None,
        "dual_path": entry.dual_path or None,
        "dual_outcome": entry.dual_outcome,
        "path": entry.path,
    }


def _conclusion(state: RunState) -> Conclusion | None:
    told = state.conclusion
    if told is None:
        return None
    plain = msgspec.to_builtins(told)
    # The keys are the fields of the event, without those that every event has.
    return cast("Conclusion", {name: plain[name] for name in Conclusion.__annotations__})


def summarize(state: RunState) -> Summary:
    """The whole run; values that were never learnt are None, not zero."""
    info = state.info
    ended = state.ended
    return {
        "name": info.name if info else None,
        "kernel": state.kernel_release,
        "accelerator": info.accelerator if info else None,
        "accelerator_reason": info.accelerator_reason if info else None,
        "scheduler": info.scheduler if info else None,
        "scenario": info.scenario if info else None,
        "topology": info.topology if info else None,
        "boot_ms": state.boot_ms,
        "typed_ms": state.typed_ms,
        "samples": state.samples,
        "samples_missed": state.samples_missed,
        "samples_unreadable": state.samples_unreadable,
        "stalls": state.stalls,
        "ejections": state.ejections,
        "verdict": state.verdict,
        "total_iterations": state.total_iterations,
        "captures": [capture_summary(entry) for entry in state.captures],
        "conclusion": _conclusion(state),
        "frames": msgspec.to_builtins(state.frames),
        "drops": dict(state.drops),
        "frozen_total_ms": state.frozen_total_ms,
        "data_dir": info.data_dir if info else None,
        "end_reason": ended.reason if ended else None,
        "fault": ended.fault if ended and ended.fault else None,
        "last_words": list(ended.console_tail) if ended else [],
        "exit_code": ended.exit_code if ended else None,
    }
