"""What a scenario asks of the bridge: watches and kernel operations."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from ktstr_tui.capture.bridge import (
    MAX_STORED_KERNEL_OPS,
    MAX_WATCH_SNAPSHOTS,
    WatchRefusedError,
)
from ktstr_tui.model.errors import InternalError, UsageError
from tests.unit.capture.test_bridge import empty_bridge, report

# -- watches --------------------------------------------------------------------------------------------


def test_watch_cap_and_release() -> None:
    armed: list[str] = []
    bridge = empty_bridge().with_watch_register(armed.append)
    for index in range(MAX_WATCH_SNAPSHOTS):
        bridge.register_watch(f"s{index}")
    with pytest.raises(WatchRefusedError, match=r"cap exceeded.*slot 0"):
        bridge.register_watch("one too many")
    assert armed == ["s0", "s1", "s2"]
    bridge.release_watch()
    bridge.register_watch("again")
    assert bridge.watch_count() == MAX_WATCH_SNAPSHOTS


def test_watch_without_callback_is_refused_and_holds_no_slot() -> None:
    bridge = empty_bridge()
    with pytest.raises(WatchRefusedError, match="no watch-register callback"):
        bridge.register_watch("jiffies")
    assert bridge.watch_count() == 0
    with pytest.raises(InternalError):
        bridge.release_watch()


@pytest.mark.parametrize("error", [UsageError("no such symbol"), ValueError("bug"), KeyboardInterrupt()])
def test_a_failing_watch_callback_gives_the_slot_back(error: BaseException) -> None:
    counts: list[int] = []

    def fail(symbol: str) -> None:
        counts.append(bridge.watch_count())
        raise error

    bridge = empty_bridge().with_watch_register(fail)
    for _ in range(MAX_WATCH_SNAPSHOTS + 1):
        with pytest.raises(type(error)):
            bridge.register_watch("x")
    assert counts == [1] * (MAX_WATCH_SNAPSHOTS + 1)
    assert bridge.watch_count() == 0


def test_a_slot_is_taken_before_the_callback_runs() -> None:
    counts: list[int] = []

    def register(symbol: str) -> None:
        counts.append(bridge.watch_count())
        if len(counts) <= MAX_WATCH_SNAPSHOTS:
            bridge.register_watch("one more")

    bridge = empty_bridge().with_watch_register(register)
    with pytest.raises(WatchRefusedError):
        bridge.register_watch("first")
    assert counts == list(range(1, MAX_WATCH_SNAPSHOTS + 1))
    assert bridge.watch_count() == 0, "a callback that fails gives its slot back, whatever it did meanwhile"


# -- kernel operations ----------------------------------------------------------------------------------


class Request(NamedTuple):
    tag: str


class Reply(NamedTuple):
    success: bool
    read_values: tuple[int, ...] = ()


async def test_kernel_op_without_callback_is_none() -> None:
    bridge = empty_bridge()
    assert await bridge.dispatch_kernel_op(Request("x")) is None
    assert bridge.drain_kernel_ops() == []


async def test_kernel_op_replies_are_logged_in_order() -> None:
    async def answer(request: Request) -> Reply:
        return Reply(True, (len(request.tag),))

    bridge = empty_bridge().with_kernel_op(answer)
    assert await bridge.dispatch_kernel_op(Request("four")) == Reply(True, (4,))
    bridge.record_kernel_op_reply("wire", Reply(False))
    assert bridge.drain_kernel_ops() == [("four", Reply(True, (4,))), ("wire", Reply(False))]
    assert bridge.drain_kernel_ops() == []


def test_kernel_op_value_takes_the_first_success_and_drains_nothing() -> None:
    bridge = empty_bridge()
    for reply in (Reply(False, (1,)), Reply(True), Reply(True, (2, 3)), Reply(True, (4,))):
        bridge.record_kernel_op_reply("tag", reply)
    assert bridge.kernel_op_value("tag") == 2
    assert bridge.kernel_op_value("other") is None
    assert bridge.statistics().kernel_ops == 4


def test_kernel_op_log_is_bounded_and_counts_its_losses() -> None:
    bridge = empty_bridge()
    for index in range(MAX_STORED_KERNEL_OPS + 2):
        bridge.record_kernel_op_reply(str(index), Reply(True))
    assert bridge.drain_kernel_ops()[0][0] == "2"
    assert bridge.statistics().kernel_ops_dropped == 2


def test_repr_shows_counts_and_no_reports() -> None:
    bridge = empty_bridge()
    bridge.store("a", report())
    assert repr(bridge) == "SnapshotBridge(snapshots=1, watch_count=0, register_watch=<none>)"
