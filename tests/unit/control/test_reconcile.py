"""What is decided from what is known: pure, sorted, idempotent."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.control import phases
from ktstr_tui.control.fold import fold
from ktstr_tui.control.reconcile import reconcile
from ktstr_tui.control.state import LoopState
from ktstr_tui.model import control as ct
from ktstr_tui.model import events as ev
from ktstr_tui.model.sample import RunnableTask, Sample, SchedulerSample
from tests.unit.control.world import S, World, kinds
from tests.unit.link.strategies import any_event, numbered


def sample(age_ms: float, **fields: Any) -> ev.Sampled:  # noqa: ANN401
    oldest = RunnableTask(pid=7, comm="spin", age_ms=age_ms, cpu=0)
    seen = SchedulerSample(
        name="bad", enable_seq=1, watchdog_timeout_ms=4000, oldest_runnable=oldest, **fields
    )
    return ev.Sampled(sample=Sample(cpus=(), scheduler=seen))


# -- what was asked for ---------------------------------------------------------------------------------


def test_what_was_asked_for_goes_out_in_the_order_of_asking_and_once() -> None:
    world = World()
    world.ask(2, ct.FreezeGuest(reason="b"))
    world.ask(1, ct.TakeCapture(trigger="on-demand"))
    world.see(ev.ActionAsked(command_seq=-1, by="guest", wanted=ct.TakeCapture(trigger="guest")))
    assert kinds(world.tick(1)) == ["capture", "freeze", "capture"]
    assert world.tick(2) == []


def test_what_was_refused_comes_to_nothing() -> None:
    world = World()
    world.see(
        ev.CommandDecided(
            command_seq=1, operator="eve", request="end", outcome="rejected", wanted=ct.StopRun(reason="x")
        )
    )
    assert world.tick(1) == []


def test_what_was_accepted_during_a_hold_waits_and_is_not_lost() -> None:
    world = World()
    world.see(ev.HoldChanged(held=True, by="ada", until_ns=5 * S))
    world.ask(1, ct.TakeCapture(trigger="on-demand"))
    assert world.tick(1) == []
    assert kinds(world.tick(5)) == ["capture"]
    assert world.state.hold is None


def test_a_hold_lets_the_guest_have_what_it_waits_for_and_a_thaw_through() -> None:
    world = World()
    world.see(ev.HoldChanged(held=True, by="ada", until_ns=5 * S))
    world.see(ev.ActionAsked(command_seq=-1, by="guest", wanted=ct.TakeCapture(trigger="guest")))
    world.ask(2, ct.ThawGuest(reason="ada"))
    assert kinds(world.tick(1)) == ["thaw", "capture"]


# -- the end of a run -----------------------------------------------------------------------------------


def test_a_run_ends_after_its_duration_without_the_time_in_which_it_stood() -> None:
    world = World()
    world.tick(9, frozen_s=3)
    world.see(ev.GuestReady(boot_ms=1), at_s=10)
    assert world.tick(70, frozen_s=5) == []
    assert kinds(world.tick(72, frozen_s=5)) == ["drain"]
    assert world.state.phase == "entering"
    assert world.tick(72.1, frozen_s=5) == [ct.StopRun(reason="duration of 60 s reached", out_of_time=True)]
    assert world.tick(73, frozen_s=5) == []


def test_what_is_in_flight_may_come_to_its_end_before_the_run_does() -> None:
    world = World()
    world.ask(1, ct.TakeCapture(trigger="on-demand"))
    world.tick(1)
    world.ask(2, ct.StopRun(reason="ended by ada"))
    assert kinds(world.tick(1.1)) == ["drain"]
    assert world.tick(1.2) == []
    world.end()
    assert kinds(world.tick(1.3)) == ["stop"]
    assert world.state.phase == "maintenance"


def test_a_drain_that_takes_too_long_fails_and_the_run_ends_all_the_same() -> None:
    world = World()
    world.ask(1, ct.TakeCapture(trigger="on-demand"))
    world.tick(1)
    world.ask(2, ct.StopRun(reason="ended by ada"))
    world.tick(2)
    assert world.tick(3) == []
    assert kinds(world.tick(4)) == ["stop"]
    assert world.state.phase == "drain-failed"


def test_the_loop_begins_nothing_by_itself_while_it_drains() -> None:
    world = World()
    world.ask(1, ct.TakeCapture(trigger="on-demand"))
    world.tick(1)
    world.ask(2, ct.StopRun(reason="ended by ada"))
    world.tick(2)
    world.see(sample(3000))
    assert world.tick(2.1) == []


def test_a_drain_that_is_taken_back_goes_over_recovery_to_active() -> None:
    world = World()
    world.ask(1, ct.BeginDrain(deadline_ns=9 * S))
    world.tick(1)
    world.end()
    world.tick(2)
    phases_seen = [world.state.phase]
    world.ask(2, ct.EndDrain())
    for at_s in (3, 4, 9):
        world.tick(at_s)
        phases_seen.append(world.state.phase)
    assert phases_seen == ["maintenance", "exiting", "recovery", "active"]


def test_a_phase_that_may_not_follow_changes_nothing() -> None:
    state = LoopState(phase="exiting")
    assert not phases.enter(state, "drain-failed")
    assert state.phase == "exiting"
    assert phases.enter(state, "exiting")


# -- captures -------------------------------------------------------------------------------------------


def test_an_early_capture_is_due_at_half_of_the_timeout_and_once_for_each_scheduler() -> None:
    world = World()
    world.see(sample(1999))
    assert world.tick(1) == []
    world.see(sample(2001))
    (action,) = world.tick(1.1)
    assert action == ct.TakeCapture(trigger="early", detail="spin[7] runnable for 2.001 s, past 2 s")
    world.end()
    world.see(sample(3000))
    assert world.tick(1.2) == []
    world.see(ev.Sampled(sample=Sample(cpus=(), scheduler=SchedulerSample(name="bad", enable_seq=2))))
    world.see(sample(3000))
    assert kinds(world.tick(1.3)) == ["capture"]


@pytest.mark.parametrize("change", ["exiting", "ejected", "detached"])
def test_no_early_capture_of_a_scheduler_that_goes(change: ev.SchedulerChange) -> None:
    world = World()
    world.see(sample(3000), ev.SchedulerChanged(change=change, name="bad"))
    assert world.tick(1) == []
    world.see(sample(3000, exit_kind=1026))
    assert world.tick(2) == []


def test_periodic_captures_are_taken_at_even_distances_one_at_a_time() -> None:
    world = World()
    world.see(ev.KernelTyped(release="", hz=1, cpus=1, btf_types=1, typed_ms=1))
    world.see(ev.ScenarioChanged(state="started"))
    assert world.state.periodic.due_ms == [3000, 5000, 7000]
    assert world.tick(1, scenario_s=2.85) == []
    (first,) = world.tick(2, scenario_s=2.95)
    assert isinstance(first, ct.TakeCapture)
    assert (first.tag, first.index, first.due_ms) == ("periodic_000", 0, 3000)
    assert world.tick(3, scenario_s=5.5) == []  # the first is not over
    world.end()
    assert [it.index for it in world.tick(4, scenario_s=5.61)] == [1]  # type: ignore[union-attr]


def test_a_periodic_capture_is_taken_late_rather_than_left_out() -> None:
    world = World()
    world.see(ev.ScenarioChanged(state="started"))
    assert world.tick(1, scenario_s=4) == []
    world.see(ev.KernelTyped(release="", hz=1, cpus=1, btf_types=1, typed_ms=1))
    assert kinds(world.tick(2, scenario_s=5)) == ["capture"]


@pytest.mark.parametrize(
    ("error", "more"), [("CaptureTimedOutError", 1), ("CaptureFailedError", 2), ("GuestError", 0)]
)
def test_two_timeouts_in_a_row_end_the_periodic_captures(error: str, more: int) -> None:
    world = World()
    world.see(ev.KernelTyped(release="", hz=1, cpus=1, btf_types=1, typed_ms=1))
    world.see(ev.ScenarioChanged(state="started"))
    taken = 0
    for second in range(20):
        taken += len(world.tick(second, scenario_s=second))
        world.end("failed", error)
    assert taken == 1 + more


# -- alerts ---------------------------------------------------------------------------------


def test_a_scheduler_that_takes_long_to_attach_is_an_alert() -> None:
    world = World()
    world.see(ev.OutputText(stream="sched_log", text="--- begin my.bpf.o ---\nlibbpf: loa"), at_s=10)
    world.see(ev.OutputText(stream="sched_log", text="ding\n"), at_s=11)
    assert world.tick(22, frozen_s=3) == []
    world.see(ev.HostStood(start_ns=9 * S, end_ns=11 * S, reason="stopped"), at_s=22)
    assert world.tick(23.5, frozen_s=3) == []
    (alert,) = world.tick(24, frozen_s=3)
    assert isinstance(alert, ct.RaiseAlert)
    assert alert.text == (
        "my.bpf.o was started 10 s ago and has not attached: libbpf loads it and the kernel verifies its "
        "programs; last line of its log: libbpf: loading"
    )
    world.see(ev.SchedulerChanged(change="attached", name="my"))
    assert kinds(world.tick(25)) == ["alert-clear"]


def test_the_loop_samples_less_while_the_executor_is_behind() -> None:
    world = World()
    world.see(ev.KernelTyped(release="", hz=1, cpus=1, btf_types=1, typed_ms=1))
    assert world.tick(1) == []
    world.see(ev.BackpressureChanged(on=True, depth=1000))
    assert world.tick(2) == [ct.AdjustSampling(hz=2.5)]
    world.end()
    world.see(ev.BackpressureChanged(on=False, depth=200))
    assert world.tick(3) == [ct.AdjustSampling(hz=10)]


# -- what holds for all events --------------------------------------------------------------------------


@given(st.lists(any_event(), max_size=40).map(numbered), st.booleans())
def test_deciding_again_without_a_change_decides_nothing(events: list[ev.Event], end: bool) -> None:
    world = World()
    for number, event in enumerate(events, 1):
        fold(world.state, event)
        if number % 3 == 0:
            world.tick(number, scenario_s=number)
            if end:
                world.end()


@given(st.lists(any_event(), max_size=40).map(numbered))
def test_deciding_changes_nothing_and_is_the_same_each_time(events: list[ev.Event]) -> None:
    world = World()
    for event in events:
        fold(world.state, event)
    before = copy.deepcopy(world.state)
    first = reconcile(world.state)
    assert world.state == before
    assert world.state.encode() == before.encode()
    assert reconcile(copy.deepcopy(world.state)) == first
