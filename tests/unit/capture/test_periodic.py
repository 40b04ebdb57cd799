"""Captures through a scenario: when they are due, what they carry, and when they are given up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from ktstr_tui.capture.finisher import CaptureFailedError
from ktstr_tui.capture.periodic import PeriodicCaptures
from ktstr_tui.capture.stamp import Stamp
from ktstr_tui.control.fold import fold, fold_tick
from ktstr_tui.control.fold_actions import note_emitted
from ktstr_tui.control.reconcile import decide
from ktstr_tui.control.state import LoopState
from ktstr_tui.control.ticker import TICK_S
from ktstr_tui.model import events as ev
from ktstr_tui.model.control import ControlPlan, PendingAction, TakeCapture
from ktstr_tui.model.errors import HostError, KtstrError
from ktstr_tui.model.events import CaptureTaken, Logged
from ktstr_tui.model.kinds import Trigger
from ktstr_tui.model.missing_stats import MissingStats
from ktstr_tui.model.plan import MAX_PERIODIC as MAX_CAPTURES
from ktstr_tui.model.plan import MIN_GAP_MS, periodic_tag
from ktstr_tui.model.plan import periodic_boundaries_ms as boundaries_ms
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.port.scenario_clock import ScenarioClock
from ktstr_tui.port.stats_port import NoScheduler, Timeout
from tests.unit.capture.fakes import clock_ns
from tests.unit.capture.rig import Rig, running

pytestmark = pytest.mark.usefixtures("no_threads")


# -- when ------------------------------------------------------------------------------------------------


def test_ten_captures_of_a_scenario_of_eleven_seconds() -> None:
    assert boundaries_ms(11_000, 10) == pytest.approx([1100 + 800 * (i + 1) for i in range(10)])


@given(st.floats(0, 1e8), st.integers(0, 1000))
def test_captures_lie_in_the_window_evenly_and_far_enough_apart(avail_ms: float, count: int) -> None:
    due = boundaries_ms(avail_ms, count)
    assert len(due) <= min(count, MAX_CAPTURES)
    assert all(avail_ms * 0.1 - 1e-6 <= it <= avail_ms * 0.9 + 1e-6 for it in due)
    gaps = [later - earlier for earlier, later in pairwise(due)]
    assert all(gap >= MIN_GAP_MS - 1e-3 for gap in gaps)
    assert all(gap == pytest.approx(gaps[0]) for gap in gaps)
    if len(due) < min(count, MAX_CAPTURES):
        assert 0.8 * avail_ms / (len(due) + 2) < MIN_GAP_MS, "one more would not have fitted"


# -- the captures ----------------------------------------------------------------------------------------


class Asked:
    """A scheduler that answers with what it is given; the last answer for good."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.patience_s: list[float | None] = []

    async def stats(self, timeout_s: float | None = None) -> Any:  # noqa: ANN401
        await trio.lowlevel.checkpoint()
        self.patience_s.append(timeout_s)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Run:
    """A scenario under way, with a real coordinator over a fake guest."""

    def __init__(self, rig: Rig, count: int, avail_ms: float, asked: Asked | None) -> None:
        self.rig = rig
        self.clock = ScenarioClock(clock_ns, rig.coordinator.frozen_total_ns)
        self.ready = trio.Event()
        rig.now.elapsed_ms = self.clock.elapsed_ms
        self.refuses: KtstrError | None = None
        self.avail_ms = avail_ms
        self.captures = PeriodicCaptures(
            count,
            clock=self.clock,
            avail_ms=lambda: avail_ms,
            ready=self.ready,
            capture=self._capture,
            stats=asked,
            emit=rig.emit,
        )

    async def decide(self) -> None:
        """Run the captures as the control loop does: decide every 100 ms, and tell it what came of each."""
        state = LoopState(
            plan=ControlPlan(name="run", periodic=self.captures._count, scenario_ms=self.avail_ms)
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.captures.run)
            facts = state.periodic
            while not facts.closed and (not facts.due_ms or facts.next < len(facts.due_ms)):
                if self.clock.started.is_set() and not state.periodic.due_ms:
                    fold(state, ev.ScenarioChanged(state="started"))
                if self.ready.is_set():
                    fold(state, ev.KernelTyped(release="", hz=1, cpus=1, btf_types=1, typed_ms=1))
                word = ev.Ticked(tick=1, now_ns=clock_ns(), folded_seq=0, scenario_ns=self.clock.elapsed_ns())
                fold_tick(state, word, ())
                for pending in decide(state):
                    note_emitted(state, pending)
                    nursery.start_soon(self._take, state, pending)
                await trio.sleep(TICK_S)
                if self.clock.ended.is_set():
                    fold(state, ev.ScenarioChanged(state="ended"))
            nursery.cancel_scope.cancel()

    async def _take(self, state: LoopState, pending: PendingAction) -> None:
        action, error = pending.action, ""
        assert isinstance(action, TakeCapture)
        assert action.index is not None
        assert action.due_ms is not None
        try:
            await self.captures.take(action.index, action.due_ms)
        except KtstrError as failure:
            error = type(failure).__name__
        fold(
            state,
            ev.ActionChanged(
                id=pending.id, action=action, disposition="failed" if error else "done", error=error
            ),
        )

    async def _capture(self, trigger: Trigger, detail: str, tag: str, stamp: Stamp) -> CaptureReport:
        if self.refuses is not None:
            raise self.refuses
        return await self.rig.coordinator.capture(trigger, detail, tag, stamp)

    def reports(self) -> list[CaptureReport]:
        return [taken.report for taken in self.rig.of(CaptureTaken)]

    def said(self) -> list[str]:
        return [event.text for event in self.rig.of(Logged) if event.source == "periodic"]


