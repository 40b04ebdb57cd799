"""The trio socket against its traps: lost edges, eaten edges, mutual waking, cancellation, full queues."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
import trio
import trio.testing
import zmq

from ktstr_tui.link.zsocket import TrioSocket


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    made: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield made
    made.destroy(linger=0)


def pair(
    context: zmq.Context[zmq.Socket[bytes]], one: int, other: int, high_water: int = 1000
) -> tuple[TrioSocket, TrioSocket]:
    listening = TrioSocket(context, one, high_water=high_water)
    address = f"inproc://pair-{id(listening)}"
    listening.bind(address)
    calling = TrioSocket(context, other, high_water=high_water)
    calling.connect(address)
    return listening, calling


async def test_all_that_is_queued_behind_a_quiet_descriptor_arrives(
    context: zmq.Context[zmq.Socket[bytes]],
) -> None:
    left, right = pair(context, zmq.DEALER, zmq.DEALER)
    with left, right, trio.fail_after(60):
        for number in range(100):
            await right.send([b"%d" % number])
        assert [await left.receive() for _ in range(100)] == [[b"%d" % number] for number in range(100)]


async def test_a_waiting_receiver_wakes(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    left, right = pair(context, zmq.DEALER, zmq.DEALER)
    with left, right, trio.fail_after(60):
        async with trio.open_nursery() as nursery:

            async def later() -> None:
                await trio.testing.wait_all_tasks_blocked()
                await right.send([b"a", b"b"])

            nursery.start_soon(later)
            assert await left.receive() == [b"a", b"b"]


async def test_many_receivers_share_one_descriptor(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    left, right = pair(context, zmq.DEALER, zmq.DEALER)
    found: list[bytes] = []

    async def one() -> None:
        found.extend(await left.receive())

    with left, right, trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(one)
            await trio.testing.wait_all_tasks_blocked()
            assert left.statistics().waiting == 5
            for number in range(5):
                await right.send([b"%d" % number])
    assert sorted(found) == [b"0", b"1", b"2", b"3", b"4"]


async def test_an_edge_eaten_by_a_failed_receive_is_passed_on(
    context: zmq.Context[zmq.Socket[bytes]],
) -> None:
    left, right = pair(context, zmq.DEALER, zmq.DEALER, high_water=2)
    with left, right, trio.fail_after(60):
        sent = 0

        async def fill() -> None:
            nonlocal sent
            while sent < 20:
                await right.send([b"%d" % sent])
                sent += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fill)
            await trio.testing.wait_all_tasks_blocked()
            assert sent < 20
            received = 0
            while received < 20:
                try:
                    left.receive_nowait()
                except trio.WouldBlock:
                    await trio.lowlevel.checkpoint()
                else:
                    received += 1
                # Nothing comes this way; the call eats the news that there is room.
                with pytest.raises(trio.WouldBlock):
                    right.receive_nowait()
    assert sent == 20


async def test_two_blocked_senders_and_an_unread_message_do_not_wake_each_other_for_ever(
    context: zmq.Context[zmq.Socket[bytes]],
) -> None:
    left, right = pair(context, zmq.DEALER, zmq.DEALER, high_water=1)
    with left, right, trio.fail_after(60):

        async def flood() -> None:
            while True:
                await right.send([b"x"])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            nursery.start_soon(flood)
            await trio.testing.wait_all_tasks_blocked()
            await left.send([b"unread"])
            # Would never return if the two kept each other awake.
            await trio.testing.wait_all_tasks_blocked(0.02)
            assert right.statistics().waiting == 2
            assert right.receive_nowait() == [b"unread"]
            nursery.cancel_scope.cancel()


async def test_a_cancelled_sentry_hands_over(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    left, right = pair(context, zmq.DEALER, zmq.DEALER)
    found: list[list[bytes]] = []

    async def receive() -> None:
        found.append(await left.receive())

    with left, right, trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            async def doomed() -> None:
                with scope:
                    await left.receive()

            nursery.start_soon(doomed)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            await trio.testing.wait_all_tasks_blocked()
            await right.send([b"kept"])
    assert found == [[b"kept"]]


async def test_cancellation_loses_nothing(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    left, right = pair(context, zmq.DEALER, zmq.DEALER, high_water=10)
    count = 2000
    found: list[int] = []

    async def send() -> None:
        for number in range(count):
            await right.send([b"%d" % number])

    with left, right, trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            while len(found) < count:
                with trio.CancelScope() as scope:
                    nursery.start_soon(cancel_soon, scope)
                    while len(found) < count:
                        found.append(int((await left.receive())[0]))
    assert found == list(range(count))


async def cancel_soon(scope: trio.CancelScope) -> None:
    for _ in range(5):
        await trio.lowlevel.checkpoint()
    scope.cancel()


async def test_sending_refuses_rather_than_waits(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    left, right = pair(context, zmq.PUSH, zmq.PULL, high_water=2)
    with left, right:
        while left.statistics().refused == 0:
            with suppress(trio.WouldBlock):
                left.send_nowait([b"x"])
        assert 2 <= left.statistics().sent <= 4
        with pytest.raises(trio.WouldBlock):
            left.send_nowait([b"x"])
        assert left.statistics().refused == 2


async def test_waiting_to_send_is_only_for_sockets_that_can_wait(
    context: zmq.Context[zmq.Socket[bytes]],
) -> None:
    with TrioSocket(context, zmq.XPUB) as socket, pytest.raises(RuntimeError, match="send_nowait"):
        await socket.send([b"x"])


async def test_closing_wakes_all_who_wait(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    left, right = pair(context, zmq.DEALER, zmq.DEALER)
    closed = 0

    async def wait() -> None:
        nonlocal closed
        with pytest.raises(trio.ClosedResourceError):
            await left.receive()
        closed += 1

    with right, trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            left.close()
    assert closed == 3
    left.close()
    with pytest.raises(trio.ClosedResourceError):
        left.receive_nowait()
    with pytest.raises(trio.ClosedResourceError):
        await left.receive()
