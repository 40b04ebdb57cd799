"""Kernel operations as the guest asks for them in frames, and viewers in commands."""

from __future__ import annotations

import msgspec
import pytest
import trio

from ktstr_tui.kernel.targets import Fixed
from ktstr_tui.model.errors import UsageError
from ktstr_tui.ops.command import serve_command
from ktstr_tui.ops.guest_ops import MAX_AT_ONCE, MAX_PER_S, GuestKernelOps
from ktstr_tui.ops.result import Located
from ktstr_tui.port.actions import KernelOpRequested, RefuseKernelOp
from ktstr_tui.port.dispatch import Dispatcher
from ktstr_tui.wire.frames import Frame
from ktstr_tui.wire.kernel_ops import (
    U32,
    Entry,
    Int,
    KernelOp,
    KernelOpReply,
    KernelOpRequest,
    PerCpuField,
    Span,
    Symbol,
    TaskField,
    Value,
)
from ktstr_tui.wire.messages import MsgType
from tests.unit.ops.ops_kernel import EXT_CLASS, PID, RUNQUEUES, STRIDE, OpsKernel
from tests.unit.ops.ops_rig import KNOB, OpenOps, Ops

REQUEST = KernelOpRequest(9, KernelOp("hot", "write", (Entry(KNOB, U32(5)),), tag="from the guest"))


def test_a_good_request_is_dispatched_and_never_kept() -> None:
    dispatcher = Dispatcher()
    assert dispatcher.dispatch([Frame(MsgType.KernelOpRequest, REQUEST.pack(), True)]) == [
        KernelOpRequested(REQUEST)
    ]
    assert dispatcher.drain_bucket() == []


def test_a_broken_request_is_refused_when_its_id_can_be_read() -> None:
    dispatcher, payload = Dispatcher(), REQUEST.pack()
    actions = dispatcher.dispatch(
        [
            Frame(MsgType.KernelOpRequest, payload, False),
            Frame(MsgType.KernelOpRequest, payload[:-1], True),
            Frame(MsgType.KernelOpRequest, payload + b"x", True),
            Frame(MsgType.KernelOpRequest, b"\0\0\0\0" + payload[4:], False),
            Frame(MsgType.KernelOpRequest, b"\1", True),
        ]
    )
    refused = [action for action in actions if isinstance(action, RefuseKernelOp)]
    assert len(refused) == len(actions) == 3
    assert [action.request_id for action in refused] == [9, 9, 9]
    assert refused[0].reason == "the request came with a bad CRC"
    assert all("malformed" in it.reason or "truncated" in it.reason for it in refused[1:])
    assert dispatcher.statistics().dropped == {"KernelOpRequest: bad CRC": 2, "KernelOpRequest: bad shape": 3}
    assert dispatcher.drain_bucket() == []


class Port:
    """Takes the replies. The rig's bridge is that of the test's own task from here on."""

    def __init__(self, ops: Ops) -> None:
        self.replies: list[KernelOpReply] = []
        self.now_ns = 0
        self.guest = GuestKernelOps(ops.ops, ops.rig.bridge, self._reply, lambda: self.now_ns)

    def _reply(self, kind: MsgType, payload: bytes) -> None:
        assert kind is MsgType.KernelOpReply
        self.replies.append(KernelOpReply.unpack(payload))


async def test_the_guest_is_answered_and_the_bridge_keeps_the_reply(open_ops: OpenOps) -> None:
    async with open_ops() as ops:
        port = Port(ops)
        read = KernelOpRequest(10, KernelOp("cold", "read", (Entry(KNOB, U32()),), tag="look"))
        async with trio.open_nursery() as nursery:
            port.guest.accept(REQUEST, nursery)
        async with trio.open_nursery() as nursery:
            port.guest.accept(read, nursery)
        port.guest.refuse(11, "no idea")
        assert port.replies == [
            KernelOpReply(9, True),
            KernelOpReply(10, True, "", (U32(5),)),
            KernelOpReply(11, False, "no idea"),
        ]
        assert ops.told()[0].who == "guest"
        assert ops.rig.bridge.kernel_op_value("look") == U32(5)
        assert [tag for tag, _ in ops.rig.bridge.drain_kernel_ops()] == ["from the guest", "look"]


async def test_a_flood_from_the_guest_is_refused_at_once(open_ops: OpenOps) -> None:
    async with open_ops(allow=False) as ops:
        port = Port(ops)
        async with trio.open_nursery() as nursery:
            for _ in range(MAX_AT_ONCE + 3):
                port.guest.accept(REQUEST, nursery)
            assert len(port.replies) == 3
        for _ in range(MAX_PER_S):
            async with trio.open_nursery() as nursery:
                port.guest.accept(REQUEST, nursery)
        statistics = port.guest.statistics()
        assert (statistics.served, statistics.over_budget) == (MAX_PER_S, MAX_AT_ONCE + 3)
        assert len(port.replies) == MAX_PER_S + MAX_AT_ONCE + 3
        assert all(not reply.success for reply in port.replies)
        port.now_ns += 1_000_000_000
        async with trio.open_nursery() as nursery:
            port.guest.accept(REQUEST, nursery)
        assert port.guest.statistics().served == MAX_PER_S + 1


