"""The control loop on the screen."""

from __future__ import annotations

from ktstr_tui.model.control import BackoffState, HoldState
from ktstr_tui.model.control_state import ActionFailed, ControlState
from ktstr_tui.text.control_lines import control_lines, control_sentence

S = 1_000_000_000


def test_a_hold_says_who_for_how_long_and_why() -> None:
    control = ControlState(hold=HoldState(by="ada", until_ns=90 * S, reason="a demonstration"))
    assert control_sentence(control, 30 * S) == "Automation is held by ada for 60 s more: a demonstration."


def test_a_scheduler_that_is_left_alone_says_why_until_its_time_comes() -> None:
    control = ControlState(
        backoffs={"bad": BackoffState(until_ns=9 * S, crashes=2, reason="2 crashes so far")}
    )
    assert control_sentence(control, 8 * S) == "bad is left alone: 2 crashes so far."
    assert control_sentence(control, 9 * S) == ""


def test_before_the_loop_began_there_is_nothing_to_say() -> None:
    assert list(control_lines(ControlState(), 0)) == []


def test_actions_failures_and_probes_are_lines() -> None:
    control = ControlState(
        run_epoch_id=1,
        ticks=9,
        counts={"emitted": 3, "done": 1, "failed": 1},
        open={7: "capture"},
        failures=(ActionFailed(mono_ns=0, id=2, kind="freeze", disposition="failed", reason="gone"),),
        probes={"host": {"steal": 0.25, "psi.io": None, "memory_available_mib": 512.4}, "disk": {}},
        broken_probes={"disk": "no answer within 50 ms"},
    )
    lines = dict(control_lines(control, 0))
    assert lines["actions"] == "3 emitted, 1 done, 1 failed, 1 open"
    assert lines["open"] == "capture 7"
    assert lines["failed"] == "freeze: gone"
    assert lines["host"] == "steal 25%, psi.io unknown, memory_available_mib 512"
    assert lines["disk"] == "not read: no answer within 50 ms"
