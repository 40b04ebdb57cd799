"""The fold: the one function that turns events into state, the same in backend, viewer, recording and replay.

``fold(state, event)`` changes ``state`` in place and returns it; the state must be private to the caller. It is
total: every event of the union has an arm, an event whose ``seq`` is not newer than the state's is ignored (so
a snapshot and the events around it may overlap), and nothing here raises on what an event contains.

The arms live beside each other by what they tell of: the run, its kernel, what is done to the guest, heartbeats,
control, changes of the scheduler, operations of the scenario.
"""

from __future__ import annotations

from ktstr_tui.model import events as ev
from ktstr_tui.model import (
    fold_beats,
    fold_control,
    fold_edit,
    fold_kernel,
    fold_run,
    fold_stimuli,
    fold_stops,
    fold_swaps,
)
from ktstr_tui.model.fold_keep import Arms, push
from ktstr_tui.model.moments import MAX_MOMENTS, Moment, moment_of
from ktstr_tui.model.state import RunState

_ARMS: Arms = fold_run.ARMS | fold_kernel.ARMS | fold_stops.ARMS | fold_beats.ARMS | fold_control.ARMS
_ARMS |= fold_swaps.ARMS | fold_edit.ARMS | fold_stimuli.ARMS


def fold(state: RunState, event: ev.Event) -> RunState:
    """Apply ``event`` to ``state`` in place; an event already folded is ignored."""
    if event.seq and event.seq <= state.seq:
        return state
    if event.seq:
        state.seq = event.seq
    state.mono_ns = max(state.mono_ns, event.mono_ns)
    if event.guest_ns is not None:
        state.guest_ns = event.guest_ns
    moment = new_moment(state, event)
    if moment is not None:
        push(state, "moments", state.moments, moment, MAX_MOMENTS)
    _ARMS[type(event)](state, event)
    return state


def new_moment(state: RunState, event: ev.Event) -> Moment | None:
    """Return what an event tells that ``state`` does not know: an alert is raised again when its text changes."""
    moment = moment_of(event)
    return None if isinstance(event, ev.AlertRaised) and event.key in state.alerts else moment
