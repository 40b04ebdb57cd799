"""What is to be done: desired against observed. Pure, sorted and idempotent.

`reconcile` reads the state and changes nothing. Its decisions are in a fixed order: what was asked for first, in the
order of asking, then what the loop does by itself. Deciding again without a change in between decides nothing,
because `note_emitted` has noted what went out.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ktstr_tui.control.phases import DRAIN_NS, QUIET
from ktstr_tui.control.reconcile_own import alerts, captures, freeze_limit, sampling, schedulers
from ktstr_tui.control.state import LoopState, Want
from ktstr_tui.model import control as ct
from ktstr_tui.model.end_words import duration_reached

IMMEDIATE = (ct.ThawGuest, ct.StopRun)
"""What was asked for from within and is let through while automation is held: it only lets go."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One action, and who waits for its result."""

    action: ct.Action
    command_seq: int | None = None
    by: str = ""
    affected: str = ""


def reconcile(state: LoopState) -> list[Decision]:
    """Decide what is to be done now."""
    if state.guest.over:
        return []
    decisions = [*_asked(state), *_end(state)]
    own = [*alerts(state)]
    if not state.held and state.phase not in QUIET and not state.stopping:
        own += [*freeze_limit(state), *captures(state), *schedulers(state), *sampling(state)]
    return decisions + [Decision(action=action) for action in own if not _blocked(state, action)]


def decide(state: LoopState) -> list[ct.PendingAction]:
    """Number the decisions of one tick; every one has the tick's time."""
    return [
        ct.PendingAction(
            id=state.next_id + offset,
            action=it.action,
            emitted_at_ns=state.now_ns,
            command_seq=it.command_seq,
            by=it.by,
            affected=it.affected,
        )
        for offset, it in enumerate(reconcile(state))
    ]


def _blocked(state: LoopState, action: ct.Action) -> bool:
    return state.cooldown.get(action.kind, 0) > state.now_ns


def _asked(state: LoopState) -> Iterator[Decision]:
    for want in sorted(state.wants.values(), key=_order):
        if _may_pass(state, want):
            yield _as_wanted(want)


def _as_wanted(want: Want) -> Decision:
    return Decision(action=want.action, command_seq=want.command_seq, by=want.by, affected=want.affected)


def _order(want: Want) -> tuple[bool, int]:
    """Commands in the order of their numbers, then what was asked from within in the order of asking."""
    return want.command_seq < 0, abs(want.command_seq)


def _may_pass(state: LoopState, want: Want) -> bool:
    """What was accepted while automation is held waits; what the guest waits for does not, nor what ends a wait."""
    if isinstance(want.action, ct.StopRun):
        return state.stopping
    return not state.held or want.command_seq < 0 or isinstance(want.action, IMMEDIATE)


def _end(state: LoopState) -> Iterator[Decision]:
    asked = state.stop
    wanted = asked.action if asked is not None else _out_of_time(state)
    if wanted is None and state.drained_in_vain and state.phase in QUIET:
        yield Decision(action=ct.EndDrain(reason="the run does not end after all"))
    if wanted is None or state.stopping:
        return
    if state.held and state.stop is None:
        return
    if state.phase in ("active", "recovery"):
        yield Decision(action=ct.BeginDrain(deadline_ns=state.now_ns + DRAIN_NS))
    elif state.phase in ("maintenance", "drain-failed"):
        yield Decision(action=wanted) if asked is None else _as_wanted(asked)
        # Whoever wanted the same meanwhile is answered with it.
        others = (it for it in state.wants.values() if isinstance(it.action, ct.StopRun))
        yield from map(_as_wanted, sorted(others, key=_order))


def _out_of_time(state: LoopState) -> ct.StopRun | None:
    limit_s, ready_ns = state.plan.duration_s, state.guest.ready_ns
    if limit_s is None or ready_ns is None:
        return None
    stood_ns = state.frozen_ns - state.guest.ready_frozen_ns
    if state.now_ns - ready_ns - stood_ns < limit_s * 1e9:
        return None
    return ct.StopRun(reason=duration_reached(limit_s), out_of_time=True)
