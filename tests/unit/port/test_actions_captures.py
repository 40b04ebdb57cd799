"""Captures that the guest asks for: through the bridge, with a first word when they must wait; and the clock."""

from __future__ import annotations

import msgspec
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ktstr_tui.capture.accessor import AccessorState
from ktstr_tui.capture.snapshots import CaptureUnavailable
from ktstr_tui.guest.scenario_ops import Op
from ktstr_tui.model.errors import GuestError
from ktstr_tui.model.events import Logged
from ktstr_tui.port import actions as act
from ktstr_tui.port.guest_requests import MEMORY_WAIT_S
from ktstr_tui.port.swaps import SWAP_S
from ktstr_tui.wire.messages import ScenarioEnd, SnapshotKind, SnapshotRequest, SnapshotStatus, Stimulus
from tests.unit.port.asking import Asked

REQUEST = act.SnapshotRequested(SnapshotRequest(7, SnapshotKind.CAPTURE, "mine"))
OK, ERR, QUEUED = SnapshotStatus.OK, SnapshotStatus.ERR, SnapshotStatus.QUEUED


class Step(msgspec.Struct, frozen=True):
    """One of a scenario."""

    name: str
    scheduler: str
    ops: tuple[Op, ...] = ()


STEPS = (
    Step("baseline", "none"),
    Step("fifo", "demo:fifo"),
    Step("again", "demo:fifo"),
    Step("own", "./scx_own"),
)


def begins(step: int) -> act.StepChanged:
    """The frame of a step that begins."""
    return act.StepChanged(Stimulus(0, step, 0, 0, 0, 1, 0))


async def test_a_capture_that_must_wait_is_answered_at_once_and_again() -> None:
    async with trio.open_nursery() as nursery:
        asked = Asked(nursery, busy=True, waits=True)
        asked.handler.handle(REQUEST)
        await wait_all_tasks_blocked()
        assert asked.told() == [(7, QUEUED, "")]
        asked.go.set()
    assert asked.told() == [(7, QUEUED, ""), (7, OK, "")]


async def test_one_whose_turn_it_is_has_one_answer() -> None:
    async with trio.open_nursery() as nursery:
        asked = Asked(nursery, waits=True)
        asked.handler.handle(REQUEST)
        await wait_all_tasks_blocked()
        assert asked.told() == []
        asked.go.set()
    assert asked.told() == [(7, OK, "")]


async def test_a_queued_one_may_still_fail() -> None:
    async with trio.open_nursery() as nursery:
        asked = Asked(nursery, busy=True)
        asked.error = GuestError("the guest did not stop")
        asked.handler.handle(REQUEST)
    assert [it.status for it in asked.answers()] == [QUEUED, ERR]
    assert asked.answers()[1].reason == "the guest did not stop"
    assert asked.bridge.drain_events() == [CaptureUnavailable("mine")]


async def test_the_bridge_keeps_the_report_with_the_step_that_asked() -> None:
    async with trio.open_nursery() as nursery:
        asked = Asked(nursery, steps=STEPS)
        asked.handler.handle(begins(0))
        asked.handler.handle(REQUEST)
    (kept,) = asked.bridge.drain_ordered_with_stats()
    assert (kept.tag, kept.step_index) == ("mine", 0)


async def test_a_capture_waits_until_memory_is_readable(autojump_clock: MockClock) -> None:
    accessor = AccessorState()
    async with trio.open_nursery() as nursery:
        asked = Asked(nursery, accessor=accessor)
        asked.handler.handle(REQUEST)
        await wait_all_tasks_blocked()
        assert asked.told() == []
        accessor.publish()
    assert asked.told() == [(7, OK, "")]


async def test_it_is_told_that_memory_is_still_tried_or_given_up(autojump_clock: MockClock) -> None:
    for gives_up, word in ((False, "stayed in TRYING"), (True, "FAILED_PERMANENTLY")):
        accessor = AccessorState()
        began_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            asked = Asked(nursery, accessor=accessor)
            asked.handler.handle(REQUEST)
            await wait_all_tasks_blocked()
            if gives_up:
                accessor.fail("no BTF")
        (answer,) = asked.answers()
        assert answer.status is ERR
        assert word in answer.reason
        assert trio.current_time() - began_s == (0 if gives_up else MEMORY_WAIT_S)
        assert asked.taken == []


async def test_a_capture_in_a_step_with_a_new_scheduler_waits_until_that_is_followed(
    autojump_clock: MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        asked = Asked(nursery, steps=STEPS)
        asked.handler.handle(begins(0))
        asked.handler.handle(begins(1))
        await wait_all_tasks_blocked()
        asked.handler.handle(REQUEST)
        await wait_all_tasks_blocked()
        assert asked.told() == [(7, QUEUED, "")]
        asked.accessor.publish()
    assert asked.told() == [(7, QUEUED, ""), (7, OK, "")]
    assert asked.swaps.unseen == 0


async def test_no_step_waits_for_a_scheduler_that_stays(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        asked = Asked(nursery, steps=STEPS)
        pending = []
        for step in (0, 1, 2, 3):
            if step == 1:
                asked.accessor.publish()
            asked.handler.handle(begins(step))
            await wait_all_tasks_blocked()
            pending.append(asked.swaps.pending)
        asked.accessor.publish()
    assert pending == [False, False, False, True], "the publish of demo:fifo is not that of the next one"
    assert asked.swaps.unseen == 0


async def test_a_swap_that_nobody_saw_is_told_and_holds_up_nothing(autojump_clock: MockClock) -> None:
    began_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        asked = Asked(nursery, steps=STEPS)
        for step in (1, 0, 3):
            asked.handler.handle(begins(step))
        await wait_all_tasks_blocked()
        asked.handler.handle(REQUEST)
    assert trio.current_time() - began_s == SWAP_S
    assert asked.told() == [(7, QUEUED, ""), (7, OK, "")]
    assert asked.swaps.unseen == 1
    (line,) = [it for it in asked.events if isinstance(it, Logged)]
    assert "step fifo, scheduler demo:fifo" in line.text
    assert "did not advance from 1" in line.text


async def test_the_guests_frames_run_the_scenarios_clock() -> None:
    async with trio.open_nursery() as nursery:
        asked = Asked(nursery)
        paused = [asked.clock.paused]
        frames: tuple[act.Action, ...] = (
            act.ScenarioStarted(),
            act.ScenarioPaused(),
            act.ScenarioResumed(),
            act.ScenarioEnded(ScenarioEnd(5, 6)),
        )
        for frame in frames:
            asked.handler.handle(frame)
            paused.append(asked.clock.paused)
    assert paused == [True, False, True, False, True]
    assert asked.clock.ended.is_set()
