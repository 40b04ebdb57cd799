"""The phases of a run's automation: when one follows another.

Before a run ends in order, what is in flight may come to its end and nothing new is begun. A drain that takes too long
fails, and the run ends all the same.
"""

from __future__ import annotations

from ktstr_tui.control.state import LoopState
from ktstr_tui.model.control import BeginDrain, ControlPhase, EndDrain, RaiseAlert, StopRun, may_follow

DRAIN_NS = 2_000_000_000
"""How long what is in flight may take before the run ends without it."""
RECOVERY_NS = 5_000_000_000
"""How long automation is careful after a drain."""
_NO_WORK = (BeginDrain, EndDrain, RaiseAlert, StopRun)
QUIET: frozenset[ControlPhase] = frozenset({"entering", "maintenance", "exiting", "drain-failed"})
"""Phases in which the loop begins nothing by itself."""


def enter(state: LoopState, phase: ControlPhase) -> bool:
    """Go over to a phase; False, and nothing changes, where that is not legal."""
    if not may_follow(state.phase, phase):
        return False
    if phase != state.phase:
        state.phase, state.phase_ns = phase, state.now_ns
    return True


def advance(state: LoopState) -> None:
    """Go over to the next phase when its time has come."""
    if state.phase == "entering":
        if not any(not isinstance(it.action, _NO_WORK) for it in state.in_flight.values()):
            enter(state, "maintenance")
        elif state.now_ns >= state.drain_deadline_ns:
            enter(state, "drain-failed")
    elif state.phase == "exiting":
        enter(state, "recovery")
    elif state.phase == "recovery" and state.now_ns - state.phase_ns >= RECOVERY_NS:
        enter(state, "active")
