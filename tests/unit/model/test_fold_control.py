"""What the fold keeps of the control loop."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.model import control as ct
from ktstr_tui.model import events as ev
from ktstr_tui.model.control_state import MAX_KEPT, MAX_NAMES, MAX_OPEN
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import RunState
from tests.unit.link.strategies import numbered, structs


def folded(*events: ev.Event) -> RunState:
    state = RunState()
    for event in numbered(list(events)):
        fold(state, event)
    return state


def changed(id_: int, disposition: ct.Disposition, reason: str = "") -> ev.ActionChanged:
    action = ct.TakeCapture(trigger="early")
    return ev.ActionChanged(id=id_, action=action, disposition=disposition, reason=reason)


def test_every_phase_has_successors_and_reaches_active_again() -> None:
    assert set(ct.SUCCESSORS) == set(ct.ControlPhase.__args__)  # type: ignore[attr-defined]
    for phase in ct.SUCCESSORS:
        reached, grown = {phase}, set[ct.ControlPhase]()
        while reached != grown:
            grown = set(reached)
            reached |= {after for before in grown for after in ct.SUCCESSORS[before]}
        assert "active" in reached


@pytest.mark.parametrize("phase", ct.SUCCESSORS)
def test_the_same_phase_may_be_told_again(phase: ct.ControlPhase) -> None:
    assert ct.may_follow(phase, phase)


def test_a_run_that_comes_back_cannot_have_failed_to_drain() -> None:
    assert not ct.may_follow("exiting", "drain-failed")


def test_an_action_is_open_until_its_end() -> None:
    state = folded(changed(1, "emitted"), changed(2, "emitted"), changed(1, "deferred", "not yet"))
    assert state.control.open == {1: "capture", 2: "capture"}
    state = folded(changed(1, "emitted"), changed(2, "emitted"), changed(1, "done"))
    assert state.control.open == {2: "capture"}
    assert state.control.counts == {"emitted": 2, "done": 1}


@pytest.mark.parametrize("disposition", ["failed", "gated", "dropped"])
def test_an_action_that_came_to_nothing_is_named_with_its_reason(disposition: ct.Disposition) -> None:
    state = folded(changed(7, "emitted"), changed(7, disposition, "the guest is gone\x1b[0m"))
    (failure,) = state.control.failures
    assert (failure.id, failure.kind, failure.disposition) == (7, "capture", disposition)
    assert "\x1b" not in failure.reason
    assert f"action 7 (capture) {disposition}: the guest is gone" in state.log[-1].text


def test_a_probe_that_fails_keeps_its_values_and_says_why_once() -> None:
    read = ev.ProbeRead(probe="host", tick=1, values={"steal": 0.1, "psi": None})
    failed = ev.ProbeFailed(probe="host", tick=2, reason="no answer in 50 ms")
    state = folded(read, failed, failed)
    assert state.control.probes == {"host": {"steal": 0.1, "psi": None}}
    assert state.control.broken_probes == {"host": "no answer in 50 ms"}
    assert len(state.log) == 1
    assert folded(read, failed, read).control.broken_probes == {}


def test_a_hold_and_a_back_off_are_shown_until_they_end() -> None:
    off = ct.ApplyBackoff(name="bad", until_ns=5, crashes=5, held=True, reason="5 crashes in 60 s")
    state = folded(
        ev.HoldChanged(held=True, by="ada", until_ns=9, reason="a demonstration"),
        ev.ActionChanged(id=1, action=off, disposition="emitted"),
    )
    assert state.control.hold is not None
    assert (state.control.hold.by, state.control.hold.since_ns) == ("ada", 1_000_000)
    assert state.control.backoffs["bad"].held
    reset = ev.ActionChanged(id=2, action=ct.ResetBackoff(name="bad"), disposition="emitted")
    state = folded(
        ev.ActionChanged(id=1, action=off, disposition="emitted"), reset, ev.HoldChanged(held=False)
    )
    assert state.control.backoffs == {}
    assert state.control.hold is None


def test_events_that_the_loop_lost_are_counted_and_said() -> None:
    state = folded(ev.Ticked(tick=1, now_ns=1, folded_seq=9, lost=((3, 5), (7, 7))))
    assert state.control.events_lost == 4
    assert "4 events not taken" in state.log[-1].text
    state = folded(ev.Ticked(tick=1, now_ns=1, folded_seq=9, lost=((3, 3),)))
    assert "1 event not taken" in state.log[-1].text


CONTROL = (
    ev.LoopStarted, ev.Ticked, ev.ProbeRead, ev.ProbeFailed, ev.CommandDecided, ev.ActionAsked, ev.ActionChanged,
    ev.HoldChanged, ev.RunPhaseChanged, ev.BackpressureChanged,
)  # fmt: skip


@given(st.lists(st.one_of(*[structs(kind) for kind in CONTROL]), max_size=150).map(numbered))
def test_what_is_kept_of_the_loop_is_bounded(events: list[ev.Event]) -> None:
    state = RunState()
    for event in events:
        fold(state, event)
    kept = state.control
    assert len(kept.decisions) <= MAX_KEPT
    assert len(kept.failures) <= MAX_KEPT
    assert len(kept.open) <= MAX_OPEN
    assert max(len(kept.probes), len(kept.broken_probes), len(kept.backoffs)) <= MAX_NAMES


@pytest.mark.parametrize("direction", ["read", "write"])
def test_a_kernel_operation_that_fails_is_called_what_it_is(direction: str) -> None:
    action = ct.RunKernelWrite(op={"mode": "hot", "direction": direction, "entries": []}, who="ada")
    state = folded(ev.ActionChanged(id=1, action=action, disposition="failed", reason="no such symbol"))
    assert f"action 1 (kernel-{direction}) failed: no such symbol" in state.log[-1].text
    assert state.control.failures[-1].kind == f"kernel-{direction}"
