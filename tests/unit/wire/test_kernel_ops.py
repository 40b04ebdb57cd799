"""Kernel operations on the wire: what goes in comes out, limits hold, junk raises nothing but `PayloadError`."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.wire.kernel_ops import (
    KERNEL_OP_ENTRIES_MAX,
    KERNEL_OP_REASON_MAX,
    KERNEL_OP_REPLY_MAX,
    KERNEL_OP_TAG_MAX,
    U32,
    U64,
    Bytes,
    Direct,
    Entry,
    Int,
    KernelOp,
    KernelOpReply,
    KernelOpRequest,
    Kva,
    OrU32,
    PerCpuField,
    Span,
    Symbol,
    TaskField,
    peek_id,
)
from ktstr_tui.wire.payloads import PayloadError

_NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
_U64 = st.integers(0, 2**64 - 1)
TARGETS = st.one_of(
    st.builds(Symbol, _NAMES),
    st.builds(Direct, _U64),
    st.builds(Kva, _U64),
    st.builds(PerCpuField, _NAMES, _NAMES | st.just(""), st.integers(0, 8191)),
    st.builds(TaskField, st.integers(1, 1 << 22), _NAMES, st.none() | _U64),
)
VALUES = st.one_of(
    st.builds(U32, st.integers(0, 2**32 - 1)),
    st.builds(U64, _U64),
    st.builds(Bytes, st.binary(max_size=40)),
    st.builds(OrU32, st.integers(0, 2**32 - 1)),
    st.builds(Int, st.integers(-(2**63), 2**64 - 1)),
    st.builds(Span, st.integers(1, KERNEL_OP_REPLY_MAX)),
)
ENTRIES = st.lists(st.builds(Entry, TARGETS, st.none() | VALUES), min_size=1, max_size=5).map(tuple)
OPS = st.builds(
    KernelOp,
    st.sampled_from(["hot", "cold"]),
    st.sampled_from(["read", "write"]),
    ENTRIES,
    st.text(max_size=20),
)
IDS = st.integers(1, 2**32 - 1)
ONE = KernelOp("hot", "write", (Entry(Symbol("panic_timeout"), U32(5)),))
DECODERS: list[Callable[[bytes], object]] = [KernelOpRequest.unpack, KernelOpReply.unpack]


def packed(body: object, request_id: int = 7) -> bytes:
    """A payload with any body."""
    return struct.pack("<I", request_id) + msgspec.msgpack.encode(body)


def body_of(op: KernelOp) -> dict[str, Any]:
    """An operation as a map that can be broken."""
    body: dict[str, Any] = msgspec.to_builtins(op, builtin_types=(bytes,))
    return body


@given(IDS, OPS)
def test_every_request_survives(request_id: int, op: KernelOp) -> None:
    request = KernelOpRequest(request_id, op)
    assert KernelOpRequest.unpack(request.pack()) == request
    assert peek_id(request.pack()) == request_id
    assert request.tag == op.tag


@given(IDS, st.booleans(), st.text(max_size=20), st.lists(VALUES, max_size=5).map(tuple))
def test_every_reply_survives(request_id: int, success: bool, reason: str, values: tuple[Any, ...]) -> None:
    reply = KernelOpReply(request_id, success, reason, values)
    assert KernelOpReply.unpack(reply.pack()) == reply


def test_the_bytes_are_as_documented() -> None:
    # id 7, then what any MessagePack library makes of the map in the module's docstring.
    assert KernelOpRequest(7, ONE).pack() == b"\7\0\0\0" + (
        b"\x84\xa4mode\xa3hot\xa9direction\xa5write\xa7entries\x91"
        b"\x82\xa6target\x82\xa4type\xa6symbol\xa4name\xadpanic_timeout"
        b"\xa5value\x82\xa4type\xa3u32\xa5value\x05\xa3tag\xa0"
    )
    assert KernelOpReply(7, True, "", (U32(5),)).pack() == b"\7\0\0\0" + (
        b"\x83\xa7success\xc3\xa6reason\xa0\xabread_values\x91\x82\xa4type\xa3u32\xa5value\x05"
    )


@pytest.mark.parametrize("text", ["a" * 300, "ä" * 200, "€" * 100, "𝄞" * 80])
def test_a_reason_that_is_too_long_says_that_it_was_cut(text: str) -> None:
    reason = KernelOpReply.unpack(KernelOpReply(1, False, text).pack()).reason
    assert reason.endswith("…")
    assert text.startswith(reason.removesuffix("…"))
    assert KERNEL_OP_REASON_MAX - 4 < len(reason.encode()) <= KERNEL_OP_REASON_MAX


def test_a_reason_that_fits_is_whole() -> None:
    reason = "ä" * (KERNEL_OP_REASON_MAX // 2)
    assert KernelOpReply.unpack(KernelOpReply(1, False, reason).pack()).reason == reason


@pytest.mark.parametrize("text", ["a" * 257, "ä" * 129, "€" * 100, "𝄞" * 80])
def test_a_tag_that_is_too_long_is_refused(text: str) -> None:
    length = len(text.encode())
    with pytest.raises(PayloadError, match=f"a tag of {length} bytes, at most 256"):
        KernelOpRequest(1, msgspec.structs.replace(ONE, tag=text)).pack()
    with pytest.raises(PayloadError, match=f"a tag of {length} bytes, at most 256"):
        KernelOpRequest.unpack(packed(body_of(ONE) | {"tag": text}))


def test_a_tag_of_the_full_length_survives() -> None:
    request = KernelOpRequest(1, msgspec.structs.replace(ONE, tag="ä" * (KERNEL_OP_TAG_MAX // 2)))
    assert KernelOpRequest.unpack(request.pack()) == request


def test_a_reply_has_a_mebibyte_at_most() -> None:
    empty = len(KernelOpReply(1, True, "", (Bytes(b"x" * 70000),)).pack()) - 70000
    full = KernelOpReply(1, True, "", (Bytes(b"x" * (KERNEL_OP_REPLY_MAX - empty)),))
    assert len(full.pack()) == KERNEL_OP_REPLY_MAX
    assert KernelOpReply.unpack(full.pack()) == full
    over = KernelOpReply(1, True, "", (Bytes(b"x" * (KERNEL_OP_REPLY_MAX - empty + 1)),))
    with pytest.raises(PayloadError, match="at most 1048576"):
        over.pack()
    with pytest.raises(PayloadError, match="at most 1048576"):
        KernelOpReply.unpack(full.pack() + b"x")


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "warm"},
        {"mode": None},
        {"direction": "erase"},
        {"entries": []},
        {"entries": [body_of(ONE)["entries"][0]] * (KERNEL_OP_ENTRIES_MAX + 1)},
        {"entries": [{"target": {"type": "symbol", "name": ""}}]},
        {"entries": [{"target": {"type": "symbol", "name": "x" * 257}}]},
        {"entries": [{"target": {"type": "symbol", "name": "x", "cpu": 1}}]},
        {"entries": [{"target": {"type": "register", "name": "rax"}}]},
        {"entries": [{"target": {"type": "kva", "kva": -1}}]},
        {"entries": [{"target": {"type": "kva", "kva": "0xffff"}}]},
        {"entries": [{"target": {"type": "task", "pid": 0, "field": "pid"}}]},
        {"entries": [{"target": {"type": "task", "pid": (1 << 22) + 1, "field": "pid"}}]},
        {"entries": [{"target": {"type": "per-cpu", "symbol": "s", "field": "f", "cpu": 8192}}]},
        {
            "entries": [
                {"target": {"type": "symbol", "name": "x"}, "value": {"type": "u32", "value": 1 << 32}}
            ]
        },
        {"entries": [{"target": {"type": "symbol", "name": "x"}, "value": {"type": "u64", "value": -1}}]},
        {
            "entries": [
                {"target": {"type": "symbol", "name": "x"}, "value": {"type": "span", "length": 1 << 21}}
            ]
        },
        {"tag": 5},
        {"force": True},
    ],
)
def test_what_does_not_fit_is_refused_and_its_id_can_be_read(change: dict[str, Any]) -> None:
    payload = packed(body_of(ONE) | change)
    with pytest.raises(PayloadError, match="KernelOpRequest: "):
        KernelOpRequest.unpack(payload)
    assert peek_id(payload) == 7


@pytest.mark.parametrize("missing", ["mode", "direction", "entries"])
def test_what_is_missing_is_named(missing: str) -> None:
    body = body_of(ONE)
    del body[missing]
    with pytest.raises(PayloadError, match=missing):
        KernelOpRequest.unpack(packed(body))


@pytest.mark.parametrize("payload", [b"", b"\1\0\0", packed(body_of(ONE), request_id=0)])
def test_without_an_id_there_is_no_request(payload: bytes) -> None:
    assert peek_id(payload) is None
    with pytest.raises(PayloadError, match="no request id"):
        KernelOpRequest.unpack(payload)


def test_numbers_that_fit_nowhere_cannot_be_packed() -> None:
    for request in (
        KernelOpRequest(1 << 32, ONE),
        KernelOpRequest(1, KernelOp("hot", "read", (Entry(Kva(1 << 64)),))),
    ):
        with pytest.raises(PayloadError, match="cannot be encoded"):
            request.pack()


@pytest.mark.parametrize("decode", DECODERS)
@given(data=st.binary(max_size=200))
def test_junk_raises_nothing_else(decode: Callable[[bytes], object], data: bytes) -> None:
    for candidate in (data, b"\1\0\0\0" + data):
        with suppress(PayloadError):
            decode(candidate)


@given(op=OPS, position=st.integers(0), value=st.integers(0, 255), cut=st.integers(0))
def test_damage_raises_nothing_else(op: KernelOp, position: int, value: int, cut: int) -> None:
    data = bytearray(KernelOpRequest(3, op).pack())
    data[position % len(data)] = value
    for candidate in (bytes(data), bytes(data[: cut % len(data)])):
        with suppress(PayloadError):
            KernelOpRequest.unpack(candidate)


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize(
    "body",
    [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91" * 100_000, b"\xc1"],
)
def test_hostile_encodings_cost_nothing(decode: Callable[[bytes], object], body: bytes) -> None:
    for prefix in (b"", b"\x81\xa7entries", b"\x81\xacread_values"):
        with pytest.raises(PayloadError):
            decode(b"\1\0\0\0" + prefix + body)
