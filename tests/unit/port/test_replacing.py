"""Attach, detach and replace: what is sent, what comes of each answer, and what a silent or lying guest can do."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked

from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.events import Event, SchedulerSwapped
from ktstr_tui.model.scheduler_swap import (
    MAX_OBJECT_BYTES,
    ReplaceOutcome,
    SwapAttached,
    SwapDetached,
    SwapFailed,
    SwapRejected,
    SwapStored,
    SwapTimedOut,
)
from ktstr_tui.port.outbox import Outbox
from ktstr_tui.port.replacing import MAX_WAITING, TIMEOUT_S, SchedulerReplacer
from ktstr_tui.port.swaps import SwapWatch
from ktstr_tui.wire.frames import Frame, FrameAssembler
from ktstr_tui.wire.messages import MsgType
from ktstr_tui.wire.scheduler_payloads import (
    CHUNK_BYTES,
    SchedChunk,
    SchedCommand,
    SchedOp,
    SchedRefuser,
    SchedReply,
    SchedStatus,
    SchedUpload,
)


class Publishes:
    """Counts the schedulers that became readable."""

    def __init__(self) -> None:
        self.number = 1
        self.moved = trio.Event()

    def accessor_publish_seqno(self) -> int:
        return self.number

    async def wait_for_accessor_publish_advance(self, prior: int, deadline: float, label: str) -> int:
        while self.number <= prior:
            await self.moved.wait()
        return self.number

    def publish(self) -> None:
        self.number += 1
        self.moved.set()
        self.moved = trio.Event()


class Rig:
    """A replacer, and the guest's end of its port."""

    def __init__(self, nursery: trio.Nursery, *, slow: bool = False) -> None:
        self.guest: trio.abc.Stream
        self._ours: trio.abc.Stream
        self.guest, self._ours = lockstep_stream_pair() if slow else memory_stream_pair()
        self.nursery = nursery
        self.outbox = Outbox()
        self.events: list[Event] = []
        self.frozen_ns = 0
        self.publishes = Publishes()
        self.swaps = SwapWatch(self.events.append, self.publishes)
        self.replacer = SchedulerReplacer(
            self.outbox, self.events.append, lambda: self.frozen_ns, self.clock_ns, self.swaps, nursery
        )
        self.outcomes: list[ReplaceOutcome] = []
        nursery.start_soon(self.outbox.write_to, self._ours)

    def clock_ns(self) -> int:
        return round(trio.current_time() * 1e9)

    async def ask(self, change: Callable[[], Awaitable[ReplaceOutcome]]) -> None:
        self.outcomes.append(await change())

    async def sent(self) -> list[Frame]:
        """What came to the guest so far, when nothing more is on its way."""
        frames: list[Frame] = []
        assembler = FrameAssembler()
        await wait_all_tasks_blocked()
        with trio.move_on_after(0.001):
            while True:
                frames += assembler.feed(bytes(await self.guest.receive_some(1 << 20)))
        return frames

    def swapped(self) -> list[SchedulerSwapped]:
        return [event for event in self.events if isinstance(event, SchedulerSwapped)]


async def test_an_object_goes_in_pieces_and_its_command_last(
    nursery: trio.Nursery, autojump_clock: object
) -> None:
    rig, data = Rig(nursery), bytes(range(256)) * 300
    nursery.start_soon(rig.ask, lambda: rig.replacer.replace("my.bpf.o", data, target="old", who="eva"))
    head, *chunks, last = await rig.sent()
    assert SchedUpload.unpack(head.payload) == SchedUpload(1, zlib.crc32(data), len(data), "my.bpf.o")
    pieces = [SchedChunk.unpack(frame.payload) for frame in chunks]
    assert b"".join(piece.data for piece in pieces) == data
    assert [piece.offset for piece in pieces] == [0, CHUNK_BYTES, 2 * CHUNK_BYTES]
    assert SchedCommand.unpack(last.payload) == SchedCommand(1, SchedOp.REPLACE, "old")
    assert rig.outcomes == []
    rig.replacer.answered(SchedReply(1, SchedStatus.ATTACHED, loaded=True, enable_seq=3, ops="new\x1b[2J"))
    await wait_all_tasks_blocked()
    (outcome,) = rig.outcomes
    assert isinstance(outcome, SwapAttached)
    assert outcome.enable_seq == 3
    assert "\x1b" not in outcome.loaded
    (event,) = rig.swapped()
    assert event.outcome == outcome
    assert (event.op, event.name, event.replaces, event.who) == ("replace", "my.bpf.o", "old", "eva")
    assert (event.size_bytes, event.digest) == (len(data), hashlib.sha256(data).hexdigest())
    nursery.cancel_scope.cancel()


LOG = "a line\nthe last line that matters\n"
ANSWERS: list[tuple[SchedReply, type[ReplaceOutcome]]] = [
    (SchedReply(1, SchedStatus.STORED, loaded=True, ops="fifo"), SwapStored),
    (SchedReply(1, SchedStatus.DETACHED), SwapDetached),
    (SchedReply(1, SchedStatus.REJECTED, SchedRefuser.VERIFIER, True, 3, "fifo", "why", LOG), SwapRejected),
    (SchedReply(1, SchedStatus.FAILED, ops="stale", reason="why", log=LOG), SwapFailed),
]


