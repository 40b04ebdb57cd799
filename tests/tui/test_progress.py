"""Elapsed against planned time: the guest's own time, of a step and of the whole."""

from __future__ import annotations

from msgspec.structs import replace

from ktstr_tui.model import events as ev
from ktstr_tui.model.fold import fold
from ktstr_tui.model.report import Pause
from ktstr_tui.model.state import RunState
from ktstr_tui.text.progress import of_planned, scenario_progress, step_progress
from tests.tui.fakes import FakeSource, screen
from tests.tui.story import START_NS, Story

INFO = replace(Story().info(), steps=("one", "two"), steps_ms=(10_000, 20_000))


def state_of(*events: tuple[float, ev.Event], duration_s: float | None = None) -> RunState:
    """The state after a start and some events, each with its second."""
    state = RunState()
    started: list[tuple[float, ev.Event]] = [(0, ev.RunStarted(info=replace(INFO, duration_s=duration_s)))]
    for number, (at_s, event) in enumerate([*started, *events]):
        fold(state, replace(event, seq=number + 1, mono_ns=START_NS + int(at_s * 1e9)))
    return state


FIRST = ev.StepStarted(index=0, name="one", scheduler="none", elapsed_ms=500)
SECOND = ev.StepStarted(index=1, name="two", scheduler="demo:fifo", elapsed_ms=12_000)
TICK = ev.Logged(severity="info", source="x", text="time goes on")


def test_without_a_step_nothing_is_claimed() -> None:
    assert step_progress(state_of()) == scenario_progress(state_of()) == ""


def test_a_step_and_the_whole_are_counted_by_the_clock_of_the_scenario() -> None:
    state = state_of((3, FIRST), (14.5, SECOND), (19.6, TICK))
    assert step_progress(state) == "5 of 20 s"
    assert scenario_progress(state) == "17 of 30 s"


def test_time_in_which_the_guest_was_frozen_does_not_count() -> None:
    frozen, thawed = ev.Frozen(reason="asked"), ev.Thawed(reason="asked", pause=Pause(total_us=1.0))
    assert step_progress(state_of((3, FIRST), (5, frozen), (60, TICK))) == "2 of 10 s"
    assert step_progress(state_of((3, FIRST), (5, frozen), (60, thawed), (63.2, TICK))) == "5 of 10 s"
    assert step_progress(state_of((1, frozen), (2, thawed), (3, FIRST), (7, TICK))) == "4 of 10 s"


def test_a_duration_that_is_shorter_is_the_plan() -> None:
    assert scenario_progress(state_of((3, FIRST), (4, TICK), duration_s=15)) == "1 of 15 s"
    assert scenario_progress(state_of((3, FIRST), (4, TICK), duration_s=100)) == "1 of 30 s"


def test_a_scenario_that_has_ended_keeps_what_it_took() -> None:
    ended = ev.ScenarioChanged(state="ended", elapsed_ms=31_000)
    state = state_of((3, FIRST), (14.5, SECOND), (35, ended), (90, TICK))
    assert step_progress(state) == ""
    assert scenario_progress(state) == "31 of 30 s"


def test_from_a_minute_on_times_are_written_as_a_clock_does() -> None:
    assert of_planned(5_000, 600_000) == "00:05 of 10:00"
    assert of_planned(65_000, 30_000) == "01:05 of 00:30"
    assert of_planned(1_999, 2_500) == "1 of 2.5 s"


def test_the_bar_shows_both() -> None:
    assert "step 2/3 fifo  6 of 9 s  scenario 14 of 32 s" in screen(
        FakeSource(Story().until(18)), size=(80, 24)
    )
