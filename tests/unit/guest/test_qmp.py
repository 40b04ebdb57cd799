"""The QMP client against a scripted monitor."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from trio.testing import MockClock, memory_stream_pair

from ktstr_tui.guest.qmp import (
    EVENT_QUEUE_LENGTH,
    QmpClient,
    QmpClosedError,
    QmpError,
    QmpEvent,
    QmpTimeoutError,
)

GREETING = b'{"QMP": {"version": {}, "capabilities": []}}\r\n'


class Monitor:
    """QEMU's side: reads requests, sends what it is told."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._buffer = b""

    async def request(self) -> dict[str, object]:
        while b"\n" not in self._buffer:
            data = await self.stream.receive_some()
            assert data, "the client went away"
            self._buffer += bytes(data)
        line, _, self._buffer = self._buffer.partition(b"\n")
        request = json.loads(line)
        assert isinstance(request, dict)
        return request

    async def say(self, **message: object) -> None:
        await self.stream.send_all(json.dumps(message).encode() + b"\r\n")

    async def accept(self) -> None:
        await self.stream.send_all(GREETING)
        request = await self.request()
        assert request["execute"] == "qmp_capabilities"
        await self.say(**{"return": {}, "id": request["id"]})


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[QmpClient, Monitor]]:
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        client, monitor = QmpClient(ours), Monitor(theirs)
        nursery.start_soon(client.run)
        nursery.start_soon(monitor.accept)
        await client.wait_ready()
        yield client, monitor
        nursery.cancel_scope.cancel()


async def test_answers_reach_the_task_that_asked() -> None:
    async with connected() as (client, monitor), trio.open_nursery() as nursery:
        answers: dict[str, object] = {}

        async def ask(command: str) -> None:
            answers[command] = await client.execute(command, cpu_index=1)

        for command in ("first", "second"):
            nursery.start_soon(ask, command)
        requests = [await monitor.request(), await monitor.request()]
        assert [request["arguments"] for request in requests] == [{"cpu-index": 1}] * 2
        for request in reversed(requests):
            await monitor.say(**{"return": request["execute"], "id": request["id"]})
    assert answers == {"first": "first", "second": "second"}
    assert client.statistics().commands == 3


async def test_a_command_waits_until_qemu_takes_others_than_the_first() -> None:
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        client, monitor = QmpClient(ours), Monitor(theirs)
        nursery.start_soon(client.run)
        nursery.start_soon(client.execute, "query-status")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(client.wait_ready)
        await monitor.accept()
        request = await monitor.request()
        assert request["execute"] == "query-status"
        await monitor.say(**{"return": {}, "id": request["id"]})
        await trio.testing.wait_all_tasks_blocked()
        assert not client.busy
        nursery.cancel_scope.cancel()


async def test_a_refused_command_names_itself_and_the_reason() -> None:
    async with connected() as (client, monitor), trio.open_nursery() as nursery:

        async def refuse() -> None:
            request = await monitor.request()
            await monitor.say(error={"class": "CommandNotFound", "desc": "no such thing"}, id=request["id"])

        nursery.start_soon(refuse)
        with pytest.raises(QmpError, match=r"nonsense.*no such thing") as caught:
            await client.execute("nonsense")
    assert caught.value.error_class == "CommandNotFound"
    assert client.statistics().errors == 1


async def test_a_silent_monitor_times_out_and_its_late_answer_is_junk(
    autojump_clock: MockClock,
) -> None:
    async with connected() as (client, monitor):
        with pytest.raises(QmpTimeoutError, match="query-status within 3 s"):
            await client.execute("query-status", timeout_s=3)
        request = await monitor.request()
        await monitor.say(**{"return": {}, "id": request["id"]})
        await trio.testing.wait_all_tasks_blocked()
        assert client.statistics().junk_lines == 1


async def test_no_greeting_times_out(autojump_clock: MockClock) -> None:
    ours, _theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        client = QmpClient(ours)
        nursery.start_soon(client.run)
        with pytest.raises(QmpTimeoutError, match="did not greet within 5 s"):
            await client.wait_ready(5)
        nursery.cancel_scope.cancel()


async def test_a_lost_connection_ends_waiting_commands_and_events() -> None:
    async with connected() as (client, monitor), trio.open_nursery() as nursery:

        async def die() -> None:
            await monitor.request()
            await monitor.stream.aclose()

        nursery.start_soon(die)
        with pytest.raises(QmpClosedError):
            await client.execute("query-status")
        with pytest.raises(QmpClosedError):
            await client.execute("query-status")
        with pytest.raises(trio.EndOfChannel):
            await client.events.receive()


async def test_events_come_in_order_and_overflow_is_counted() -> None:
    async with connected() as (client, monitor):
        for number in range(EVENT_QUEUE_LENGTH + 7):
            await monitor.say(event="STOP", data={"number": number})
        await trio.testing.wait_all_tasks_blocked()
        received = [client.events.receive_nowait() for _ in range(EVENT_QUEUE_LENGTH)]
        assert received == [QmpEvent("STOP", {"number": n}) for n in range(EVENT_QUEUE_LENGTH)]
        statistics = client.statistics()
        assert (statistics.events, statistics.events_dropped) == (EVENT_QUEUE_LENGTH + 7, 7)


async def test_junk_between_messages_is_counted_and_skipped() -> None:
    async with connected() as (client, monitor), trio.open_nursery() as nursery:

        async def answer() -> None:
            request = await monitor.request()
            await monitor.stream.send_all(b"\xff\xfe junk\r\n[1, 2]\n\r\n")
            await monitor.say(**{"return": 7, "id": request["id"]})

        nursery.start_soon(answer)
        assert await client.execute("query-seven") == 7
    assert client.statistics().junk_lines == 2