@pytest.mark.parametrize(("reply", "kind"), ANSWERS)
async def test_each_answer_has_its_outcome(
    reply: SchedReply, kind: type[ReplaceOutcome], nursery: trio.Nursery, autojump_clock: object
) -> None:
    rig = Rig(nursery)
    nursery.start_soon(rig.ask, rig.replacer.attach)
    await rig.sent()
    rig.replacer.answered(reply)
    await wait_all_tasks_blocked()
    (outcome,) = rig.outcomes
    assert type(outcome) is kind
    if isinstance(outcome, SwapRejected | SwapFailed):
        assert (outcome.reason, outcome.log) == ("why", ("a line", "the last line that matters"))
        assert outcome.loaded == ("fifo" if reply.loaded else "")
    assert rig.replacer.drops() == dict.fromkeys(rig.replacer.drops(), 0)
    nursery.cancel_scope.cancel()


async def test_a_silent_guest_is_given_up_and_its_late_answer_counted(
    nursery: trio.Nursery, autojump_clock: object
) -> None:
    rig = Rig(nursery)
    nursery.start_soon(rig.ask, rig.replacer.detach)
    await rig.sent()
    rig.replacer.answered(SchedReply(7, SchedStatus.DETACHED))
    await trio.sleep(TIMEOUT_S + 1)
    (outcome,) = rig.outcomes
    assert isinstance(outcome, SwapTimedOut)
    (cancel,) = await rig.sent()
    assert SchedCommand.unpack(cancel.payload) == SchedCommand(1, SchedOp.CANCEL)
    rig.replacer.answered(SchedReply(1, SchedStatus.DETACHED))
    assert rig.replacer.drops() == {
        "scheduler-answers-unexpected": 2,
        "scheduler-changes-timed-out": 1,
        "scheduler-changes-refused": 0,
    }
    assert [event.outcome for event in rig.swapped()] == [outcome]
    nursery.cancel_scope.cancel()


async def test_frozen_time_counts_for_nothing(nursery: trio.Nursery, autojump_clock: object) -> None:
    rig = Rig(nursery)
    nursery.start_soon(rig.ask, rig.replacer.detach)
    await rig.sent()
    await trio.sleep(TIMEOUT_S - 1)
    rig.frozen_ns = round((TIMEOUT_S - 1) * 1e9)
    await trio.sleep(TIMEOUT_S - 1)
    assert rig.outcomes == []
    rig.replacer.answered(SchedReply(1, SchedStatus.DETACHED))
    await wait_all_tasks_blocked()
    assert isinstance(rig.outcomes[0], SwapDetached)
    nursery.cancel_scope.cancel()


async def test_one_at_a_time_and_not_too_many_wait(nursery: trio.Nursery, autojump_clock: object) -> None:
    rig = Rig(nursery)
    for _ in range(1 + MAX_WAITING):
        nursery.start_soon(rig.ask, rig.replacer.detach)
    assert len(await rig.sent()) == 1
    with pytest.raises(UsageError, match=f"{MAX_WAITING} changes"):
        await rig.replacer.attach()
    for number in range(1, 2 + MAX_WAITING):
        rig.replacer.answered(SchedReply(number, SchedStatus.DETACHED))
        await wait_all_tasks_blocked()
    assert len(rig.outcomes) == 1 + MAX_WAITING
    assert rig.replacer.drops()["scheduler-changes-refused"] == 1
    nursery.cancel_scope.cancel()


async def test_who_gives_up_tells_the_guest(nursery: trio.Nursery, autojump_clock: object) -> None:
    rig = Rig(nursery)
    with trio.move_on_after(1):
        await rig.replacer.attach("x")
    commands = [SchedCommand.unpack(frame.payload).op for frame in await rig.sent()]
    assert commands == [SchedOp.ATTACH, SchedOp.CANCEL]
    nursery.start_soon(rig.ask, rig.replacer.detach)
    await rig.sent()
    rig.replacer.answered(SchedReply(2, SchedStatus.DETACHED))
    await wait_all_tasks_blocked()
    assert len(rig.outcomes) == 1
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("size", [0, MAX_OBJECT_BYTES + 1])
async def test_an_object_of_a_wrong_size_is_never_sent(
    size: int, nursery: trio.Nursery, autojump_clock: object
) -> None:
    rig = Rig(nursery)
    with pytest.raises(UsageError, match="has"):
        await rig.replacer.replace("x", bytes(size))
    with pytest.raises(UsageError, match="the guest does not take this"):
        await rig.replacer.replace("n" * 300, b"x")
    assert await rig.sent() == []
    nursery.cancel_scope.cancel()


async def test_an_answer_overtakes_a_long_object(nursery: trio.Nursery, autojump_clock: object) -> None:
    rig = Rig(nursery, slow=True)
    nursery.start_soon(rig.ask, lambda: rig.replacer.replace("x", bytes(CHUNK_BYTES * 50)))
    await wait_all_tasks_blocked()
    rig.outbox.reply(MsgType.Shutdown)
    kinds = [MsgType(frame.msg_type) for frame in await rig.sent()]
    assert len(kinds) == 53
    assert kinds.index(MsgType.Shutdown) < 3
    assert kinds[-1] is MsgType.SchedCommand
    assert sum(rig.outbox.dropped.values()) == 0
    nursery.cancel_scope.cancel()


async def test_captures_wait_until_the_new_scheduler_is_followed(
    nursery: trio.Nursery, autojump_clock: object
) -> None:
    rig = Rig(nursery)
    nursery.start_soon(rig.ask, rig.replacer.attach)
    await rig.sent()
    rig.replacer.answered(SchedReply(1, SchedStatus.ATTACHED, loaded=True, ops="fifo"))
    await wait_all_tasks_blocked()
    assert rig.swaps.pending
    rig.publishes.publish()
    with trio.fail_after(1):
        await rig.swaps.settled()
    assert rig.swaps.unseen == 0
    nursery.cancel_scope.cancel()
