"""A freeze that nobody looks after ends, and a long one is an alert."""

from __future__ import annotations

from ktstr_tui.model import control as ct
from ktstr_tui.model import events as ev
from ktstr_tui.model.report import Pause
from tests.unit.control.world import World, kinds


def test_a_freeze_without_a_viewer_is_thawed_in_the_end() -> None:
    world = World()
    world.see(ev.Frozen(reason="ada"), at_s=10)
    world.see(ev.BackendBeat(viewers=1), at_s=20)
    assert world.tick(49) == []
    world.see(ev.BackendBeat(viewers=0), at_s=21)
    assert world.tick(49.9) == []
    (thaw,) = world.tick(50)
    assert thaw == ct.ThawGuest(reason="frozen by ada, and no viewer was attached for 30 s")
    assert world.tick(51) == []
    world.end("failed")
    assert world.tick(51.5) == []  # not again at once
    assert kinds(world.tick(53)) == ["thaw"]


def test_a_freeze_for_a_viewer_ends_when_that_one_is_gone_whoever_else_looks() -> None:
    world = World()
    world.see(ev.Frozen(reason="ada (the scenario waits for a key)", viewer="v1"), at_s=10)
    world.see(ev.BackendBeat(viewers=2), at_s=11)
    assert world.tick(12) == []
    world.see(ev.BackendBeat(viewers=1, freezer_gone=True), at_s=13)
    (thaw,) = world.tick(14)
    assert thaw == ct.ThawGuest(reason="frozen by ada (the scenario waits for a key), who is gone")
    world.see(ev.Thawed(reason="", pause=Pause(total_us=1)), at_s=15)
    world.see(ev.Frozen(reason="ada"), at_s=16)  # with f, which is meant to stay
    world.see(ev.BackendBeat(viewers=1, freezer_gone=True), at_s=17)
    assert world.tick(18) == []


def test_a_long_freeze_is_an_alert_until_the_thaw() -> None:
    world = World(ct.ControlPlan(name="run"))
    world.see(ev.Frozen(reason="ada"), at_s=10)
    assert world.tick(69) == []
    (alert,) = world.tick(70)
    assert alert == ct.RaiseAlert(
        key="frozen",
        alert="frozen",
        text="frozen by ada for more than 60 s; any viewer may: ktstr-tui thaw run",
    )
    world.see(ev.Thawed(reason="ada", pause=Pause(total_us=1)))
    assert world.tick(71) == [ct.ClearAlert(key="frozen", alert="frozen")]
