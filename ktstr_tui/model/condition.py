"""What a run is like at one moment, in one word: its outcome first, then what is done to it, then its health.

The health comes from samples and knows nothing of outcomes: a guest whose scheduler was ejected is healthy again, under
the kernel's own scheduler, and the samples of a guest that panicked were good until they ended. So whoever shows a
run in one word or colour takes it from here.
"""

from __future__ import annotations

from collections.abc import Iterable

from ktstr_tui.model.kinds import RunCondition
from ktstr_tui.model.state import AlertState, RunState
from ktstr_tui.model.verdict import failed_ejections, run_verdict


def condition_of(state: RunState) -> RunCondition:
    """Return what a run is like now; of one that has ended, what became of it.

    A freeze hides only the health: an ejection, and a scheduler that was refused, stay what they are.
    """
    if state.ended is not None:
        return _outcome(state, state.ended.exit_code)
    if state.lifecycle == "SchedulerNotAttached":
        return "rejected"
    ejected = failed_ejections(state) > 0 or state.lifecycle == "SchedulerDied"
    if ejected and (state.left_unasked or state.verdict != "stalled"):
        return "ejected"
    if state.frozen is not None:
        return "frozen"
    if state.phase in ("booting", "up") and not state.samples:
        return "booting"
    return _health(state)


_ENDS_THE_RUN = {"ejected": 0, "runnable-age": 1, "stall": 2}
_SAY_LESS = ("dsq", "wait")
"""What goes with an alert that says more."""
_SEVERITIES = {"error": 0, "warning": 1, "info": 2}


def by_urgency(alerts: Iterable[AlertState]) -> list[AlertState]:
    """Order alerts: errors first, of equals what ends the run first, then those with a capture, then the oldest."""
    return sorted(
        alerts,
        key=lambda it: (
            _SEVERITIES[it.severity],
            _ENDS_THE_RUN.get(it.kind, len(_ENDS_THE_RUN)),
            it.kind in _SAY_LESS,
            it.capture is None,
            it.since_mono_ns,
        ),
    )


def _outcome(state: RunState, exit_code: int) -> RunCondition:
    verdict = run_verdict(state)
    if state.lifecycle == "SchedulerNotAttached" and verdict in ("ok", "degraded", "failed"):
        return "rejected"
    if state.lifecycle == "SchedulerDied" and verdict in ("ok", "degraded"):
        return "ejected"
    return "failed" if exit_code and verdict in ("ok", "degraded") else verdict


def _health(state: RunState) -> RunCondition:
    # An alert of another source (a silent sender, a full disk) is no part of the monitor's verdict.
    if state.alerts and state.verdict in ("ok", "inconclusive"):
        return "alert"
    return state.verdict
