"""What the state says of a debugger."""

from __future__ import annotations

import pytest

from ktstr_tui.model import events as ev
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import RunState
from ktstr_tui.model.stop_events import DebuggerStep


@pytest.mark.parametrize("step", ["came_back", "left"])
def test_one_that_looks_at_the_past_is_told_until_it_is_back_or_gone(step: DebuggerStep) -> None:
    state, words = RunState(), "5 instructions before the present"
    fold(state, ev.DebuggerChanged(seq=1, step="went_back", who="ada", what=words))
    assert state.debugger_back == words
    assert state.log[-1].text == f"the debugger of ada went back: {words}"
    fold(state, ev.DebuggerChanged(seq=2, step=step, who="ada"))
    assert state.debugger_back == ""
