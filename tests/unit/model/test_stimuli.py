"""Operations of the scenario in the state of a run: list, marks, log, and the reason of an ejection."""

from __future__ import annotations

from typing import Any

import pytest

from ktstr_tui.backend.summary import summarize
from ktstr_tui.model import events as ev
from ktstr_tui.model.fold import fold
from ktstr_tui.model.report import EXIT_CODE_RESTART
from ktstr_tui.model.state import RunState
from ktstr_tui.model.stimulus import MAX_STIMULI

OFFLINE = ev.StimulusApplied(
    step=1, op=0, kind="offline-cpu", text="take CPU 1 offline", outcome="done", cpu=1, mono_ns=9
)
EJECTED = ev.SchedulerChanged(change="ejected", name="x", exit_kind=66, exit_kind_name="UNREG_KERN")
DETACHED = ev.SchedulerChanged(
    change="detached", name="x", exit_code=EXIT_CODE_RESTART, message="cpu 1 going offline"
)


def stimulus(**fields: Any) -> ev.StimulusApplied:  # noqa: ANN401
    given: dict[str, Any] = {
        "step": 0,
        "op": 0,
        "kind": "thaw-cgroup",
        "text": "thaw cgroup a",
        "outcome": "done",
    }
    return ev.StimulusApplied(**(given | fields))


def state_of(*events: ev.Event) -> RunState:
    state = RunState()
    for event in events:
        fold(state, event)
    return state


@pytest.mark.parametrize(
    ("event", "severity", "words", "marks"),
    [
        (stimulus(), "info", "thaw cgroup a", 1),
        (
            stimulus(outcome="failed", error="EBUSY", detail="tasks are in it"),
            "error",
            "thaw cgroup a: failed: EBUSY: tasks are in it",
            1,
        ),
        (
            stimulus(outcome="not-reached", error="ECANCELED"),
            "warning",
            "thaw cgroup a: not reached, its step ended before",
            0,
        ),
    ],
)
def test_each_is_a_line_of_the_log_and_in_the_list(
    event: ev.StimulusApplied, severity: str, words: str, marks: int
) -> None:
    state = state_of(event)
    (line,) = state.log
    assert (line.severity, line.source, line.text) == (severity, "scenario", words)
    (kept,) = state.stimuli
    assert (kept.kind, kept.outcome) == (event.kind, event.outcome)
    assert summarize(state)["operations"] == {event.outcome: 1}
    assert len(state.stimulus_marks) == marks


def test_the_list_is_bounded_and_what_is_forgotten_is_counted() -> None:
    state = state_of(*(stimulus(op=number) for number in range(MAX_STIMULI + 3)))
    assert len(state.stimuli) == MAX_STIMULI
    assert state.forgotten["stimuli"] == 3


def test_an_ejection_by_hotplug_names_the_operation() -> None:
    words = 'scheduler "x" was ejected: UNREG_KERN'
    assert state_of(EJECTED, OFFLINE).last_ejection == f"{words}, after the scenario took CPU 1 offline"
    told = state_of(EJECTED, DETACHED, OFFLINE)
    assert told.last_ejection.startswith(f"{words}: cpu 1 going offline")
    assert told.last_ejection.endswith(", after the scenario took CPU 1 offline")
    online = state_of(EJECTED, stimulus(kind="online-cpu", text="bring CPU 1 online", cpu=1))
    assert online.last_ejection == f"{words}, after the scenario brought CPU 1 online"


def test_other_operations_and_other_ejections_are_not_brought_together() -> None:
    stall = ev.SchedulerChanged(change="ejected", name="x", exit_kind_name="ERROR_STALL", exit_kind=1026)
    assert "after" not in state_of(stall, OFFLINE).last_ejection
    assert "after" not in state_of(EJECTED, stimulus(), OFFLINE).last_ejection
    assert "after" not in state_of(OFFLINE, EJECTED).last_ejection
    not_reached = stimulus(kind="offline-cpu", cpu=1, outcome="not-reached")
    assert "after" not in state_of(EJECTED, not_reached).last_ejection
