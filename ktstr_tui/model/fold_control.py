"""Arms of the fold: what the control loop decides, what becomes of it, and who asked.

All of it is in one frozen record, which every arm replaces. Only what a person wants to read later becomes a line of
the log: refusals, failures, holds and phases, not every tick.
"""

from __future__ import annotations

from typing import TypeVar

from msgspec.structs import replace

from ktstr_tui.model import events as ev
from ktstr_tui.model.control import (
    ApplyBackoff,
    AttachScheduler,
    BackoffState,
    HoldState,
    ReplaceScheduler,
    ResetBackoff,
)
from ktstr_tui.model.control_state import MAX_KEPT, MAX_NAMES, MAX_OPEN, ActionFailed, Decided
from ktstr_tui.model.fold_keep import Arms, log
from ktstr_tui.model.state import RunState
from ktstr_tui.model.text import counted, printable

_T = TypeVar("_T")
_ENDS = ("done", "failed", "gated", "dropped")


def _newest(kept: tuple[_T, ...], item: _T) -> tuple[_T, ...]:
    return (*kept[-MAX_KEPT + 1 :], item)


def _loop_started(state: RunState, event: ev.LoopStarted) -> None:
    state.control = replace(state.control, run_epoch_id=event.run_epoch_id)


def _ticked(state: RunState, event: ev.Ticked) -> None:
    lost = sum(last - first + 1 for first, last in event.lost)
    before = state.control
    state.control = replace(
        before, ticks=event.tick, tick_ns=event.now_ns, events_lost=before.events_lost + lost
    )
    hold = state.control.hold
    if hold is not None and hold.until_ns <= event.now_ns:
        state.control = replace(state.control, hold=None)
        log(state, event, "info", "control", "automation continues: its hold has expired")
    if lost:
        log(
            state,
            event,
            "warning",
            "control",
            f"the loop's queue was full: {counted(lost, 'event')} not taken",
        )


def _probe_read(state: RunState, event: ev.ProbeRead) -> None:
    before, name = state.control, printable(event.probe)
    if name not in before.probes and len(before.probes) >= MAX_NAMES:
        return
    broken = {key: why for key, why in before.broken_probes.items() if key != name}
    if name in before.broken_probes:
        log(state, event, "info", "control", f"probe {name} reads again")
    state.control = replace(before, probes={**before.probes, name: event.values}, broken_probes=broken)


def _probe_failed(state: RunState, event: ev.ProbeFailed) -> None:
    before, name, reason = state.control, printable(event.probe), printable(event.reason)
    known = before.broken_probes
    if known.get(name) != reason:
        log(state, event, "warning", "control", f"probe {name} is skipped: {reason}")
    if name in known or len(known) < MAX_NAMES:
        state.control = replace(before, broken_probes={**known, name: reason})


def _decided(state: RunState, event: ev.CommandDecided) -> None:
    before = state.control
    entry = Decided(
        mono_ns=event.mono_ns,
        command_seq=event.command_seq,
        operator=printable(event.operator),
        request=printable(event.request),
        outcome=event.outcome,
        reason=printable(event.reason),
        chain_pending=event.chain_pending,
    )
    refused = event.outcome == "rejected"
    state.control = replace(
        before, decisions=_newest(before.decisions, entry), refused=before.refused + refused
    )
    if refused:
        text = f"{entry.request} of {entry.operator} refused: {entry.reason}"
        log(state, event, "warning", "control", text)
    if event.chain_pending:
        log(state, event, "warning", "control", f"entry {event.command_seq} of the audit is not in its file")


def _asked(state: RunState, event: ev.ActionAsked) -> None:
    """Shown once it is an action."""


def _action(state: RunState, event: ev.ActionChanged) -> None:
    before, kind = state.control, event.action.kind
    counts = {**before.counts, event.disposition: before.counts.get(event.disposition, 0) + 1}
    open_ = dict(before.open)
    if event.disposition in _ENDS:
        open_.pop(event.id, None)
    elif len(open_) < MAX_OPEN or event.id in open_:
        open_[event.id] = kind
    state.control = replace(before, counts=counts, open=open_)
    if event.disposition == "emitted":
        _backoff(state, event)
    elif event.disposition in ("failed", "gated", "dropped"):
        failure = ActionFailed(
            mono_ns=event.mono_ns,
            id=event.id,
            kind=kind,
            disposition=event.disposition,
            reason=printable(event.reason),
        )
        state.control = replace(state.control, failures=_newest(before.failures, failure))
        text = f"action {event.id} ({kind}) {event.disposition}: {event.reason}"
        log(state, event, "warning", "control", text)


def _backoff(state: RunState, event: ev.ActionChanged) -> None:
    before = state.control
    match event.action:
        case ApplyBackoff(name=name) as action:
            shown = BackoffState(
                until_ns=action.until_ns, crashes=action.crashes, held=action.held, reason=action.reason
            )
            if name in before.backoffs or len(before.backoffs) < MAX_NAMES:
                state.control = replace(before, backoffs={**before.backoffs, name: shown})
            text = f"{printable(name)} is left alone: {action.reason}"
            log(state, event, "error" if action.held else "warning", "control", text)
        case ResetBackoff(name=name):
            kept = {key: value for key, value in before.backoffs.items() if key != name}
            state.control = replace(before, backoffs=kept)
        case AttachScheduler() | ReplaceScheduler() if event.command_seq is not None and before.backoffs:
            state.control = replace(before, backoffs={})


def _hold(state: RunState, event: ev.HoldChanged) -> None:
    by, reason = printable(event.by), printable(event.reason)
    hold = None
    if event.held:
        hold = HoldState(by=by, until_ns=event.until_ns, reason=reason, since_ns=event.mono_ns)
    state.control = replace(state.control, hold=hold)
    what = f"automation is held by {by}" if event.held else "automation continues"
    log(state, event, "warning" if event.held else "info", "control", f"{what}: {reason}" if reason else what)


def _phase(state: RunState, event: ev.RunPhaseChanged) -> None:
    reason = printable(event.reason)
    state.control = replace(state.control, phase=event.phase, phase_reason=reason)
    text = f"automation is {event.phase}"
    log(state, event, "info", "control", f"{text}: {reason}" if reason else text)


def _backpressure(state: RunState, event: ev.BackpressureChanged) -> None:
    state.control = replace(state.control, backpressure=event.on)
    text = f"{event.depth} actions wait" if event.on else "the executor has caught up"
    log(state, event, "warning" if event.on else "info", "control", text)


ARMS: Arms = {
    ev.LoopStarted: _loop_started,
    ev.Ticked: _ticked,
    ev.ProbeRead: _probe_read,
    ev.ProbeFailed: _probe_failed,
    ev.CommandDecided: _decided,
    ev.ActionAsked: _asked,
    ev.ActionChanged: _action,
    ev.HoldChanged: _hold,
    ev.RunPhaseChanged: _phase,
    ev.BackpressureChanged: _backpressure,
}
