"""A run's condition in words: the badge, the role of its colour, and the sentence beside it."""

from __future__ import annotations

from ktstr_tui.model.kinds import RunCondition
from ktstr_tui.model.state import RunState
from ktstr_tui.text import words
from ktstr_tui.text.boot import boot_sentence
from ktstr_tui.text.plain import clean

BADGES: dict[RunCondition, tuple[str, str]] = {
    "booting": ("○ BOOTING", "info"),
    "ok": ("● OK", "ok"),
    "alert": ("▲ ALERT", "warn"),
    "degraded": ("▲ DEGRADED", "warn"),
    "stalled": ("■ STALLED", "bad"),
    "inconclusive": ("? INCONCLUSIVE", "info"),
    "frozen": ("■ FROZEN", "info"),
    "rejected": ("■ REJECTED", "bad"),
    "ejected": ("■ EJECTED", "bad"),
    "failed": ("■ FAILED", "bad"),
}
"""Condition to badge and role; shape and word carry it where colour does not. Only a run that is well is green."""


def badge_of(state: RunState, condition: RunCondition) -> tuple[str, str]:
    """Return badge and role; those of an alert are as bad as the worst one."""
    if condition == "alert" and any(it.severity == "error" for it in state.alerts.values()):
        return "■ ALERT", "bad"
    return BADGES[condition]


def sentence_of(state: RunState, condition: RunCondition) -> str:
    """Say why the run is in that condition, for when no alert says it."""
    if condition == "rejected" and state.lifecycle_reason:
        return f"The scheduler was not accepted: {clean(state.lifecycle_reason)}"
    if condition == "ejected":
        return _ejection(state)
    if state.ended is not None:
        return clean(state.ended.reason)
    if condition == "frozen":
        return _freeze(state)
    if condition == "booting":
        return boot_sentence(state)
    if state.verdict_reasons:
        return clean("; ".join(state.verdict_reasons))
    if condition == "ok":
        return "All CPUs are making progress; no task is close to the watchdog timeout."
    return "No verdict yet: the kernel's memory cannot be sampled yet."


def frozen_s(state: RunState) -> float | None:
    """How long the guest has been frozen, in seconds; None when no clock tells.

    The clock of a run with a seed is the guest's, and goes with the host's only while a person has frozen it.
    """
    if state.frozen_in_debugger and state.info is not None and state.info.seed is not None:
        return None
    return max(0, state.mono_ns - state.frozen_since_mono_ns) / 1e9


def _freeze(state: RunState) -> str:
    since_s = frozen_s(state)
    lasts = "" if since_s is None else f" for {words.seconds(since_s)}"
    debugger = " in a debugger" if state.frozen_in_debugger else ""
    past = f", {clean(state.debugger_back)}" if state.debugger_back else ""
    return f"Frozen{lasts} by {clean(state.frozen or '?')}{debugger}{past}: no CPU of the guest runs."


def _ejection(state: RunState) -> str:
    text = clean(state.last_ejection or f"A scheduler was ejected: {state.lifecycle_reason}")
    if state.ended is not None:
        return text
    if state.restart_due:
        return f"{text}; the kernel asked it to attach again"
    now = state.scheduler.name if state.scheduler is not None else None
    return f"{text}; attached now: {clean(now)}" if now and not state.left_unasked else text
