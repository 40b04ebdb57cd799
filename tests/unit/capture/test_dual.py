"""The early capture: taken once for each scheduler, and told of when the scheduler is ejected."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from ktstr_tui.capture.coordinator import FreezeState
from ktstr_tui.model.events import Logged
from ktstr_tui.model.sample import Sample
from tests.unit.capture.early_rig import sample, watched
from tests.unit.capture.fakes import SCHED_A, SCHED_B

pytestmark = pytest.mark.usefixtures("no_threads")


async def test_it_is_taken_past_half_of_the_timeout_and_once(autojump_clock: MockClock) -> None:
    async with watched() as run:
        await run.see(100.0, 1400.0, 1500.0)
        assert run.reports() == []
        assert run.rig.freeze_state() is FreezeState.IDLE
        await run.see(1501.0, 1600.0, 2900.0)
        (early,) = run.reports()
        assert run.rig.freeze_state() is FreezeState.TOOK_EARLY
        assert early.trigger_detail == "spin[42] runnable for 1.501 s, past 1.5 s"
        late = await run.eject()
    assert run.rig.freeze_state() is FreezeState.DONE
    assert (late.early_tag, late.early_skipped_reason) == (early.tag, None)
    assert (late.early_max_age_ms, late.early_threshold_ms) == (2900.0, 1500.0)
    assert (run.early.statistics().due, run.early.statistics().taken) == (1, 1)


async def test_an_ejection_without_a_wait_says_that_nobody_waited(autojump_clock: MockClock) -> None:
    async with watched() as run:
        await run.see(100.0, 700.0)
        late = await run.eject()
    assert late.early_tag is None
    assert late.early_max_age_ms == 700.0
    assert late.early_skipped_reason == (
        "no task was seen waiting for more than 0.700 s, and 1.5 s would have been early"
    )


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        ([], "no sample of this scheduler had its watchdog timeout"),
        ([sample(9000.0, unreadable="torn")], "no sample of this scheduler had its watchdog timeout"),
        ([sample(9000.0, timeout_ms=None)], "no sample of this scheduler had its watchdog timeout"),
        ([sample(None)], "no task was seen waiting"),
    ],
)
async def test_every_reason_for_none_is_told(
    autojump_clock: MockClock, samples: list[Sample], reason: str
) -> None:
    async with watched() as run:
        for one in samples:
            run.look(one)
        await run.rig.settle()
        late = await run.eject()
    assert run.reports() == []
    assert late.early_skipped_reason == reason


async def test_switched_off(autojump_clock: MockClock) -> None:
    async with watched(off="the sampler is off") as run:
        await run.see(2900.0)
        late = await run.eject()
    assert run.reports() == []
    assert (late.early_skipped_reason, late.early_max_age_ms) == ("the sampler is off", None)


async def test_one_that_fails_is_not_tried_again_and_its_reason_is_kept(autojump_clock: MockClock) -> None:
    async with watched() as run:
        run.rig.engine.stop_delay_s = 2.5
        await run.see(1600.0)
        await trio.sleep(5)
        run.rig.engine.stop_delay_s = 0.0
        await trio.sleep(5)
        await run.see(1700.0, 2000.0)
        assert [it.is_placeholder for it in run.reports()] == [True]
        assert run.rig.freeze_state() is FreezeState.IDLE
        late = await run.eject()
    assert late.early_tag is None
    assert "rendezvous timed out" in (late.early_skipped_reason or "")
    assert any("no early capture" in event.text for event in run.rig.of(Logged))
    assert run.early.statistics().failed == 1


async def test_an_ejection_that_comes_first(autojump_clock: MockClock) -> None:
    async with watched() as run:
        run.look(sample(1600.0))
        run.rig.engine.write_exit(SCHED_A, 1026)
        await run.rig.settle()
        (late,) = run.reports("error")
        assert late.early_skipped_reason == "the ejection came before the early capture"


async def test_a_new_scheduler_has_its_own(autojump_clock: MockClock) -> None:
    async with watched() as run:
        await run.see(1600.0)
        await run.eject()
        run.rig.engine.write_root(SCHED_B)
        await run.rig.settle()
        assert run.rig.freeze_state() is FreezeState.IDLE
        run.look(sample(50.0, name="beta", seq=2))
        run.look(sample(1700.0, name="beta", seq=2))
        await run.rig.settle()
        assert len(run.reports()) == 2
        run.rig.engine.write_exit(SCHED_B, 1026)
        await run.rig.settle()
    first, second = run.reports("error")
    assert (first.early_tag, second.early_tag) == tuple(it.tag for it in run.reports())
    assert second.early_max_age_ms == 1700.0


async def test_a_scheduler_that_is_leaving_is_not_captured_early(autojump_clock: MockClock) -> None:
    async with watched() as run:
        run.look(sample(1600.0, exit_kind=64))
        run.look(sample(1600.0, name=None))
        await run.rig.settle()
        assert run.reports() == []


async def test_captures_on_demand_change_nothing_about_it(autojump_clock: MockClock) -> None:
    async with watched() as run:
        await run.rig.coordinator.capture("on-demand")
        await run.see(1600.0)
        await run.rig.coordinator.capture("on-demand")
        late = await run.eject()
    assert late.early_tag == run.reports()[0].tag
