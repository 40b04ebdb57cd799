"""Arm of the fold: operations of the scenario.

The guest tells of an operation when it is over, and what it caused is often seen before: the kernel throws a scheduler
without callbacks for hotplug out while the CPU goes. So the first operation that is told after such an ejection, when
it is about a CPU, is added to its reason.
"""

from __future__ import annotations

from ktstr_tui.model import events as ev
from ktstr_tui.model.edit import MAX_MARKS
from ktstr_tui.model.fold_keep import Arms, log, push
from ktstr_tui.model.state import RunState
from ktstr_tui.model.stimulus import MAX_STIMULI, Outcome, StimulusState
from ktstr_tui.model.text import printable

_CAUSES = {
    "offline-cpu": "after the scenario took {} offline",
    "online-cpu": "after the scenario brought {} online",
}
_SEVERITIES: dict[Outcome, ev.Severity] = {"done": "info", "failed": "error", "not-reached": "warning"}


def stimulus_words(event: ev.StimulusApplied) -> str:
    """An operation and what became of it, in a line."""
    if event.outcome == "done":
        return event.text
    if event.outcome == "not-reached":
        return f"{event.text}: not reached, its step ended before"
    why = ": ".join(filter(None, (event.error, event.detail)))
    return f"{event.text}: failed: {why}"


def _applied(state: RunState, event: ev.StimulusApplied) -> None:
    reason = "" if event.outcome == "done" else ": ".join(filter(None, (event.error, event.detail)))
    entry = StimulusState(
        mono_ns=event.mono_ns,
        step=event.step,
        kind=event.kind,
        text=printable(event.text),
        outcome=event.outcome,
        reason=printable(reason),
    )
    state.operations[event.outcome] = state.operations.get(event.outcome, 0) + 1
    push(state, "stimuli", state.stimuli, entry, MAX_STIMULI)
    if event.outcome != "not-reached":
        state.stimulus_marks.append(state.samples)
        del state.stimulus_marks[:-MAX_MARKS]
        _add_cause(state, event)
    log(state, event, _SEVERITIES[event.outcome], "scenario", stimulus_words(event))


def _add_cause(state: RunState, event: ev.StimulusApplied) -> None:
    cause = _CAUSES.get(event.kind)
    if state.ejected_by_kernel and cause and event.cpu is not None:
        state.last_ejection += f", {cause.format(f'CPU {event.cpu}')}"
    state.ejected_by_kernel = False


ARMS: Arms = {ev.StimulusApplied: _applied}
