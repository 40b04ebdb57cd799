"""A state of the control loop that events and ticks are folded into, with the actions that come of it."""

from __future__ import annotations

import msgspec

from ktstr_tui.control.fold import fold, fold_tick
from ktstr_tui.control.fold_actions import note_emitted
from ktstr_tui.control.reconcile import decide, reconcile
from ktstr_tui.control.state import LoopState
from ktstr_tui.model import control as ct
from ktstr_tui.model import events as ev

S = 1_000_000_000
PLAN = ct.ControlPlan(
    name="run", duration_s=60, freeze_limit_s=30, periodic=3, scenario_ms=10_000, early=True, sample_hz=10
)


class World:
    """A state that events and ticks are folded into, with the actions that came of it."""

    def __init__(self, plan: ct.ControlPlan = PLAN) -> None:
        self.state = LoopState()
        self.seq = 0
        self.see(ev.LoopStarted(run_epoch_id=1, plan=plan))

    def see(self, *events: ev.Event, at_s: float = 0) -> None:
        for event in events:
            self.seq += 1
            fold(self.state, _stamped(event, self.seq, round(at_s * S)))

    def tick(self, at_s: float, frozen_s: float = 0, scenario_s: float | None = None) -> list[ct.Action]:
        scenario_ns = None if scenario_s is None else round(scenario_s * S)
        word = ev.Ticked(
            tick=self.state.tick + 1,
            now_ns=round(at_s * S),
            folded_seq=self.seq,
            frozen_ns=round(frozen_s * S),
            scenario_ns=scenario_ns,
        )
        fold_tick(self.state, word, ())
        pending = decide(self.state)
        for it in pending:
            note_emitted(self.state, it)
        assert reconcile(self.state) == []
        return [it.action for it in pending]

    def end(self, how: ct.Disposition = "done", error: str = "") -> None:
        """End everything in flight."""
        for id_, it in list(self.state.in_flight.items()):
            self.see(ev.ActionChanged(id=id_, action=it.action, disposition=how, error=error))

    def ask(self, seq: int, action: ct.Action) -> None:
        self.see(
            ev.CommandDecided(command_seq=seq, operator="ada", request="x", outcome="accepted", wanted=action)
        )


def _stamped(event: ev.Event, seq: int, mono_ns: int) -> ev.Event:
    return msgspec.structs.replace(event, seq=seq, mono_ns=mono_ns)


def kinds(actions: list[ct.Action]) -> list[str]:
    return [it.kind for it in actions]
