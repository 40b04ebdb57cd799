"""The publisher against viewers that are late, stuck, dead, rude or wrong."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing
import zmq

from ktstr_tui.link import framing, publisher
from ktstr_tui.link.publisher import Publisher, open_publisher
from ktstr_tui.link.stream import Stream
from ktstr_tui.link.zsocket import TrioSocket
from ktstr_tui.model.commands import Capture, Command, GetSnapshot, Reply
from ktstr_tui.model.errors import GuestError, HostError
from ktstr_tui.wire.codec import (
    VERSION,
    decode_event,
    decode_reply,
    decode_state,
    encode_command,
)
from ktstr_tui.wire.event_batch import MAX_BATCH_BYTES, split_events
from tests.unit.link.backend import PATIENCE_S, accept, logs


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    made: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield made
    made.destroy(linger=0)


@asynccontextmanager
async def published(
    place: Path, handle: publisher.HandleCommand = accept
) -> AsyncIterator[tuple[Stream, Publisher]]:
    stream = Stream(run_id="the-run")
    with trio.fail_after(PATIENCE_S):
        async with open_publisher(stream, place, handle) as made:
            yield stream, made


class Client:
    """The two bare sockets of a viewer."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], place: Path, high_water: int = 10000) -> None:
        self.events = TrioSocket(context, zmq.SUB)
        self.control = TrioSocket(context, zmq.DEALER)
        for socket in (self.events, self.control):
            socket.raw.set(zmq.RCVHWM, high_water)
        self._waiting: list[int] = []
        self.topic = framing.VIEWER_TOPIC + str(id(self)).encode()
        self.events.raw.subscribe(framing.EVENT_TOPIC)
        self.events.raw.subscribe(self.topic)
        self.events.connect(framing.endpoint(place / framing.EVENTS_SOCKET))
        self.control.connect(framing.endpoint(place / framing.CONTROL_SOCKET))

    async def ask(self, name: str, **args: object) -> tuple[Reply, list[bytes]]:
        await self.control.send(
            [bytes([VERSION]) + msgspec.msgpack.encode({"id": 1, "request": {"name": name, **args}})]
        )
        first, *rest = await self.control.receive()
        return decode_reply(first), rest

    async def next_batch(self) -> list[int]:
        topic, run_id, data = await self.events.receive()
        assert (topic, run_id) == (framing.EVENT_TOPIC, b"the-run")
        return [decode_event(it).seq for it in split_events(data)]

    async def next_seq(self) -> int:
        while not self._waiting:
            self._waiting += await self.next_batch()
        return self._waiting.pop(0)

    def close(self) -> None:
        self.events.close()
        self.control.close()


async def test_events_reach_all_who_look(tmp_path: Path, context: zmq.Context[zmq.Socket[bytes]]) -> None:
    async with published(tmp_path / "run") as (stream, made):
        clients = [Client(context, tmp_path / "run") for _ in range(3)]
        await made.wait_viewers(3)
        for event in logs(*"abcde"):
            stream.emit(event)
        for client in clients:
            assert [await client.next_seq() for _ in range(5)] == [1, 2, 3, 4, 5]
        clients[0].close()
        await made.wait_viewers(2)
        for client in clients:
            client.close()
        await made.wait_viewers(0)
        statistics = made.statistics()
        assert (statistics.sent, statistics.refused, statistics.bad_requests) == (5, {}, {})


