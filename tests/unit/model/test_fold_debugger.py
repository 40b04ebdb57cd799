"""What the state says of a debugger."""

from __future__ import annotations

import msgspec
import pytest

from ktstr_tui.model import events as ev
from ktstr_tui.model.fold import fold
from ktstr_tui.model.report import Pause
from ktstr_tui.model.state import RunState
from ktstr_tui.model.stop_events import DebuggerStep
from ktstr_tui.text.condition import sentence_of
from tests.unit.model.test_fold import INFO


@pytest.mark.parametrize("step", ["came_back", "left"])
def test_one_that_looks_at_the_past_is_told_until_it_is_back_or_gone(step: DebuggerStep) -> None:
    state, words = RunState(), "5 instructions before the present"
    fold(state, ev.DebuggerChanged(seq=1, step="went_back", who="ada", what=words))
    assert state.debugger_back == words
    assert state.log[-1].text == f"the debugger of ada went back: {words}"
    fold(state, ev.DebuggerChanged(seq=2, step=step, who="ada"))
    assert state.debugger_back == ""


def test_a_freeze_in_a_debugger_lasts_no_time_that_a_guests_clock_would_tell() -> None:
    state = RunState()
    info = msgspec.structs.replace(INFO, seed=None)
    fold(state, ev.RunStarted(seq=1, info=info))
    fold(state, ev.Frozen(seq=2, mono_ns=10**9, reason="ada", debugger=True))
    state.mono_ns = 3 * 10**9
    assert sentence_of(state, "frozen") == "Frozen for 2.0 s by ada in a debugger: no CPU of the guest runs."
    state.info, state.debugger_back = (
        msgspec.structs.replace(info, seed=7),
        "5 instructions before the present",
    )
    assert sentence_of(state, "frozen") == (
        "Frozen by ada in a debugger, 5 instructions before the present: no CPU of the guest runs."
    )
    fold(state, ev.Thawed(seq=3, reason="continued", pause=Pause(total_us=1.0)))
    assert not state.frozen_in_debugger
