"""The payloads that change the scheduler of a running guest: what they hold, and what they refuse."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktstr_tui.model.scheduler_swap import MAX_OBJECT_BYTES
from ktstr_tui.wire.frames import MAX_PAYLOAD_BYTES
from ktstr_tui.wire.payloads import PayloadError
from ktstr_tui.wire.scheduler_payloads import (
    CHUNK_BYTES,
    MAX_LOG_BYTES,
    SchedChunk,
    SchedCommand,
    SchedOp,
    SchedRefuser,
    SchedReply,
    SchedStatus,
    SchedUpload,
)

ID = st.integers(1, 2**32 - 1)
U32 = st.integers(0, 2**32 - 1)
NAME = st.text(st.characters(min_codepoint=1, max_codepoint=0x7F), min_size=1, max_size=100)


@settings(deadline=None)
@given(st.builds(SchedUpload, ID, U32, st.integers(1, MAX_OBJECT_BYTES), NAME))
def test_upload_round_trip(value: SchedUpload) -> None:
    assert len(value.pack()) == 268
    assert SchedUpload.unpack(value.pack()) == value


@settings(deadline=None)
@given(st.builds(SchedChunk, ID, st.integers(0, MAX_OBJECT_BYTES - 64), st.binary(min_size=1, max_size=64)))
def test_chunk_round_trip(value: SchedChunk) -> None:
    assert SchedChunk.unpack(value.pack()) == value


@settings(deadline=None)
@given(st.builds(SchedCommand, ID, st.sampled_from(SchedOp), st.just("") | NAME))
def test_command_round_trip(value: SchedCommand) -> None:
    assert len(value.pack()) == 264
    assert SchedCommand.unpack(value.pack()) == value


@settings(deadline=None)
@given(
    st.builds(
        SchedReply,
        ID,
        st.sampled_from(SchedStatus),
        st.sampled_from(SchedRefuser),
        st.booleans(),
        st.none() | st.integers(1, 2**64 - 1),
        NAME,
        NAME,
        st.text(max_size=200),
    )
)
def test_reply_round_trip(value: SchedReply) -> None:
    assert SchedReply.unpack(value.pack()) == value


def test_the_largest_of_each_fits_into_a_frame() -> None:
    chunk = SchedChunk(1, MAX_OBJECT_BYTES - CHUNK_BYTES, bytes(CHUNK_BYTES))
    reply = SchedReply(1, SchedStatus.REJECTED, reason="ü" * 5000, log="ü" * MAX_LOG_BYTES)
    assert SchedChunk.unpack(chunk.pack()) == chunk
    assert len(SchedReply.unpack(reply.pack()).log) == MAX_LOG_BYTES // 2
    assert max(len(chunk.pack()), len(reply.pack())) <= MAX_PAYLOAD_BYTES


NAMED = b"name".ljust(256, b"\0")
REPLY_TEXT = bytes(128 + 768)
Unpack = Callable[[bytes], object]


@pytest.mark.parametrize(
    ("unpack", "payload", "reason"),
    [
        (SchedUpload.unpack, struct.pack("<III", 0, 1, 1) + NAMED, "request id"),
        (SchedUpload.unpack, struct.pack("<III", 1, 1, 0) + NAMED, "0 bytes"),
        (SchedUpload.unpack, struct.pack("<III", 1, 1, MAX_OBJECT_BYTES + 1) + NAMED, "at most"),
        (SchedUpload.unpack, struct.pack("<III", 1, 1, 0xFFFFFFFF) + NAMED, "at most"),
        (SchedUpload.unpack, struct.pack("<III", 1, 1, 1) + bytes(256), "no name"),
        (SchedUpload.unpack, b"", "0 bytes instead of 268"),
        (SchedChunk.unpack, struct.pack("<II", 1, 0), "0 bytes of data"),
        (SchedChunk.unpack, struct.pack("<II", 1, 0) + bytes(CHUNK_BYTES + 1), "bytes of data"),
        (SchedChunk.unpack, struct.pack("<II", 0, 0) + b"x", "request id"),
        (SchedChunk.unpack, struct.pack("<II", 1, MAX_OBJECT_BYTES) + b"x", "behind the largest object"),
        (SchedChunk.unpack, struct.pack("<II", 1, 0xFFFFFFFF) + b"x", "behind the largest object"),
        (SchedCommand.unpack, struct.pack("<II", 1, 0) + NAMED, "op 0"),
        (SchedCommand.unpack, struct.pack("<II", 1, 5) + NAMED, "op 5"),
        (SchedCommand.unpack, struct.pack("<II", 1, 1) + NAMED + b"\0", "265 bytes"),
        (SchedReply.unpack, struct.pack("<IIIIQ", 0, 1, 0, 0, 0) + REPLY_TEXT, "request id"),
        (SchedReply.unpack, struct.pack("<IIIIQ", 1, 9, 0, 0, 0) + REPLY_TEXT, "status 9"),
        (SchedReply.unpack, struct.pack("<IIIIQ", 1, 1, 9, 0, 0) + REPLY_TEXT, "refuser 9"),
        (SchedReply.unpack, struct.pack("<IIIIQ", 1, 1, 0, 2, 0) + REPLY_TEXT, "loaded is 2"),
        (SchedReply.unpack, struct.pack("<IIIIQ", 1, 1, 0, 0, 0), "24 bytes"),
        (
            SchedReply.unpack,
            struct.pack("<IIIIQ", 1, 1, 0, 0, 0) + REPLY_TEXT + bytes(MAX_LOG_BYTES + 1),
            "bytes",
        ),
    ],
)
def test_what_is_not_exactly_right_is_refused(unpack: Unpack, payload: bytes, reason: str) -> None:
    with pytest.raises(PayloadError, match=reason):
        unpack(payload)


def test_a_name_without_room_is_refused_before_it_is_sent() -> None:
    with pytest.raises(PayloadError, match="a name of 256 bytes"):
        SchedUpload(1, 2, 3, "n" * 256).pack()
