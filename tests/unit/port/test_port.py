"""The guest's port: what is counted, what is bounded, and that the last words are read."""

from __future__ import annotations

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from ktstr_tui.backend.guestwatch import watch_exit
from ktstr_tui.backend.outcome import RunEnd
from ktstr_tui.guest.machine import Machine, MachineExit
from ktstr_tui.port import actions as act
from ktstr_tui.port.outbox import MAX_QUEUED_REPLIES, RESERVED_REPLIES, Outbox
from ktstr_tui.port.port import GuestPort
from ktstr_tui.wire.frames import FrameAssembler, encode_frame
from ktstr_tui.wire.messages import (
    ExitCode,
    MsgType,
    SnapshotKind,
    SnapshotReply,
    SnapshotRequest,
    SnapshotStatus,
    Stimulus,
)

REPLY = SnapshotReply(1, SnapshotStatus.ERR, "too many").pack()


class Port:
    """A port, the guest's end of it, and what came out."""

    def __init__(self) -> None:
        self.guest, ours = memory_stream_pair()
        self.actions: list[act.Action] = []
        self.now_ns = 0
        self.outbox = Outbox()
        self.port = GuestPort(ours, self.outbox, [self.actions.append], lambda: self.now_ns)

    def of(self, kind: type) -> list[act.Action]:
        """Actions of one type."""
        return [action for action in self.actions if type(action) is kind]


def test_the_counters_add_up_to_the_byte() -> None:
    port = Port()
    good = encode_frame(MsgType.Stdout, b"hello\n")
    torn = encode_frame(MsgType.Exit, ExitCode(0).pack())
    giant = bytes.fromhex("54554f53ffffffff0000000000000000")
    for data in (good, torn[:-4] + b"XXXX", giant, b"\xfe" * 50, good, good[:10]):
        port.port.feed(data)
    counters = port.port.counters()
    assert counters.bytes == 22 + 20 + 16 + 50 + 22 + 10
    assert counters.bytes == (
        16 * counters.received + counters.payload_bytes + counters.skipped_bytes + counters.residual
    )
    assert counters.skipped == {"oversized": 66}
    assert counters.dropped == {"Exit: bad CRC": 1}
    assert counters.residual == 10


def test_a_frame_that_moved_nothing_is_counted_with_its_reason() -> None:
    port = Port()
    port.port.feed(encode_frame(MsgType.Stimulus, b"short") + encode_frame(MsgType.Shutdown))
    assert port.port.counters().dropped == {
        "Stimulus: bad shape": 1,
        "Shutdown: only the host may send it": 1,
    }


def test_a_flood_of_requests_starts_few_and_is_answered() -> None:
    port = Port()
    request = encode_frame(MsgType.SnapshotRequest, SnapshotRequest(9, SnapshotKind.CAPTURE, "x").pack())
    for _ in range(20):
        port.port.feed(request * 500)
    assert len(port.of(act.SnapshotRequested)) == 16
    assert len(port.of(act.Refuse)) == 10_000 - 16
    assert port.port.counters().dropped == {"SnapshotRequest: too many": 10_000 - 16}


def test_left_out_text_is_among_the_drops() -> None:
    port = Port()
    for _ in range(40):
        port.port.feed(encode_frame(MsgType.Stderr, b"y" * 60_000))
    shown = sum(len(action.text) for action in port.of(act.Text) if isinstance(action, act.Text))
    assert port.port.drops() == {"bytes-left-out: Stderr": 40 * 60_000 - shown}
    port.now_ns = 60_000_000_000
    port.port.feed(encode_frame(MsgType.Stimulus, Stimulus(0, 1).pack()))
    assert len(port.of(act.StepChanged)) == 1


async def test_answers_to_a_guest_that_does_not_read_leave_room_for_the_hosts_own_words() -> None:
    port = Port()
    for _ in range(MAX_QUEUED_REPLIES + 10):
        port.outbox.reply(MsgType.SnapshotReply, REPLY)
    for _ in range(RESERVED_REPLIES + 1):
        port.outbox.reply(MsgType.Shutdown)
    dropped = port.port.counters().dropped
    assert dropped == {"to guest: SnapshotReply: queue full": 10, "to guest: Shutdown: queue full": 1}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(port.port.run)
        await wait_all_tasks_blocked()
        received = FrameAssembler().feed(bytes(await port.guest.receive_some()))
        nursery.cancel_scope.cancel()
    kinds = [frame.msg_type for frame in received]
    assert kinds == [MsgType.SnapshotReply] * MAX_QUEUED_REPLIES + [MsgType.Shutdown] * RESERVED_REPLIES


class DeadMachine:
    """A machine that has powered off."""

    exit = MachineExit(0, None, "poweroff", "the guest powered off", ())

    async def wait_exit(self) -> MachineExit:
        """At once."""
        return self.exit


@pytest.fixture
def dead_machine() -> Machine:
    """As the watch expects one."""
    return DeadMachine()  # type: ignore[return-value]


async def test_the_last_words_of_a_guest_that_is_gone_are_read(dead_machine: Machine) -> None:
    port, ending = Port(), RunEnd()
    async with trio.open_nursery() as nursery:
        finished = lambda: bool(port.of(act.Exited))  # noqa: E731
        nursery.start_soon(watch_exit, dead_machine, ending, finished, port.port.ended)
        nursery.start_soon(port.port.run)
        await wait_all_tasks_blocked()
        assert ending.outcome is None
        await port.guest.send_all(encode_frame(MsgType.Exit, ExitCode(0).pack()))
        await port.guest.aclose()
    outcome = await ending.wait()
    assert outcome.error is None
    assert outcome.reason == "scenario finished"


async def test_a_port_that_never_ends_does_not_hold_up_the_end(
    dead_machine: Machine, autojump_clock: trio.testing.MockClock
) -> None:
    ending = RunEnd()
    await watch_exit(dead_machine, ending, lambda: False, trio.Event())
    assert (await ending.wait()).error is not None


def test_every_handler_takes_every_action_in_order() -> None:
    first: list[act.Action] = []
    second: list[act.Action] = []
    _, ours = memory_stream_pair()
    port = GuestPort(ours, Outbox(), [first.append, second.append], lambda: 0)
    port.feed(encode_frame(MsgType.ScenarioStart) + encode_frame(MsgType.Exit, ExitCode(0).pack()))
    assert first == second
    assert [type(action) for action in first] == [act.ScenarioStarted, act.Exited, act.VerdictsReady]