async def test_a_viewers_command_answers_with_plain_values(open_ops: OpenOps) -> None:
    async with open_ops() as ops:
        args = msgspec.to_builtins(REQUEST.op, builtin_types=(bytes,))
        result = await serve_command(ops.ops, args, "bob")
        assert (result["mode"], result["direction"], result["pause"]) == ("hot", "write", None)
        (entry,) = result["entries"]
        assert (entry["target"], entry["before"], entry["after"]) == ("knob", 10, 5)
        assert ops.told()[0].who == "bob"
        with pytest.raises(UsageError, match="direction"):
            await serve_command(ops.ops, args | {"direction": "burn"}, "bob")
        with pytest.raises(UsageError, match="at most 256"):
            await serve_command(ops.ops, args | {"tag": "x" * 257}, "bob")
        args["entries"][0]["target"] = {"type": "symbol", "name": "_stext"}
        with pytest.raises(UsageError, match="kernel text"):
            await serve_command(ops.ops, args, "bob")


async def test_each_target_of_a_viewers_read_counts_for_itself(open_ops: OpenOps) -> None:
    async with open_ops(allow=False) as ops:
        targets = [
            {"type": "symbol", "name": "knob"},
            {"type": "symbol", "name": "nothing"},
            {"type": "task", "pid": PID + 1, "field": "comm"},
            {"type": "kva", "kva": 0xFFFF_F000_0000_0000},
            {"type": "task", "pid": PID, "field": "comm"},
        ]
        sized = {0: {"type": "u32"}, 3: {"type": "u64"}}
        args = {
            "mode": "cold",
            "direction": "read",
            "entries": [{"target": it, "value": sized.get(at)} for at, it in enumerate(targets)],
        }
        result = await serve_command(ops.ops, args, "bob")
        assert [it["before_text"] for it in result["entries"]] == [
            "10 (0xa)",
            None,
            None,
            None,
            '"worker"',
        ]
        wrong = [it["error"] for it in result["entries"]]
        assert [it and it["fault"] for it in wrong] == [None, "user", "guest", "guest", None]
        for place, target in ((1, "'nothing'"), (2, f"pid {PID + 1}"), (3, "0xfffff00000000000")):
            error = wrong[place]
            assert error is not None
            assert target in error["message"]
        assert ops.ops.statistics().reads == 1
        assert sum(ops.ops.statistics().refused.values()) == 3
        args["entries"] = args["entries"][1:2]
        stops = ops.rig.coordinator.statistics()
        (entry,) = (await serve_command(ops.ops, args, "bob"))["entries"]
        assert entry["error"] is not None
        assert ops.rig.coordinator.statistics() == stops


async def test_the_guest_gets_all_targets_or_none(open_ops: OpenOps) -> None:
    async with open_ops(allow=False) as ops:
        result = await ops.ask("read", Entry(KNOB, U32()), Entry(Symbol("nothing")))
        assert "'nothing'" in result.reason
        assert not result.success
        assert result.reply(1).read_values == ()


async def test_values_are_told_by_their_type(open_ops: OpenOps, ops_kernel: OpsKernel) -> None:
    ops_kernel.put(RUNQUEUES + 16, EXT_CLASS)
    ops_kernel.put(RUNQUEUES + STRIDE + 16, 0)
    ops_kernel.put(RUNQUEUES + 24, 7)
    ops_kernel.put(ops_kernel.member(32), 0xFFFFFFFF, 4)
    async with open_ops() as ops:
        result = await ops.ask(
            "read",
            Entry(PerCpuField("runqueues", "curr", 0)),
            Entry(PerCpuField("runqueues", "curr", 1)),
            Entry(PerCpuField("runqueues", "hits", 0)),
            Entry(TaskField(PID, "comm")),
            Entry(TaskField(PID, "on_cpu")),
            Entry(TaskField(PID, "on_cpu"), U32()),
            Entry(TaskField(PID, "scx")),
        )
        told = result.entries()
        assert [it.before_text for it in told] == [
            f"{EXT_CLASS:#x} (ext_sched_class)",
            "NULL",
            "[7, 0]",
            '"worker"',
            "-1 (0xffffffff)",
            "4294967295 (0xffffffff)",
            "{flags=0, weight=100, slice=20000000, dsq=0x0}",
        ]
        assert [told[4].before, told[5].before] == [-1, 0xFFFFFFFF]
        assert told[3].before == b"worker".ljust(16, b"\0").hex()


@pytest.mark.parametrize(
    ("asked", "data", "told"),
    [
        (None, b"\xff\xff\xff\xff", "-1 or 4294967295 (0xffffffff, type not known)"),
        (None, b"\xff\xff\xff\x7f", "2147483647 (0x7fffffff)"),
        (Int(5), b"\xfe", "-2 or 254 (0xfe, type not known)"),
        (U32(), b"\xff\xff\xff\xff", "4294967295 (0xffffffff)"),
        (Span(9), b"\xff" * 9, "hex:" + "ff" * 9),
    ],
)
def test_a_number_of_no_known_type_is_told_both_ways_where_it_may_be_negative(
    asked: Value | None, data: bytes, told: str
) -> None:
    untyped = Fixed("x", 4096)
    assert Located(untyped, asked, len(data), before=data).told().before_text == told
