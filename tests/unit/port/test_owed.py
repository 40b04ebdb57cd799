"""What the guest waits for, as the outbox keeps it."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from ktstr_tui.port import actions as act
from ktstr_tui.port.outbox import Outbox
from ktstr_tui.wire.frames import encode_frame
from ktstr_tui.wire.messages import (
    MsgType,
    SnapshotKind,
    SnapshotReply,
    SnapshotRequest,
    SnapshotStatus,
)

REQUEST = act.SnapshotRequested(SnapshotRequest(1, SnapshotKind.CAPTURE, "tag"))


async def settles(outbox: Outbox) -> bool:
    with trio.move_on_after(1) as scope:
        await outbox.settled()
    return not scope.cancelled_caught


@pytest.mark.parametrize(
    ("action", "answer"),
    [
        (act.SystemReady(), MsgType.AccessorReady),
        (REQUEST, MsgType.SnapshotReply),
        (act.Refuse(1, "no"), MsgType.SnapshotReply),
        (act.RefuseKernelOp(1, "no"), MsgType.KernelOpReply),
        (act.Exited(0), MsgType.Shutdown),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, act._Action) else value.name,
)
async def test_an_answer_settles_what_was_asked(
    action: act.Action, answer: MsgType, autojump_clock: MockClock
) -> None:
    outbox = Outbox(pulled=True)
    outbox.owe(act.ScenarioStarted())
    assert await settles(outbox)
    outbox.owe(action)
    assert not await settles(outbox)
    outbox.reply(answer, b"\0" * 8)
    assert await settles(outbox)
    assert outbox.pull() == encode_frame(answer, b"\0" * 8)
    assert outbox.pull() == b""


async def test_queued_is_no_answer_yet(autojump_clock: MockClock) -> None:
    outbox = Outbox(pulled=True)
    outbox.owe(REQUEST)
    outbox.reply(MsgType.SnapshotReply, SnapshotReply(1, SnapshotStatus.QUEUED, "").pack())
    assert not await settles(outbox)
    outbox.reply(MsgType.SnapshotReply, SnapshotReply(1, SnapshotStatus.OK, "").pack())
    assert await settles(outbox)


async def test_what_is_pulled_is_not_written(autojump_clock: MockClock) -> None:
    outbox = Outbox(pulled=True)
    outbox.reply(MsgType.Shutdown)
    left, _ = trio.testing.memory_stream_pair()
    with trio.move_on_after(1) as scope:
        await outbox.write_to(left)
    assert scope.cancelled_caught
    assert outbox.pull() == encode_frame(MsgType.Shutdown, b"")
