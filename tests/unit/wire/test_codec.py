"""The codec: what goes in comes out, and junk raises nothing but `CodecError`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.model import events as ev
from ktstr_tui.model.commands import AddWatch, Capture, Command, Reply
from ktstr_tui.model.errors import GuestError, HostError, InternalError, UsageError
from ktstr_tui.model.fold import fold
from ktstr_tui.model.report import CaptureReport, MapEntry, MapReport
from ktstr_tui.model.state import RunState
from ktstr_tui.wire import codec
from tests.unit.link.strategies import any_event, streams

DECODERS: list[Callable[[bytes], object]] = [
    codec.decode_event,
    codec.decode_state,
    codec.decode_command,
    codec.decode_reply,
]


def capture_with(value: object) -> ev.CaptureTaken:
    entries = (MapEntry(key="k", value=value),)
    maps = (MapReport(id=1, name="m", map_type="hash", entries=entries),)
    return ev.CaptureTaken(report=CaptureReport(tag="t", trigger="on-demand", maps=maps))


@given(any_event())
def test_every_event_survives(event: ev.Event) -> None:
    assert codec.decode_event(codec.encode_event(event)) == event


@pytest.mark.parametrize("number", [2**64 - 1, 2**63, -(2**63)])
def test_all_64_bits_survive(number: int) -> None:
    event = ev.WatchpointHit(slot=1, expression="x", vcpu=0, value=number)
    assert codec.decode_event(codec.encode_event(event)) == event


@given(streams())
def test_every_state_survives(events: list[ev.Event]) -> None:
    state = RunState()
    for event in events:
        fold(state, event)
    assert codec.decode_state(codec.encode_state(state)) == state


def test_commands_and_replies_survive() -> None:
    command = Command(id=7, request=AddWatch(expression="x", length=8), viewer="alice@host")
    assert codec.decode_command(codec.encode_command(command)) == command
    reply = Reply(id=7, run_id="r", seq=9, mono_ns=5, result={"list": [1, None, "a"]})
    assert codec.decode_reply(codec.encode_reply(reply)) == reply


@pytest.mark.parametrize("decode", DECODERS)
@given(data=st.binary(max_size=200))
def test_junk_raises_nothing_else(decode: Callable[[bytes], object], data: bytes) -> None:
    for candidate in (data, bytes([codec.VERSION]) + data):
        with suppress(codec.CodecError):
            decode(candidate)


@given(event=any_event(), position=st.integers(0), value=st.integers(0, 255), cut=st.integers(0))
def test_damage_raises_nothing_else(event: ev.Event, position: int, value: int, cut: int) -> None:
    data = bytearray(codec.encode_event(event))
    data[position % len(data)] = value
    for candidate in (bytes(data), bytes(data[: cut % len(data)])):
        with suppress(codec.CodecError):
            codec.decode_event(candidate)


@pytest.mark.parametrize(
    "body",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x91" * 5000,
        b"\x81\x80\x00",
        b"\xa2\xff\xff",
        b"\xc1",
        b"",
    ],
)
@pytest.mark.parametrize("field", ["", "result"])
def test_hostile_encodings_cost_nothing(body: bytes, field: str) -> None:
    head = b"" if not field else b"\x82\xa2id\x01" + bytes([0xA0 + len(field)]) + field.encode()
    with pytest.raises(codec.CodecError):
        codec.decode_reply(bytes([codec.VERSION]) + head + body)


def test_another_version_is_refused_by_name() -> None:
    data = bytearray(codec.encode_event(ev.BackendBeat()))
    data[0] = codec.VERSION + 1
    with pytest.raises(codec.CodecError, match=f"version {codec.VERSION + 1}") as caught:
        codec.decode_event(bytes(data))
    assert "same version" in caught.value.hint


def test_an_unknown_event_is_refused() -> None:
    data = codec.encode_event(ev.BackendBeat()).replace(b"beat", b"boot")
    with pytest.raises(codec.CodecError):
        codec.decode_event(data)


def test_too_long_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(codec.CodecError, match="at most"):
        codec.decode_command(bytes([codec.VERSION]) + b"\xc1" * codec.MAX_COMMAND_BYTES)


def test_too_long_is_refused_before_it_is_sent() -> None:
    with pytest.raises(codec.CodecError, match="at most"):
        codec.encode_command(Command(id=1, request=AddWatch(expression="x" * codec.MAX_COMMAND_BYTES)))


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, "\ud800", object(), {1, object()}])
def test_what_cannot_be_encoded_says_so(value: object) -> None:
    with pytest.raises(codec.CodecError, match="cannot be encoded"):
        codec.encode_event(capture_with(value))


@pytest.mark.parametrize("error", [UsageError("a", "b"), HostError("a"), GuestError("a"), InternalError("a")])
def test_errors_survive_a_reply(error: UsageError | HostError | GuestError | InternalError) -> None:
    reply = codec.decode_reply(codec.encode_reply(Command(id=1, request=Capture()).failed(error)))
    with pytest.raises(type(error)) as caught:
        reply.raise_for_error()
    assert (caught.value.message, caught.value.hint) == (error.message, error.hint)
    assert not reply.ok


def test_the_number_of_a_command_that_does_not_exist_is_read() -> None:
    wrong = bytes([codec.VERSION]) + msgspec.msgpack.encode({"id": 5, "request": {"name": "explode"}})
    with pytest.raises(codec.CodecError):
        codec.decode_command(wrong)
    assert codec.decode_command_id(wrong) == 5
    assert codec.decode_command_id(b"junk") is None
