"""Captures that the guest asks for: a first word when they must wait, and the scenario's clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import trio
from trio.testing import wait_all_tasks_blocked

from ktstr_tui.backend.actions import ActionHandler
from ktstr_tui.capture import dispatch_actions as act
from ktstr_tui.capture.scenario_clock import ScenarioClock
from ktstr_tui.model.errors import GuestError
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.wire.messages import (
    MsgType,
    ScenarioEnd,
    SnapshotKind,
    SnapshotReply,
    SnapshotRequest,
    SnapshotStatus,
)

REQUEST = act.SnapshotRequested(SnapshotRequest(7, SnapshotKind.CAPTURE, "mine"))

if TYPE_CHECKING:
    from ktstr_tui.backend.kernel_ops import GuestKernelOps


class Asked:
    """A handler whose captures wait for a word of the test."""

    def __init__(self, nursery: trio.Nursery, busy: bool) -> None:
        self.replies: list[SnapshotReply] = []
        self.go = trio.Event()
        self.error: GuestError | None = None
        self.clock = ScenarioClock(lambda: round(trio.current_time() * 1e9))
        self.handler = ActionHandler(
            emit=lambda event: None,
            steps=(),
            reply=self._reply,
            capture=self._capture,
            watch=self._watch,
            kernel_ops=cast("GuestKernelOps", None),
            busy=lambda: busy,
            clock=self.clock,
            nursery=nursery,
            fail=lambda reason, error: None,
        )

    def _reply(self, kind: MsgType, payload: bytes) -> None:
        assert kind is MsgType.SnapshotReply
        self.replies.append(SnapshotReply.unpack(payload))

    async def _capture(self, trigger: str, detail: str, tag: str | None) -> CaptureReport:
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return CaptureReport(tag=tag or "", trigger=trigger)

    async def _watch(self, symbol: str) -> None:
        raise AssertionError("nobody asked for a watch")

    def told(self) -> list[tuple[int, SnapshotStatus, str]]:
        return [(it.request_id, it.status, it.reason) for it in self.replies]


async def test_a_capture_that_must_wait_is_answered_at_once_and_again() -> None:
    async with trio.open_nursery() as nursery:
        asked = Asked(nursery, busy=True)
        asked.handler.handle(REQUEST)
        await wait_all_tasks_blocked()
        assert asked.told() == [(7, SnapshotStatus.QUEUED, "")]
        asked.go.set()
    assert asked.told() == [(7, SnapshotStatus.QUEUED, ""), (7, SnapshotStatus.OK, "")]


async def test_one_whose_turn_it_is_has_one_answer() -> None:
    async with trio.open_nursery() as nursery:
        asked = Asked(nursery, busy=False)
        asked.handler.handle(REQUEST)
        await wait_all_tasks_blocked()
        assert asked.told() == []
        asked.go.set()
    assert asked.told() == [(7, SnapshotStatus.OK, "")]


async def test_a_queued_one_may_still_fail() -> None:
    async with trio.open_nursery() as nursery:
        asked = Asked(nursery, busy=True)
        asked.error = GuestError("the guest did not stop")
        asked.handler.handle(REQUEST)
        asked.go.set()
    assert [it.status for it in asked.replies] == [SnapshotStatus.QUEUED, SnapshotStatus.ERR]
    assert asked.replies[1].reason == "the guest did not stop"


async def test_the_guests_frames_run_the_scenarios_clock() -> None:
    async with trio.open_nursery() as nursery:
        asked = Asked(nursery, busy=False)
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
