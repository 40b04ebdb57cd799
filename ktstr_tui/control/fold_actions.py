"""Arms of the loop's fold: who asked for what, what was emitted, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ktstr_tui.control import backoff, phases
from ktstr_tui.control.state import LoopState, Want
from ktstr_tui.model import control as ct
from ktstr_tui.model import events as ev

RETRY_NS = 1_000_000_000
"""How long the loop leaves alone by itself what has just failed."""
MAX_TIMEOUTS = 2
"""Periodic captures that time out in a row, after which no more are taken."""
TIMED_OUT = "CaptureTimedOutError"
GONE = "GuestError"


def note_emitted(state: LoopState, pending: ct.PendingAction) -> None:
    """Note at the tick that an action went out, so that it is not decided on twice."""
    state.next_id = pending.id + 1
    state.in_flight[pending.id] = pending
    if pending.command_seq is not None:
        state.wants.pop(pending.command_seq, None)
    match pending.action:
        case ct.TakeCapture(trigger="early"):
            state.early.asked, state.early.due = True, ""
        case ct.RaiseAlert(key=key, text=text):
            state.alerts[key] = text
        case ct.ClearAlert(key=key):
            state.alerts.pop(key, None)
        case ct.ApplyBackoff(name=name, until_ns=until_ns) if name in state.schedulers:
            state.schedulers[name].told_ns = until_ns
        case ct.ResetBackoff(name=name) if name in state.schedulers:
            backoff.reset(state.schedulers[name])
        case ct.AttachScheduler() | ct.ReplaceScheduler() if pending.command_seq is not None:
            for facts in state.schedulers.values():
                backoff.reset(facts)  # somebody looks after it
        case ct.AdjustSampling(hz=hz):
            state.sampling_hz = hz
        case ct.BeginDrain(deadline_ns=deadline_ns):
            state.drain_deadline_ns = deadline_ns
            phases.enter(state, "entering")
        case ct.EndDrain():
            state.drained_in_vain = False
            phases.enter(state, "exiting")
        case ct.StopRun():
            state.stopping = True


def _wanted(state: LoopState, want: Want) -> None:
    if isinstance(want.action, ct.StopRun) and state.stop is None:
        state.stop = want
    else:
        state.wants[want.command_seq] = want


def _decided(state: LoopState, event: ev.CommandDecided) -> None:
    if event.outcome != "rejected" and event.wanted is not None:
        want = Want(
            command_seq=event.command_seq, by=event.operator, action=event.wanted, affected=event.affected
        )
        _wanted(state, want)


def _asked(state: LoopState, event: ev.ActionAsked) -> None:
    _wanted(state, Want(command_seq=event.command_seq, by=event.by, action=event.wanted))


def _changed(state: LoopState, event: ev.ActionChanged) -> None:
    if event.disposition in ("emitted", "deferred"):
        return
    pending = state.in_flight.pop(event.id, None)
    if pending is None:
        return
    action, failed = pending.action, event.disposition != "done"
    if failed and pending.command_seq is None:
        state.cooldown[action.kind] = state.now_ns + RETRY_NS
    match action:
        case ct.TakeCapture(trigger="periodic"):
            _periodic_over(state, event)
        case ct.AttachScheduler(name=name) if failed and name in state.schedulers:
            facts = state.schedulers[name]
            if not facts.crashes or facts.crashes[-1] < pending.emitted_at_ns:
                backoff.crashed(facts, event.mono_ns)  # else its ejection was counted
        case ct.RaiseAlert(key=key) if failed:
            state.alerts.pop(key, None)
        case ct.AdjustSampling() if failed:
            state.sampling_hz = None
        case ct.StopRun() if failed:
            state.stopping = False
            if pending.affected:
                _no_stop(state)


def _no_stop(state: LoopState) -> None:
    """The end that was asked for is not what was signed any more: the next that is asked for, or none."""
    others = [it for it in state.wants.values() if isinstance(it.action, ct.StopRun)]
    state.stop = min(others, key=lambda it: abs(it.command_seq), default=None)
    if state.stop is None:
        state.drained_in_vain = True
    else:
        del state.wants[state.stop.command_seq]


def _periodic_over(state: LoopState, event: ev.ActionChanged) -> None:
    facts = state.periodic
    facts.next += 1
    facts.timeouts = facts.timeouts + 1 if event.error == TIMED_OUT else 0
    if facts.timeouts >= MAX_TIMEOUTS or event.error == GONE:
        facts.closed = True


def _hold(state: LoopState, event: ev.HoldChanged) -> None:
    state.hold = None
    if event.held:
        state.hold = ct.HoldState(
            by=event.by, until_ns=event.until_ns, reason=event.reason, since_ns=event.mono_ns
        )


def _backpressure(state: LoopState, event: ev.BackpressureChanged) -> None:
    state.backpressure = event.on


ACTION_ARMS: dict[type, Callable[[LoopState, Any], None]] = {
    ev.CommandDecided: _decided,
    ev.ActionAsked: _asked,
    ev.ActionChanged: _changed,
    ev.HoldChanged: _hold,
    ev.BackpressureChanged: _backpressure,
}
