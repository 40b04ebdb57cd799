"""Arm of the fold: schedulers that somebody attached, detached or replaced while the guest ran."""

from __future__ import annotations

from ktstr_tui.model import events as ev
from ktstr_tui.model.fold_edit import note_swap
from ktstr_tui.model.fold_keep import Arms, log, push
from ktstr_tui.model.scheduler_swap import SwapAttached, SwapFailed, SwapRejected, SwapTimedOut, outcome_words
from ktstr_tui.model.state import MAX_SWAPS, RunState, SwapState


def _swapped(state: RunState, event: ev.SchedulerSwapped) -> None:
    outcome = event.outcome
    entry = SwapState(mono_ns=event.mono_ns, op=event.op, name=event.name or event.replaces, outcome=outcome)
    push(state, "swaps", state.swaps, entry, MAX_SWAPS)
    state.replacements += event.op == "replace" and isinstance(outcome, SwapAttached)
    if not isinstance(outcome, SwapRejected):
        # What the kernel refuses while it enables it, as when its init() fails, it ejects too: nothing had run.
        state.ejections += state.trial_ejections
    state.trial, state.trial_ejections = None, 0
    note_swap(state, event)
    state.loading = ""  # whatever was being loaded is attached, or given up
    bad = isinstance(outcome, SwapRejected | SwapFailed | SwapTimedOut)
    asked = f" (asked for by {event.who})" if event.who else ""
    log(
        state,
        event,
        "error" if bad else "info",
        "scheduler",
        outcome_words(event.op, entry.name, outcome) + asked,
    )


ARMS: Arms = {ev.SchedulerSwapped: _swapped}
