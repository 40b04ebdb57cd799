"""The one JSON object that a headless run leaves on its standard output."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from ktstr_tui.model.edit import Health
from ktstr_tui.model.events import RunCompared, RunConcluded
from ktstr_tui.model.fold_edit import after_of
from ktstr_tui.model.outputs import (
    Compared,
    Conclusion,
    Summary,
    SummaryAlert,
    SummaryCapture,
    SummaryChange,
    SummaryEdit,
    SummaryHealth,
)
from ktstr_tui.model.state import CaptureState, RunState
from ktstr_tui.model.verdict import run_verdict
from ktstr_tui.text.summary import capture_line


def capture_summary(entry: CaptureState) -> SummaryCapture:
    """One capture as a line of the summary; times in microseconds and milliseconds."""
    report = entry.report
    return {
        **capture_line(entry),
        "step_index": report.step_index,
        "elapsed_ms": report.elapsed_ms,
        "boundary_offset_ms": report.boundary_offset_ms,
        "scheduler_stats_unavailable": report.scheduler_stats_unavailable,
        "early_tag": report.early_tag,
        "early_skipped_reason": report.early_skipped_reason,
    }


def alerts_told(state: RunState) -> list[SummaryAlert]:
    """All alerts of the run, errors first; those of ejections are among the captures."""
    told = [it for it in state.alerts_told.values() if it.kind != "ejected"]
    return [
        {"key": it.key, "severity": it.severity, "text": it.text, "count": it.count}
        for it in sorted(told, key=lambda it: it.severity != "error")
    ]


def _told(event: RunConcluded | RunCompared | None, keys: type) -> dict[str, Any] | None:
    """The fields of an event, without those that every event has."""
    if event is None:
        return None
    plain = msgspec.to_builtins(event)
    return {name: plain[name] for name in keys.__annotations__}


def _edit(state: RunState) -> SummaryEdit:
    edit = state.edit
    changes: list[SummaryChange] = [
        {
            "name": it.name,
            "build": it.build,
            "outcome": it.outcome,
            "reason": it.headline,
            "since_save_ms": it.since_save_ms,
            "build_ms": it.build_ms,
            "before": _health(it.before),
            "after": _health(after_of(state, it)),
        }
        for it in edit.changes
    ]
    return {
        "boots": edit.boots,
        "builds_failed": edit.builds_failed,
        "refused": edit.refused,
        "changes": changes,
    }


def _health(health: Health | None) -> SummaryHealth | None:
    return None if health is None else cast("SummaryHealth", msgspec.to_builtins(health))


def summarize(state: RunState) -> Summary:
    """The whole run; values that were never learnt are None, not zero."""
    info = state.info
    ended = state.ended
    return {
        "name": info.name if info else None,
        "kernel": state.kernel_release,
        "accelerator": info.accelerator if info else None,
        "accelerator_reason": info.accelerator_reason if info else None,
        "seed": info.seed if info else None,
        "scheduler": info.scheduler if info else None,
        "scenario": info.scenario if info else None,
        "topology": info.topology if info else None,
        "boot_ms": state.boot_ms,
        "from_saved_boot": state.from_saved_boot,
        "restored_from": state.restored_from or None,
        "typed_ms": state.typed_ms,
        "samples": state.samples,
        "samples_missed": state.samples_missed,
        "samples_unreadable": state.samples_unreadable,
        "stalls": state.stalls,
        "ejections": state.ejections,
        "restarts": state.restarts,
        "verdict": run_verdict(state),
        "total_iterations": state.total_iterations,
        "alerts": alerts_told(state),
        "captures": [capture_summary(entry) for entry in state.captures],
        "operations": {str(outcome): count for outcome, count in state.operations.items()},
        "edit": _edit(state),
        "conclusion": cast("Conclusion | None", _told(state.conclusion, Conclusion)),
        "compared": cast("Compared | None", _told(state.compared, Compared)),
        "frames": msgspec.to_builtins(state.frames),
        "drops": dict(state.drops),
        "frozen_total_ms": state.frozen_total_ms,
        "data_dir": info.data_dir if info else None,
        "end_reason": ended.reason if ended else None,
        "ended_early": ended.early if ended else None,
        "fault": ended.fault if ended and ended.fault else None,
        "last_words": list(ended.console_tail) if ended else [],
        "exit_code": ended.exit_code if ended else None,
    }
