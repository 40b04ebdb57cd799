"""Changes of the scheduler: before and after side by side, marks on the time axis, and a new boot in the same run."""

from __future__ import annotations

import pytest

from ktstr_tui.model import events as ev
from ktstr_tui.model.edit import MAX_CHANGES
from ktstr_tui.model.fold import fold
from ktstr_tui.model.fold_edit import health_now
from ktstr_tui.model.sample import CpuSample, RunnableTask, Sample, SchedulerSample
from ktstr_tui.model.scheduler_swap import (
    ReplaceOutcome,
    SwapAttached,
    SwapDetached,
    SwapFailed,
    SwapRejected,
    SwapTimedOut,
)
from ktstr_tui.model.state import RunState
from tests.tui.story import Story

GUEST_NS = 10**9


class Told:
    """A state to which a test tells what happens."""

    def __init__(self) -> None:
        self.state = RunState()

    def tell(self, event: ev.Event) -> None:
        fold(self.state, event)

    def attach(self, name: str) -> None:
        self.tell(ev.SchedulerChanged(change="attached", name=name))

    def leave(self, change: ev.SchedulerChange = "exiting") -> None:
        self.tell(ev.SchedulerChanged(change=change, name="x", exit_kind=64))

    def sample(self, age_ms: float, guest_s: float, *switches: int | None) -> None:
        oldest = RunnableTask(pid=7, comm="spin", age_ms=age_ms, cpu=0)
        cpus = tuple(CpuSample(cpu=n, nr_switches=count) for n, count in enumerate(switches))
        scheduler = SchedulerSample(name="x", oldest_runnable=oldest)
        self.tell(
            ev.Sampled(sample=Sample(cpus=cpus, scheduler=scheduler, guest_ns=round(guest_s * GUEST_NS)))
        )

    def swap(self, outcome: ReplaceOutcome | None = None, build: int = 1) -> None:
        outcome = outcome or SwapAttached(took_ms=1, loaded="x")
        self.tell(ev.SchedulerSwapped(op="replace", name="x.bpf.o", outcome=outcome))
        self.tell(ev.BuildLoaded(name="x.bpf.o", result=outcome.result, build=build))


def test_the_health_before_and_after_a_change_is_that_of_each_scheduler() -> None:
    it = Told()
    it.attach("old")
    for age, at, count in ((10, 1.0, 100), (30, 1.5, 150), (20, 2.0, 250)):
        it.sample(age, at, count, count)
    it.leave()
    it.attach("new")
    it.swap()
    (swap,) = it.state.edit.changes
    before = swap.before
    assert before is not None
    assert (before.scheduler, before.samples, before.wait_p50_ms, before.wait_max_ms) == ("old", 3, 20, 30)
    assert before.switches_per_s == 300
    assert health_now(it.state).samples == 0  # type: ignore[union-attr]
    it.sample(2, 3.0, 1000)
    it.sample(4, 4.0, 1050)
    after = health_now(it.state)
    assert after is not None
    assert (after.scheduler, after.wait_p50_ms, after.switches_per_s) == ("new", 3, 50)
    it.leave("ejected")
    it.attach("newer")
    it.swap(build=2)
    first, second = it.state.edit.changes
    assert first.after == second.before
    assert second.before is not None
    assert (second.before.scheduler, second.before.ejections) == ("new", 1)
    assert health_now(it.state).ejections == 0  # type: ignore[union-attr]


def test_what_was_never_read_is_absent_and_not_zero() -> None:
    it = Told()
    it.attach("old")
    health = health_now(it.state)
    assert health is not None
    assert (health.wait_p50_ms, health.wait_max_ms, health.switches_per_s) == (None, None, None)
    it.sample(1, 1.0, 5, None)
    it.sample(1, 2.0, 9, None)
    health = health_now(it.state)
    assert health is not None
    assert health.switches_per_s is None
    it.leave()
    assert health_now(it.state) is None


@pytest.mark.parametrize(
    "outcome",
    [
        SwapRejected(took_ms=1, by="verifier", reason="why", loaded="old"),
        SwapFailed(took_ms=1, reason="why"),
        SwapTimedOut(took_ms=1),
    ],
)
def test_a_change_that_did_not_work_out_marks_nothing_and_the_period_goes_on(outcome: ReplaceOutcome) -> None:
    it = Told()
    it.attach("old")
    it.sample(10, 1.0, 5)
    it.swap(outcome)
    assert (it.state.marks, it.state.edit.refused) == ([], 1)
    assert health_now(it.state).samples == 1  # type: ignore[union-attr]
    assert it.state.log[-1].severity == "error"
    assert it.state.log[-1].text.endswith((": why", "no answer from the guest"))
    assert it.state.edit.changes[0].before is None


def test_what_was_not_given_to_the_guest_is_a_change_of_its_own() -> None:
    it = Told()
    it.swap()
    it.tell(ev.BuildLoaded(name="x.bpf.o", result="failed", build=2, reason="x.bpf.o is no BPF object"))
    assert [change.build for change in it.state.edit.changes] == [1, 2]
    assert it.state.log[-1].text == "x.bpf.o of build 2 was not loaded: x.bpf.o is no BPF object"
    assert it.state.edit.refused == 1


def test_a_change_that_nobody_built_is_compared_too() -> None:
    it = Told()
    it.tell(ev.SchedulerSwapped(op="replace", name="y", outcome=SwapAttached(took_ms=1, loaded="y")))
    (change,) = it.state.edit.changes
    assert (change.build, change.since_save_ms, it.state.marks) == (None, None, [0])
    it.tell(ev.SchedulerSwapped(op="detach", outcome=SwapDetached(took_ms=1)))
    assert it.state.edit.changes == (change,)


def test_changes_are_marked_and_bounded() -> None:
    it = Told()
    for number in range(MAX_CHANGES + 3):
        it.attach("x")
        it.sample(1, 1.0 + number, 5)
        it.swap(build=number)
    assert it.state.marks[:3] == [1, 2, 3]
    assert len(it.state.edit.changes) == MAX_CHANGES
    assert it.state.edit.changes_total == MAX_CHANGES + 3


def test_a_new_boot_keeps_the_run_and_forgets_the_machine() -> None:
    it = Told()
    info = Story().info()
    it.tell(ev.RunStarted(info=info))
    it.tell(ev.GuestReady(boot_ms=7.0))
    it.attach("old")
    it.sample(10, 1.0, 5)
    it.tell(ev.AlertRaised(key="a", kind="stall", severity="error", text="x"))
    it.tell(ev.WatchpointChanged(slot=1, expression="jiffies"))
    it.tell(ev.Frozen(reason="f"))
    lines = len(it.state.log)
    it.tell(ev.GuestRestarted(boot=2, reason="me asked"))
    state = it.state
    assert (state.phase, state.boot_ms, state.scheduler, state.cpus) == ("booting", None, None, {})
    assert (state.alerts, state.watchpoints, state.frozen) == ({}, {}, None)
    assert (state.info, state.samples, state.edit.boots) == (info, 1, 2)
    assert state.runnable_age_history == [10]
    assert state.marks == [1]
    assert [line.text for line in state.log[lines:]] == ["boot 2: me asked"]
    closed = state.edit.closed
    assert closed is not None
    assert (closed.scheduler, closed.wait_max_ms) == ("old", 10)
