"""What a run waits for when its time is over."""

from __future__ import annotations

import pytest

from ktstr_tui.backend.outcome import RunEnd, being_loaded
from ktstr_tui.guest.scenario import Step
from ktstr_tui.guest.scenario_ops import DetachSchedulerOp
from ktstr_tui.model import events as ev
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import RunState

STEPS = (Step("own", 1000), Step("a", 1000, scheduler="demo:fifo"), Step("b", 1000, scheduler="demo:fifo"))
MS = 1_000_000


def began(index: int) -> RunState:
    step = STEPS[index]
    return fold(RunState(), ev.StepStarted(index=index, name=step.name, scheduler=step.scheduler, mono_ns=MS))


def test_the_first_scheduler_that_never_attached() -> None:
    assert being_loaded(RunState(), STEPS[1:], 5) == "demo:fifo"
    assert being_loaded(RunState(), STEPS, 5) == "", "the first step needs none"


@pytest.mark.parametrize(
    ("index", "at_ms", "scheduler"),
    [(0, 500, ""), (0, 1500, "demo:fifo"), (1, 1500, ""), (2, 1500, "")],
)
def test_the_scheduler_of_the_next_step(index: int, at_ms: int, scheduler: str) -> None:
    assert being_loaded(began(index), STEPS, at_ms * MS) == scheduler


def test_frozen_time_is_no_time_of_the_step() -> None:
    state = began(0)
    fold(state, ev.BackendBeat(frozen_total_ms=1000.0))
    assert being_loaded(state, STEPS, 1500 * MS) == ""


def test_a_step_whose_operations_take_longer_goes_on() -> None:
    state = began(0)
    steps = (Step("own", 1000, ops=(DetachSchedulerOp(),)), *STEPS[1:])
    assert being_loaded(state, steps, 1500 * MS) == ""
    event = ev.StimulusApplied(
        step=0, op=0, kind="detach-scheduler", text="detach the scheduler", outcome="done", mono_ns=1400 * MS
    )
    fold(state, event)
    assert being_loaded(state, steps, 1500 * MS) == "demo:fifo"


def test_nothing_is_waited_for_after_the_end() -> None:
    state = began(0)
    fold(state, ev.ScenarioChanged(state="ended"))
    assert being_loaded(state, STEPS, 9999 * MS) == ""


def test_what_was_being_loaded_counts_when_time_is_up_and_not_when_the_guest_was_taken_down() -> None:
    state = RunState()
    ending = RunEnd(lambda: being_loaded(state, STEPS[1:], 5))
    ending.stop("duration of 8 s reached", out_of_time=True)
    fold(state, ev.ScenarioChanged(state="ended"))
    assert being_loaded(state, STEPS[1:], 5) == ""
    assert ending.outcome is not None
    assert ending.outcome.not_attached == "demo:fifo"


def test_a_run_that_was_ended_by_its_user_waited_for_nothing() -> None:
    ending = RunEnd(lambda: "demo:fifo")
    ending.stop("ended by a viewer")
    assert ending.outcome is not None
    assert ending.outcome.not_attached == ""


def test_only_what_somebody_ordered_is_an_early_end() -> None:
    ordered, over, finished, late = (RunEnd() for _ in range(4))
    ordered.stop("ended by SIGTERM")
    over.stop("duration of 8 s reached", out_of_time=True)
    finished.set("scenario finished")
    late.set("scenario finished")
    late.stop("ended by SIGTERM")
    ends = [it.outcome.told(RunState()) for it in (ordered, over, finished, late) if it.outcome is not None]
    assert [it.early for it in ends] == [True, False, False, False]