@asynccontextmanager
async def scenario(count: int, avail_ms: float = 11_000, asked: Asked | None = None) -> AsyncIterator[Run]:
    async with running() as rig:
        await rig.attach()
        run = Run(rig, count, avail_ms, asked)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.decide)
            yield run
            nursery.cancel_scope.cancel()


async def test_each_is_named_stamped_and_kept_with_its_statistics(autojump_clock: MockClock) -> None:
    asked = Asked({"nr": 1}, NoScheduler("no server on it"), {"nr": 3})
    async with scenario(3, 10_000, asked) as run:
        run.ready.set()
        run.clock.start()
        await trio.sleep(20)
    reports = run.reports()
    assert [it.tag for it in reports] == ["periodic_000", "periodic_001", "periodic_002"]
    assert {it.trigger for it in reports} == {"periodic"}
    assert [it.boundary_offset_ms for it in reports] == pytest.approx([3000, 5000, 7000])
    assert [it.elapsed_ms for it in reports] == pytest.approx([3000, 5000, 7000], abs=1)
    assert {it.step_index for it in reports} == {2}
    assert [it.scheduler_stats for it in reports] == [{"nr": 1}, None, {"nr": 3}]
    assert [it.scheduler_stats_unavailable for it in reports] == [
        None,
        "no scheduler: no server on it",
        None,
    ]
    bridge = run.rig.bridge
    assert bridge.periodic_real_count() == 3
    drained = bridge.drain_ordered_with_stats()
    assert [it.tag for it in drained] == [it.tag for it in reports]
    assert [it.stats for it in drained] == [
        {"nr": 1},
        MissingStats("no scheduler", "no server on it"),
        {"nr": 3},
    ]
    assert [(it.elapsed_ms, it.step_index) for it in drained] == [(3000, 2), (5000, 2), (7000, 2)]
    counted = run.captures.statistics()
    assert (counted.planned, counted.taken, counted.with_stats) == (3, 3, 2)
    assert counted.without_stats == {"no scheduler": 1}


async def test_asking_never_takes_longer_than_half_a_gap(autojump_clock: MockClock) -> None:
    asked = Asked(Timeout("no answer"))
    async with scenario(7, 1000, asked) as run:
        run.ready.set()
        run.clock.start()
        await trio.sleep(5)
    assert asked.patience_s == pytest.approx([0.05] * 7)
    assert run.captures.statistics().without_stats == {"timeout": 7}


async def test_fewer_are_taken_where_they_do_not_fit_and_that_is_said(autojump_clock: MockClock) -> None:
    async with scenario(64, 1000) as run:
        run.ready.set()
        run.clock.start()
        await trio.sleep(5)
    assert len(run.reports()) == 7
    assert run.said() == ["7 of 64 captures fit into 1.0 s, 100 ms apart"]
    assert {it.scheduler_stats_unavailable for it in run.reports()} == {
        "relay: this guest has no statistics port"
    }