async def test_the_first_event_of_a_turn_leaves_at_once_and_the_others_together(
    tmp_path: Path, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    async with published(tmp_path / "run") as (stream, made):
        client = Client(context, tmp_path / "run")
        await made.wait_viewers(1)
        for event in logs(*"abc"):
            stream.emit(event)
        assert made.statistics().sent == 1, (
            "nothing waits for others, and others wait only for the end of the turn"
        )
        assert [await client.next_batch() for _ in range(2)] == [[1], [2, 3]]
        # Nobody has the loop between these and the end of the run.
        for event in logs(*"de"):
            stream.emit(event)
        reply, _ = await client.ask("ping")
        assert (reply.seq, made.statistics().sent) == (5, 5)
        stream.emit(logs("f")[0])
        stream.emit(logs("g")[0])
    assert [await client.next_batch() for _ in range(4)] == [[4], [5], [6], [7]]
    client.close()


async def test_a_batch_is_bounded_and_what_cannot_be_sent_is_counted_by_event(
    tmp_path: Path, context: zmq.Context[zmq.Socket[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with published(tmp_path / "run") as (stream, made):
        client = Client(context, tmp_path / "run")
        await made.wait_viewers(1)
        for event in logs(*["x" * (MAX_BATCH_BYTES // 3)] * 6):
            stream.emit(event)
        assert [await client.next_batch() for _ in range(4)] == [[1], [2, 3], [4, 5], [6]]
        await trio.testing.wait_all_tasks_blocked()

        def full(socket: TrioSocket, frames: list[bytes]) -> None:
            raise trio.WouldBlock

        monkeypatch.setattr(TrioSocket, "send_nowait", full)
        for event in logs(*"abc"):
            stream.emit(event)
        await trio.testing.wait_all_tasks_blocked()
        monkeypatch.undo()
        assert (made.statistics().sent, made.statistics().refused) == (6, {"event: full": 3})
        assert made.drops()["not-sent: event: full"] == 3
        client.close()


async def test_the_sockets_are_private_and_go_with_the_run(tmp_path: Path) -> None:
    place = tmp_path / "run"
    async with published(place):
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()}
        assert modes == {"events.sock": 0o600, "control.sock": 0o600}
    assert list(place.iterdir()) == []


async def test_a_directory_that_cannot_be_used_is_the_hosts_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(HostError, match="cannot open the run's sockets"):
        async with open_publisher(Stream(), tmp_path / "file", accept):
            pass


async def test_snapshots_and_ranges(tmp_path: Path, context: zmq.Context[zmq.Socket[bytes]]) -> None:
    async with published(tmp_path / "run") as (stream, made):
        for event in logs(*"abcdef"):
            stream.emit(event)
        client = Client(context, tmp_path / "run")
        reply, frames = await client.ask("snapshot")
        assert (reply.run_id, reply.seq, reply.result) == ("the-run", 6, {"seq": 6})
        assert decode_state(frames[0]) == stream.state
        reply, frames = await client.ask("range", first=3, last=4)
        assert [decode_event(frame).seq for frame in frames] == [3, 4]
        assert reply.result == {"first": 3, "oldest": 1, "count": 2}
        for first, last in [(4, 3), (0, 2), ("1", 2), (None, None)]:
            reply, frames = await client.ask("range", first=first, last=last)
            assert reply.error is not None
            assert reply.error.fault == "user"
            assert frames == []
        assert made.statistics().bad_requests == {"no such request": 4}
        client.close()


async def test_ping_and_status(tmp_path: Path, context: zmq.Context[zmq.Socket[bytes]]) -> None:
    async with published(tmp_path / "run") as (stream, made):
        client = Client(context, tmp_path / "run")
        await made.wait_viewers(1)
        topic = client.topic.decode()
        for event in logs(*"abcde"):
            stream.emit(event)
        for missing in (3, 5, 5):
            reply, _ = await client.ask("ping", topic=topic, missing=missing)
            assert reply.ok
        await client.ask("ping", topic="vunknown", missing=100)
        assert made.statistics().reported_missing == 5
        assert (made.pings(topic), made.pings("vunknown")) == (3, 0)
        stream.emit(logs("x")[0])
        reply, _ = await client.ask("status")
        assert (reply.result["seq"], reply.result["verdict"]) == (6, "inconclusive")
        client.close()
        await made.wait_viewers(0)
        assert made.pings(topic) == 0


async def test_a_slow_command_holds_up_nothing(
    tmp_path: Path, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    release = trio.Event()

    async def handle(command: Command) -> Reply:
        await release.wait()
        return command.done(tag="x")

    async with published(tmp_path / "run", handle) as (_, _made):
        slow, quick = Client(context, tmp_path / "run"), Client(context, tmp_path / "run")
        async with trio.open_nursery() as nursery:
            answers: list[Reply] = []

            async def capture() -> None:
                answers.append((await slow.ask("capture"))[0])

            nursery.start_soon(capture)
            for _ in range(3):
                assert (await quick.ask("snapshot"))[0].ok
            assert answers == []
            release.set()
        assert answers[0].result == {"tag": "x"}
        slow.close()
        quick.close()


async def test_too_many_commands_at_once_are_refused(
    tmp_path: Path, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    async def handle(command: Command) -> Reply:
        await trio.sleep_forever()
        raise AssertionError

    async with published(tmp_path / "run", handle) as (_, made):
        client = Client(context, tmp_path / "run")
        for number in range(publisher.MAX_COMMANDS_AT_ONCE + 1):
            await client.control.send([encode_command(Command(id=number, request=Capture()))])
        reply = decode_reply((await client.control.receive())[0])
        assert reply.id == publisher.MAX_COMMANDS_AT_ONCE
        assert reply.error is not None
        assert made.statistics().bad_requests == {"too many at once": 1}
        client.close()


async def test_errors_of_commands_become_answers(
    tmp_path: Path, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    async def handle(command: Command) -> Reply:
        if command.name == "capture":
            raise GuestError("the guest is gone", "start another")
        if command.name == "thaw":
            return command.done(x=object())
        raise ZeroDivisionError("oops")

    async with published(tmp_path / "run", handle) as (stream, made):
        client = Client(context, tmp_path / "run")
        error = (await client.ask("capture"))[0].error
        assert error is not None
        assert (error.message, error.hint, error.fault) == ("the guest is gone", "start another", "guest")
        error = (await client.ask("freeze"))[0].error
        assert error is not None
        assert (error.message, error.fault) == ("freeze failed: ZeroDivisionError: oops", "bug")
        assert stream.state.log[-1].text == "freeze failed: ZeroDivisionError: oops"
        error = (await client.ask("thaw"))[0].error
        assert error is not None
        assert "cannot be encoded" in error.message
        error = (await client.ask("explode"))[0].error
        assert error is not None
        assert error.fault == "user"
        assert made.statistics().failed_commands == 2
        assert made.statistics().refused == {"reply: unencodable": 1}
        client.close()


async def test_nonsense_is_counted_and_ignored(
    tmp_path: Path, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    async with published(tmp_path / "run") as (_, made):
        client = Client(context, tmp_path / "run")
        await client.control.send([b"junk"])
        await client.control.send([b"two", b"frames"])
        await client.control.send([b""])
        assert (await client.ask("ping"))[0].ok
        assert made.statistics().bad_requests == {"undecodable": 2, "not one frame": 1}
        client.close()


async def test_a_stuck_viewer_costs_others_nothing(
    tmp_path: Path, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    count = publisher.EVENTS_HIGH_WATER + 500
    # No two of them fit into a batch.
    text = "x" * (MAX_BATCH_BYTES // 2 + 1)
    async with published(tmp_path / "run") as (stream, made):
        stuck, good = Client(context, tmp_path / "run", high_water=1), Client(context, tmp_path / "run")
        await made.wait_viewers(2)
        seen: list[int] = []

        async def read() -> None:
            while len(seen) < count:
                seen.append(await good.next_seq())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            for number in range(count):
                stream.emit(logs(text)[0])
                while number - len(seen) > 500:  # noqa: ASYNC110
                    await trio.sleep(0.001)
        assert seen == list(range(1, count + 1))
        assert made.statistics().refused == {}
        # What it finds when it wakes is the oldest part, and the numbers say that there was more.
        late: list[int] = []
        while not late or late[-1] <= count:
            stream.emit(logs("newest")[0])
            late.append(await stuck.next_seq())
        assert len(late) < late[-1]
        assert late[:100] == list(range(1, 101))
        stuck.close()
        good.close()


async def test_a_viewer_that_never_reads_its_answers_is_refused_and_counted(
    tmp_path: Path, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    async with published(tmp_path / "run") as (stream, made):
        for event in logs(*["x" * 10000] * 300):
            stream.emit(event)
        stuck, good = Client(context, tmp_path / "run", high_water=1), Client(context, tmp_path / "run")
        request = encode_command(Command(id=1, request=GetSnapshot()))
        while not made.statistics().refused:
            with trio.move_on_after(0.01):
                await stuck.control.send([request])
        assert set(made.statistics().refused) == {"reply: full"}
        assert (await good.ask("ping"))[0].ok
        stuck.close()
        good.close()


async def test_an_answer_to_somebody_who_left_is_counted(
    tmp_path: Path, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    asked = publisher.MAX_COMMANDS_AT_ONCE
    started, releases = trio.Semaphore(0), trio.Semaphore(0)

    async def handle(command: Command) -> Reply:
        started.release()
        await releases.acquire()
        return command.done()

    async with published(tmp_path / "run", handle) as (_, made):
        client = Client(context, tmp_path / "run")
        await made.wait_viewers(1)
        for number in range(asked):
            await client.control.send([encode_command(Command(id=number, request=Capture()))])
        for _ in range(asked):
            await started.acquire()
        client.close()
        await made.wait_viewers(0)
        # ZeroMQ hears of the end of the other socket a little later, so answers are tried at growing distances.
        for number in range(asked):
            releases.release()
            await trio.sleep(0.005 * 2**number)
            if made.statistics().refused:
                break
        assert made.statistics().refused == {"reply: gone": 1}


async def test_the_last_events_reach_viewers_although_the_run_is_over(
    tmp_path: Path, context: zmq.Context[zmq.Socket[bytes]]
) -> None:
    count = 2000
    async with published(tmp_path / "run") as (stream, made):
        client = Client(context, tmp_path / "run")
        await made.wait_viewers(1)
        # Far more than the kernel's buffers take, and no checkpoint before the end.
        for event in logs(*["x" * 10_000] * count):
            stream.emit(event)
    with trio.fail_after(PATIENCE_S):
        assert [await client.next_seq() for _ in range(count)] == list(range(1, count + 1))
    client.close()
