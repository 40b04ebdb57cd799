"""Names that a guest may give to captures, which are not those of the host; and the answer to its last word."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
import trio

from ktstr_tui.backend.actions import ActionHandler
from ktstr_tui.capture import dispatch_actions as act
from ktstr_tui.capture.scenario_clock import ScenarioClock
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.wire.messages import MsgType, SnapshotKind, SnapshotReply, SnapshotRequest, SnapshotStatus

if TYPE_CHECKING:
    from ktstr_tui.backend.kernel_ops import GuestKernelOps


async def handle(*actions: act.Action) -> tuple[list[tuple[MsgType, bytes]], list[str | None]]:
    """What was replied to some actions, and the tags of the captures taken."""
    replies: list[tuple[MsgType, bytes]] = []
    taken: list[str | None] = []

    async def capture(trigger: str, detail: str, tag: str | None) -> CaptureReport:
        taken.append(tag)
        return CaptureReport(tag=tag or "", trigger=trigger)

    async def watch(symbol: str) -> None:
        raise AssertionError("nobody asked for a watch")

    def reply(kind: MsgType, payload: bytes) -> None:
        replies.append((kind, payload))

    async with trio.open_nursery() as nursery:
        handler = ActionHandler(
            emit=lambda event: None,
            steps=(),
            reply=reply,
            capture=capture,
            watch=watch,
            kernel_ops=cast("GuestKernelOps", None),
            busy=lambda: False,
            clock=ScenarioClock(lambda: 0),
            nursery=nursery,
            fail=lambda reason, error: None,
        )
        for action in actions:
            handler.handle(action)
    return replies, taken


async def ask(tag: str) -> tuple[SnapshotReply, list[str | None]]:
    """The answer to a request with this tag, and the tags of the captures taken."""
    replies, taken = await handle(act.SnapshotRequested(SnapshotRequest(3, SnapshotKind.CAPTURE, tag)))
    ((kind, payload),) = replies
    assert kind is MsgType.SnapshotReply
    return SnapshotReply.unpack(payload), taken


@pytest.mark.parametrize("tag", ["error-001", "early-2", "watch-017", "on-demand-1", "periodic_000"])
async def test_the_hosts_own_names_are_refused(tag: str) -> None:
    answer, taken = await ask(tag)
    assert answer.status is SnapshotStatus.ERR
    assert tag in answer.reason
    assert taken == []


@pytest.mark.parametrize("tag", ["mine", "error", "error-x", "after error-001", "periodic_7", "../../x"])
async def test_other_names_are_the_guests_to_give(tag: str) -> None:
    answer, taken = await ask(tag)
    assert answer.status is SnapshotStatus.OK
    assert taken == [tag]


async def test_no_name_is_one_too() -> None:
    answer, taken = await ask("")
    assert answer.status is SnapshotStatus.OK
    assert taken == [None]


async def test_the_last_word_is_answered_once() -> None:
    replies, _ = await handle(act.Exited(0), act.Exited(1))
    assert replies == [(MsgType.Shutdown, b"")]
