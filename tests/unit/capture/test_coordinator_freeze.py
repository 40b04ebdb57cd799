"""The coordinator freezes for a user, and never leaves the guest standing by accident."""

from __future__ import annotations

import gc
from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ktstr_tui.guest.engine import EngineLostError
from ktstr_tui.model.errors import GuestError
from ktstr_tui.model.events import (
    CaptureTaken,
    Frozen,
    Logged,
    Thawed,
)
from tests.unit.capture.fakes import (
    EXIT_OFFSET,
    SCHED_A,
    clock_ns,
)
from tests.unit.capture.rig import Rig, in_place, running

A_EXIT = SCHED_A + EXIT_OFFSET
pytestmark = pytest.mark.usefixtures("no_threads")


# -- frozen by a user --------------------------------------------------------------------------------------


async def test_freeze_and_thaw(autojump_clock: MockClock) -> None:
    async with running() as rig:
        await rig.attach()
        before_ns = rig.coordinator.frozen_total_ns()
        assert await rig.coordinator.freeze("key f") is True
        assert not rig.runs()
        assert rig.coordinator.frozen
        assert rig.coordinator.frozen_reason == "key f"
        assert rig.of(Frozen) == [Frozen(reason="key f")]
        await trio.sleep(5)
        assert await rig.coordinator.freeze("again") is False
        assert await rig.coordinator.thaw("key f") is True
        assert rig.runs()
        assert await rig.coordinator.thaw("again") is False
        (thawed,) = rig.of(Thawed)
        assert thawed.pause.stop_us is not None
        assert thawed.pause.resume_us is not None
        frozen_ns = rig.coordinator.frozen_total_ns() - before_ns
        assert frozen_ns == pytest.approx(5e9, rel=0.01)
        now_ns = clock_ns()
        assert rig.coordinator.frozen_between_ns(now_ns - 2_000_000_000, now_ns) == pytest.approx(
            2e9, rel=0.01
        )
        assert rig.frozen.intervals[-1].end_ns <= now_ns


async def test_captures_of_a_frozen_guest_leave_it_frozen(autojump_clock: MockClock) -> None:
    async with running() as rig:
        await rig.attach()
        await rig.coordinator.freeze("key f")
        rig.engine.log.clear()
        first = await rig.coordinator.capture("on-demand")
        second = await rig.coordinator.capture("on-demand")
        assert rig.engine.log == []
        assert not rig.runs()
        assert [first.tag, second.tag] == ["on-demand-001", "on-demand-002"]
        assert first.pause is not None
        assert (first.pause.stop_us, first.pause.resume_us) == (None, None)
        await rig.coordinator.thaw("key f")
        assert rig.engine.log == ["resume"]


async def test_a_view_attached_to_a_frozen_guest_arms_slot_0(autojump_clock: MockClock) -> None:
    async with running() as rig:
        await rig.coordinator.freeze("early bird")
        rig.view.root = SCHED_A
        await rig.attach()
        assert rig.engine.watches == {A_EXIT: 4}
        assert not rig.runs()


async def test_an_ejection_that_races_with_a_freeze_is_captured_and_the_guest_stays_frozen(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        rig.view.root = SCHED_A
        await rig.attach()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.coordinator.freeze, "key f")
            rig.engine.write_exit(SCHED_A, 1026)
        await rig.settle()
        assert len(rig.of(CaptureTaken)) == 1
        assert rig.coordinator.frozen_reason is not None or rig.engine.running


# -- cancellation ------------------------------------------------------------------------------------------


async def test_a_freeze_cancelled_midway_leaves_the_guest_running(autojump_clock: MockClock) -> None:
    async with running() as rig:
        rig.engine.stop_delay_s = 1.0
        with trio.move_on_after(0.5) as scope:
            await rig.coordinator.freeze("key f")
        assert scope.cancelled_caught
        await trio.sleep(1)
        assert rig.runs()
        assert not rig.coordinator.frozen
        assert [type(event) for event in rig.events] == [Frozen, Thawed]


