"""Holes of the model that this loop does not have; (b), (c) and (d) are in ``backend/test_signatures.py``."""

from __future__ import annotations

import pytest

from ktstr_tui.model import control as ct
from ktstr_tui.model import events as ev
from tests.unit.control.world import S, World, kinds


@pytest.mark.parametrize(
    "action",
    [
        ct.TakeCapture(trigger="on-demand"),
        ct.RestartGuest(reason="ada"),
        ct.ReplaceScheduler(name="x.o", path="/x"),
        ct.RunKernelWrite(op={}, who="ada"),
    ],
)
def test_hole_a_what_was_accepted_before_a_hold_is_done_after_it(action: ct.Action) -> None:
    """There what was accepted while frozen was cleared by a pass that emitted nothing."""
    world = World()
    world.ask(1, action)
    world.see(ev.HoldChanged(held=True, by="ada", until_ns=50 * S))
    for at_s in range(1, 9):
        assert world.tick(at_s) == []
    assert list(world.state.wants) == [1]
    world.see(ev.HoldChanged(held=False, by="ada"))
    assert world.tick(9) == [action]
    assert world.tick(10) == []


def test_hole_e_what_was_told_is_kept_and_not_told_at_every_tick() -> None:
    """There what the loop had said of a peer did not come back into its state, and was said at every tick."""
    world = World(ct.ControlPlan(name="run", keep_attached=True, sample_hz=10))
    world.see(ev.OutputText(stream="sched_log", text="--- begin bad.o ---\n"))
    world.see(ev.SchedulerChanged(change="attached", name="bad"))
    world.see(ev.SchedulerChanged(change="ejected", name="bad"), at_s=1)
    told = [it for at_s in range(10, 14) for it in world.tick(at_s / 10)]
    assert kinds(told) == ["back-off"]
    assert world.state.schedulers["bad.o"].told_ns == world.state.schedulers["bad.o"].until_ns
