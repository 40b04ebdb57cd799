"""The scheduler's event counters: counts, and one time."""

from __future__ import annotations

from ktstr_tui.model.sample import SchedulerSample
from ktstr_tui.model.state import RunState
from ktstr_tui.text.lines import text_of
from ktstr_tui.tui.scheduler import scheduler_lines


def shown(counters: dict[str, int]) -> dict[str, str]:
    state = RunState()
    state.scheduler = SchedulerSample(name="fifo", state="enabled", event_counters=counters)
    lines = [text_of(line).split(maxsplit=1) for line in scheduler_lines(state, 40)]
    return {words[0]: words[1].strip() for words in lines if len(words) == 2}


def test_the_time_in_bypass_has_a_unit_and_counts_have_none() -> None:
    told = shown({"SCX_EV_BYPASS_DURATION": 93_400_000, "SCX_EV_BYPASS_ACTIVATE": 3})
    assert (told["BYPASS_DURATION"], told["BYPASS_ACTIVATE"]) == ("93 ms", "3")
    assert shown({"SCX_EV_BYPASS_DURATION": 0})["BYPASS_DURATION"] == "0"
