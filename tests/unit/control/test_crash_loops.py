"""A scheduler that crashes again and again is left alone for longer and longer."""

from __future__ import annotations

from ktstr_tui.control import backoff
from ktstr_tui.control.state import SchedulerFacts
from ktstr_tui.model import control as ct
from ktstr_tui.model import events as ev
from ktstr_tui.model.scheduler_swap import SwapRejected
from tests.unit.control.world import S, World, kinds


def crash(facts: SchedulerFacts, *at_s: float) -> None:
    for at in at_s:
        backoff.crashed(facts, round(at * S))


def test_the_back_off_doubles_from_half_a_second_to_a_minute() -> None:
    facts, waits = SchedulerFacts(), []
    for crashes in range(9):
        crash(facts, crashes * 100)
        waits.append((facts.until_ns - crashes * 100 * S) / S)
    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    assert not facts.held


def test_five_crashes_in_a_minute_hold_a_scheduler() -> None:
    facts, held = SchedulerFacts(), []
    for at_s in (0, 10, 20, 30, 59):
        crash(facts, at_s)
        held.append(facts.held)
    assert held == [False] * 4 + [True]
    assert not backoff.may_attach(facts, backoff.FOREVER_NS - 1)
    assert "5 crashes within 60 s" in backoff.told("bad", facts).reason


def test_a_crash_that_is_a_minute_old_does_not_count() -> None:
    facts = SchedulerFacts()
    crash(facts, 0, 10, 20, 30, 60)
    assert not facts.held


def test_a_crash_loop_is_attached_again_after_its_back_off_and_told_once() -> None:
    world = World(ct.ControlPlan(name="run", keep_attached=True))
    world.see(ev.OutputText(stream="sched_log", text="--- begin bad.o ---\n"))
    world.see(ev.SchedulerChanged(change="attached", name="bad"))
    world.see(ev.SchedulerChanged(change="ejected", name="bad"), at_s=1)
    (told,) = world.tick(1)
    assert isinstance(told, ct.ApplyBackoff)
    assert (told.name, told.until_ns, told.crashes) == ("bad.o", round(1.5 * S), 1)
    world.end()
    assert world.tick(1.2) == []
    assert world.tick(1.5) == [ct.AttachScheduler(name="bad.o")]
    world.end()
    world.see(ev.SchedulerChanged(change="attached", name="bad"), at_s=2)
    assert world.tick(61) == []
    assert world.tick(62) == [ct.ResetBackoff(name="bad.o")]
    assert world.tick(63) == []
    assert world.state.schedulers["bad.o"].delay_ns == 0


def test_a_run_that_keeps_nothing_attached_only_remembers() -> None:
    world = World(ct.ControlPlan(name="run"))
    world.see(ev.SchedulerChanged(change="attached", name="bad"))
    world.see(ev.SchedulerChanged(change="ejected", name="bad"), at_s=1)
    assert world.tick(10) == []


def falling(world: World, at_s: float) -> None:
    """The scheduler is attached again, and ejected before the guest says so."""
    world.see(ev.SchedulerChanged(change="attached", name="bad"), at_s=at_s)
    world.see(ev.SchedulerChanged(change="ejected", name="bad"), at_s=at_s + 0.01)


def test_a_crash_in_the_middle_of_attaching_counts_once() -> None:
    world = World(ct.ControlPlan(name="run", keep_attached=True))
    world.see(ev.OutputText(stream="sched_log", text="--- begin bad.o ---\n"))
    falling(world, 1)
    waits, at_s = [], 1.0
    for _ in range(3):
        (told,) = world.tick(at_s + 0.1)
        assert isinstance(told, ct.ApplyBackoff)
        waits.append(told.until_ns / S - at_s - 0.01)
        world.end()
        at_s = told.until_ns / S
        assert world.tick(at_s) == [ct.AttachScheduler(name="bad.o")]
        falling(world, at_s + 0.2)
        world.end("failed", "GuestError")
        at_s += 0.2
    assert [round(it, 3) for it in waits] == [0.5, 1, 2]


def test_five_crashes_are_held_with_the_reason_and_a_command_begins_afresh() -> None:
    world = World(ct.ControlPlan(name="run", keep_attached=True))
    world.see(ev.OutputText(stream="sched_log", text="--- begin bad.o ---\n"))
    for at_s in range(1, 6):
        falling(world, at_s)
    (told,) = world.tick(6)
    assert isinstance(told, ct.ApplyBackoff)
    assert told.held
    assert "5 crashes within 60 s" in told.reason
    world.end()
    assert world.tick(600) == []
    world.ask(1, ct.AttachScheduler(name=""))
    assert kinds(world.tick(601)) == ["attach"]
    assert not world.state.schedulers["bad.o"].held


def test_a_replacement_that_the_kernel_refuses_is_no_crash_of_the_one_before() -> None:
    world = World(ct.ControlPlan(name="run", keep_attached=True))
    world.see(ev.OutputText(stream="sched_log", text="--- begin good.o ---\n"))
    world.see(ev.SchedulerChanged(change="attached", name="good"))
    world.ask(1, ct.ReplaceScheduler(name="new.o", path="/new.o"))
    assert kinds(world.tick(1)) == ["replace"]
    world.see(ev.SchedulerChanged(change="attached", name="new"), at_s=2)
    world.see(ev.SchedulerChanged(change="ejected", name="new"), at_s=2.1)
    world.see(ev.SchedulerChanged(change="attached", name="good"), at_s=3)
    refused = SwapRejected(took_ms=9, by="kernel", reason="init() failed", log=(), loaded="good")
    world.see(ev.SchedulerSwapped(op="replace", name="new.o", outcome=refused), at_s=3)
    world.end()
    assert world.tick(4) == []
    assert world.state.schedulers["good.o"].crashes == []