async def test_they_wait_for_the_guests_memory_and_stay_apart(autojump_clock: MockClock) -> None:
    async with scenario(10) as run:
        run.clock.start()
        await trio.sleep(5)
        assert run.reports() == []
        run.ready.set()
        await trio.sleep(20)
    elapsed = [it.elapsed_ms or 0.0 for it in run.reports()]
    assert len(elapsed) == 10
    assert elapsed[0] == pytest.approx(5000, abs=1000 * TICK_S + 1)
    assert all(b - a >= MIN_GAP_MS - 1e-6 for a, b in pairwise(elapsed))
    assert elapsed[-1] == pytest.approx(9100, abs=1), "and the rhythm is found again"
    assert run.captures.statistics().deferred == 1


async def test_a_scheduler_that_answers_slowly_once_moves_no_two_together(autojump_clock: MockClock) -> None:
    class SlowAtFirst(Asked):
        async def stats(self, timeout_s: float | None = None) -> Any:  # noqa: ANN401
            await trio.sleep(0 if self.patience_s else 0.04)
            return await super().stats(timeout_s)

    async with scenario(7, 1000, SlowAtFirst({})) as run:
        run.ready.set()
        run.clock.start()
        await trio.sleep(5)
    elapsed = [it.elapsed_ms or 0.0 for it in run.reports()]
    assert elapsed[0] == pytest.approx(240, abs=1)
    assert all(b - a >= MIN_GAP_MS - 1e-6 for a, b in pairwise(elapsed))


async def test_a_freeze_moves_them_all(autojump_clock: MockClock) -> None:
    async with scenario(3, 10_000) as run:
        run.ready.set()
        run.clock.start()
        started_s = trio.current_time()
        await trio.sleep(1)
        await run.rig.coordinator.freeze("a look around")
        await trio.sleep(60)
        await run.rig.coordinator.thaw("enough")
        await trio.sleep(20)
    first = run.reports()[0]
    assert first.mono_ns / 1e9 - started_s == pytest.approx(63, abs=0.02)
    assert first.elapsed_ms == pytest.approx(3000, abs=20)


async def test_two_timeouts_in_a_row_end_it(autojump_clock: MockClock) -> None:
    async with scenario(10) as run:
        run.ready.set()
        run.clock.start()
        await trio.sleep(2)
        run.rig.engine.stop_delay_s = 2.5
        await trio.sleep(20)
        run.rig.engine.stop_delay_s = 0.0
    counted = run.captures.statistics()
    assert counted.abandoned
    assert (counted.taken, counted.failed, counted.timeouts) == (1, 2, 2)
    assert run.said() == ["abandoned after 2 consecutive timeouts, 1 of 10 taken"]
    assert [it.is_placeholder for it in run.reports()] == [False, True, True]
    assert run.rig.bridge.periodic_real_count() == 1


async def test_other_failures_do_not_end_it(autojump_clock: MockClock) -> None:
    async with scenario(5) as run:
        run.rig.collect.error = LookupError("no such member")
        run.ready.set()
        run.clock.start()
        await trio.sleep(20)
    counted = run.captures.statistics()
    assert (counted.taken, counted.failed, counted.timeouts, counted.abandoned) == (0, 5, 0, False)
    assert len(run.rig.bridge.drain()) == 5


@pytest.mark.parametrize(
    "error", [HostError("32 requests are already waiting for the guest"), CaptureFailedError("no")]
)
async def test_a_refused_one_is_counted(autojump_clock: MockClock, error: KtstrError) -> None:
    async with scenario(2) as run:
        run.refuses = error
        run.ready.set()
        run.clock.start()
        await trio.sleep(20)
    assert run.captures.statistics().failed == 2


async def test_a_scenario_that_ends_early_is_told(autojump_clock: MockClock) -> None:
    async with scenario(10) as run:
        run.ready.set()
        run.clock.start()
        await trio.sleep(3)
        run.clock.end()
        await wait_all_tasks_blocked()
    assert len(run.reports()) == 2
    assert run.said() == ["the scenario ended after 2 of 10 captures"]


async def test_a_guest_that_is_gone_ends_it(autojump_clock: MockClock) -> None:
    async with running() as rig:
        await rig.attach()
        run = Run(rig, 3, 10_000, None)
        run.ready.set()
        run.clock.start()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run.decide)
            await trio.sleep(1)
            rig.engine.die()
        assert run.said()[0].startswith("no more captures: ")


def test_tags_are_those_that_the_bridge_counts() -> None:
    assert [periodic_tag(index) for index in (0, 7, 63)] == ["periodic_000", "periodic_007", "periodic_063"]