async def test_a_freeze_cancelled_in_the_queue_never_happens(autojump_clock: MockClock) -> None:
    async with running() as rig:
        rig.engine.stop_delay_s = 1.0
        await rig.attach()
        stops = rig.engine.stops
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.coordinator.capture, "on-demand")
            await wait_all_tasks_blocked()
            with trio.move_on_after(0.1):
                await rig.coordinator.freeze("key f")
        await rig.settle()
        assert rig.engine.stops == stops + 1
        assert rig.coordinator.statistics().abandoned == 1
        assert rig.of(Frozen) == []


async def test_a_capture_cancelled_midway_is_finished_and_the_guest_runs(autojump_clock: MockClock) -> None:
    async with running() as rig:
        await rig.attach()
        rig.engine.register_delay_s = 0.5
        with trio.move_on_after(0.2) as scope:
            await rig.coordinator.capture("on-demand")
        assert scope.cancelled_caught
        assert not rig.runs()
        await trio.sleep(1)
        await rig.settle()
        assert rig.runs()
        assert len(rig.of(CaptureTaken)) == 1


@pytest.mark.parametrize("moment", ["stopping", "registers", "held"])
async def test_the_end_of_the_coordinator_lets_the_guest_go(autojump_clock: MockClock, moment: str) -> None:
    rig = Rig()
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.coordinator.run)
        await rig.attach()
        rig.engine.stop_delay_s = rig.engine.register_delay_s = 0.5
        if moment == "held":
            await rig.coordinator.freeze("key f")
        else:
            nursery.start_soon(rig.coordinator.capture, "on-demand")
            await trio.sleep(0.25 if moment == "stopping" else 0.75)
        assert rig.engine.running == (moment == "stopping")
        nursery.cancel_scope.cancel()
    assert rig.runs()
    assert not rig.coordinator.frozen


async def test_a_capture_taken_is_saved_even_when_the_run_is_cancelled(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig()

    async with trio.open_nursery() as nursery:
        await nursery.start(rig.coordinator.run)
        rig.view.root = SCHED_A
        await rig.attach()
        monkeypatch.setattr(trio.to_thread, "run_sync", in_place(partial(trio.sleep, 1)))
        rig.engine.write_exit(SCHED_A, 1026)
        await wait_all_tasks_blocked()
        assert rig.store.reports == []
        nursery.cancel_scope.cancel()
    assert [report.tag for _, report in rig.store.reports] == ["error-001"]
    assert len(rig.of(CaptureTaken)) == 1


async def test_requests_after_the_end_fail(autojump_clock: MockClock) -> None:
    async with running() as rig:
        pass
    with pytest.raises(GuestError, match="the run is ending"):
        await rig.coordinator.freeze("too late")


async def test_a_dying_guest_ends_the_coordinator_and_fails_who_waits(autojump_clock: MockClock) -> None:
    rig = Rig()
    errors: list[GuestError] = []

    async def capture() -> None:
        try:
            await rig.coordinator.capture("on-demand")
        except GuestError as error:
            errors.append(error)

    async with trio.open_nursery() as nursery:
        await nursery.start(rig.coordinator.run)
        await rig.attach()
        rig.engine.register_delay_s = 0.5
        nursery.start_soon(capture)
        nursery.start_soon(capture)
        await trio.sleep(0.1)
        rig.engine.die()
    assert [type(error) for error in errors] == [EngineLostError, EngineLostError]
    assert "QEMU is gone" in rig.of(Logged)[0].text
    with pytest.raises(EngineLostError):
        await rig.coordinator.thaw("too late")


async def test_the_collector_is_off_while_a_capture_stands_and_on_while_a_user_holds(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        await rig.attach()
        await rig.coordinator.capture("on-demand")
        await rig.coordinator.freeze("key f")
        assert [call["gc"] for call in rig.collect.calls] == [False]
        assert gc.isenabled()
        await rig.coordinator.thaw("key f")
        assert gc.isenabled()
