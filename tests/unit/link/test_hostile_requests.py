"""Every request with every kind of value in every field: the run goes on, and whoever asked is told.

The types of requests are read from the union, so that a new one is covered too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import trio
import zmq

from ktstr_tui.link import framing
from ktstr_tui.link.publisher import Publisher, open_publisher
from ktstr_tui.link.stream import Stream
from ktstr_tui.link.zsocket import TrioSocket
from ktstr_tui.model.commands import Ping, Reply, Request
from ktstr_tui.wire.codec import VERSION, decode_event, decode_reply, decode_state
from tests.unit.link.backend import PATIENCE_S, accept, logs

REQUESTS: tuple[type[msgspec.Struct], ...] = get_args(Request)
EVENTS = 6
USUAL: dict[type, Any] = {int: 1, str: "x", bool: False, dict: {}, bytes: b"x"}
VALUES: dict[str, bytes] = {
    "nil": b"\xc0",
    "never used": b"\xc1",
    "false": b"\xc2",
    "true": b"\xc3",
    **{
        f"int {value}": msgspec.msgpack.encode(value)
        for value in (0, 1, -1, 127, 128, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1, -(2**31), -(2**63))
    },
    "float": msgspec.msgpack.encode(1.5),
    "float 2**70": msgspec.msgpack.encode(2.0**70),
    "infinity": b"\xcb\x7f\xf0" + bytes(6),
    "not a number": b"\xcb\x7f\xf8" + bytes(6),
    "float32": b"\xca\x7f\x80\x00\x00",
    "empty string": b"\xa0",
    "string": msgspec.msgpack.encode("\x1b[2J\u202e%s{0}\0"),
    "long string": msgspec.msgpack.encode("A" * 60_000),
    "string that is not UTF-8": b"\xa2\xff\xfe",
    "surrogate": b"\xa3\xed\xa0\x80",
    "bytes": msgspec.msgpack.encode(b"\0\1"),
    "array": b"\x93\x01\xc0\xa1x",
    "array that claims 2**32 items": b"\xdd\xff\xff\xff\xff",
    "map": b"\x81\xa1x\x01",
    "map of odd keys": b"\x82\xc0\x01\x91\x01\x02",
    "map that claims 2**32 items": b"\xdf\xff\xff\xff\xff",
    "string that claims 2**32 bytes": b"\xdb\xff\xff\xff\xff",
    "deep": b"\x91" * 50_000 + b"\xc0",
    "timestamp": b"\xd6\xff" + bytes(4),
    "timestamp beyond time": b"\xc7\x0c\xff" + b"\xff" * 12,
    "extension": b"\xc7\x03\x2aabc",
}


@asynccontextmanager
async def observed(place: Path) -> AsyncIterator[tuple[Stream, Publisher, TrioSocket]]:
    stream = Stream(run_id="the-run")
    for event in logs(*"abcdef"):
        stream.emit(event)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with trio.fail_after(PATIENCE_S):
        async with open_publisher(stream, place, accept) as publisher:
            control = TrioSocket(context, zmq.DEALER)
            control.connect(framing.endpoint(place / framing.CONTROL_SOCKET))
            yield stream, publisher, control
            control.close()
    context.destroy(linger=0)


def packed_map(items: dict[str, bytes]) -> bytes:
    parts = (msgspec.msgpack.encode(key) + value for key, value in items.items())
    return bytes([0x80 | len(items)]) + b"".join(parts)


def usual_fields(request: type[msgspec.Struct]) -> dict[str, bytes]:
    """Sound values of the fields that must be there."""
    found = {}
    for field in msgspec.structs.fields(request):
        if field.name == "request":
            found[field.encode_name] = msgspec.msgpack.encode({"name": "end"})
        elif field.required:
            kind = get_args(field.type)[0] if hasattr(field.type, "__metadata__") else field.type
            found[field.encode_name] = msgspec.msgpack.encode(USUAL[getattr(kind, "__origin__", kind)])
    return found


def hostile_messages(request: type[msgspec.Struct]) -> Iterator[tuple[str, bytes]]:
    """The request with each value in each field, one at a time, in a field too many, and around it."""
    name = {"name": msgspec.msgpack.encode(request.__struct_config__.tag)}
    usual = {**name, **usual_fields(request)}
    number = {"id": b"\x01"}
    for label, value in VALUES.items():
        for field in msgspec.structs.fields(request):
            where = f"{request.__name__}.{field.name} = {label}"
            yield where, packed_map({**number, "request": packed_map({**usual, field.encode_name: value})})
        yield f"extra {label}", packed_map({**number, "request": packed_map({**usual, "extra": value})})
        yield f"viewer {label}", packed_map({**number, "request": packed_map(usual), "viewer": value})
        yield f"id {label}", packed_map({"id": value, "request": packed_map(usual)})


@pytest.mark.parametrize("request_type", REQUESTS)
async def test_no_value_of_a_request_hurts_a_run(request_type: type[msgspec.Struct], tmp_path: Path) -> None:
    async with observed(tmp_path / "run") as (stream, publisher, control):
        before = msgspec.msgpack.encode(stream.state)
        for where, message in hostile_messages(request_type):
            await control.send([bytes([VERSION]) + message])
            await control.send(
                [bytes([VERSION]) + msgspec.msgpack.encode({"id": 7, "request": {"name": "ping"}})]
            )
            replies: list[Reply] = []
            while not replies or replies[-1].id != 7:
                replies.append(decode_reply((await control.receive())[0]))
            assert replies[-1].ok, where
            assert all(it.error is None or it.error.fault == "user" for it in replies), f"{where}: {replies}"
        assert msgspec.msgpack.encode(stream.state) == before, "nothing that is odd gets into the run"
        assert publisher.statistics().failed_commands == 0


async def test_a_range_to_the_last_number_of_all_is_what_is_kept(tmp_path: Path) -> None:
    async with observed(tmp_path / "run") as (_, _, control):
        for first, last in ((1, 2**63 - 1), (4, 2**63 - 1), (2**63 - 1, 2**63 - 1)):
            asked = {"id": 1, "request": {"name": "range", "first": first, "last": last}}
            await control.send([bytes([VERSION]) + msgspec.msgpack.encode(asked)])
            data, *frames = await control.receive()
            assert decode_reply(data).ok
            assert [decode_event(it).seq for it in frames] == list(range(first, EVENTS + 1))


async def test_a_defect_behind_a_request_of_the_link_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with observed(tmp_path / "run") as (stream, publisher, control):

        def broken(*args: object, **kwargs: object) -> list[bytes]:
            raise ZeroDivisionError("A" * 100_000)

        monkeypatch.setattr(stream, "recent", broken)
        replies: list[Reply] = []
        for asked in ({"name": "range", "first": 1, "last": 2}, {"name": "snapshot"}):
            await control.send([bytes([VERSION]) + msgspec.msgpack.encode({"id": 1, "request": asked})])
            data, *frames = await control.receive()
            replies.append(decode_reply(data))
        assert replies[0].error is not None
        assert replies[0].error.fault == "bug"
        assert len(replies[0].error.message) <= 1000
        assert decode_state(frames[0]).log[-1].text == replies[0].error.message, "it is in the run's log"
        assert publisher.statistics().failed_commands == 1


async def test_a_viewer_cannot_claim_to_have_missed_more_than_there_was(tmp_path: Path) -> None:
    async with observed(tmp_path / "run") as (stream, publisher, control):
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        subscribers = [TrioSocket(context, zmq.SUB) for _ in range(3)]
        for name, events in zip(("v1", "v2", "v3"), subscribers, strict=True):
            events.raw.subscribe(name.encode())
            events.connect(framing.endpoint(tmp_path / "run" / framing.EVENTS_SOCKET))
        await publisher.wait_viewers(3)
        for name in ("v1", "v2", "v3"):
            ping = msgspec.to_builtins(Ping(topic=name, missing=2**63 - 1))
            await control.send([bytes([VERSION]) + msgspec.msgpack.encode({"id": 1, "request": ping})])
            assert decode_reply((await control.receive())[0]).ok
        assert publisher.drops()["events-missed-by-viewers"] == 3 * stream.state.seq
        for events in subscribers:
            events.close()
        context.destroy(linger=0)
