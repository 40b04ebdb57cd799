"""The frame assembler by example: what it hands out, refuses, skips and counts."""

from __future__ import annotations

import random
import struct
import zlib

import pytest

from ktstr_tui._native import ffi, lib
from ktstr_tui.model.errors import InternalError
from ktstr_tui.wire.frames import MAX_PAYLOAD_BYTES, Frame, FrameAssembler, encode_frame
from ktstr_tui.wire.messages import MsgType

HELLO = encode_frame(MsgType.Stdout, b"hello\n")
READY = encode_frame(MsgType.SysRdy)


def header(msg_type: int, length: int, crc: int = 0, pad: int = 0) -> bytes:
    return struct.pack("<IIII", msg_type, length, crc, pad)


def test_two_whole_frames_in_one_feed() -> None:
    assert FrameAssembler().feed(READY + HELLO) == [
        Frame(MsgType.SysRdy, b"", True),
        Frame(MsgType.Stdout, b"hello\n", True),
    ]


def test_byte_by_byte() -> None:
    assembler = FrameAssembler()
    pieces = [assembler.feed(bytes((byte,))) for byte in READY + HELLO]
    assert [len(piece) for piece in pieces] == [0] * 15 + [1] + [0] * 21 + [1]
    assert assembler.statistics().residual == 0


def test_empty_feeds_change_nothing() -> None:
    assembler = FrameAssembler()
    assert assembler.feed(b"") == []
    assembler.feed(HELLO[:20])
    assert assembler.feed(b"") == []
    assert assembler.residual() == HELLO[:20]
    assert len(assembler.feed(HELLO[20:])) == 1


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_any_buffer_can_be_fed(make: type) -> None:
    assert FrameAssembler().feed(make(HELLO)) == [Frame(MsgType.Stdout, b"hello\n", True)]


def test_frames_do_not_alias_what_was_fed() -> None:
    data = bytearray(HELLO)
    (frame,) = FrameAssembler().feed(data)
    data[:] = bytes(len(data))
    assert frame.payload == b"hello\n"


def test_a_bad_crc_is_returned_and_the_walk_goes_on() -> None:
    torn = header(MsgType.Stdout, 4, zlib.crc32(b"torn") ^ 1) + b"torn"
    assembler = FrameAssembler()
    assert assembler.feed(torn + HELLO) == [
        Frame(MsgType.Stdout, b"torn", False),
        Frame(MsgType.Stdout, b"hello\n", True),
    ]
    assert assembler.statistics().crc_bad == 1
    assert assembler.statistics().skipped_bytes == 0


@pytest.mark.parametrize("crc_ok", [True, False])
def test_unknown_types_are_returned(crc_ok: bool) -> None:
    frame = header(0xDEADBEEF, 3, zlib.crc32(b"abc") ^ (not crc_ok)) + b"abc"
    assert FrameAssembler().feed(frame * 3) == [Frame(0xDEADBEEF, b"abc", crc_ok)] * 3


def test_an_empty_payload_with_a_crc_is_bad() -> None:
    assert FrameAssembler().feed(header(MsgType.SysRdy, 0, 1)) == [Frame(MsgType.SysRdy, b"", False)]


def test_a_non_zero_pad_of_a_known_type_is_only_counted() -> None:
    assembler = FrameAssembler()
    assert assembler.feed(header(MsgType.SysRdy, 0, 0, 7)) == [Frame(MsgType.SysRdy, b"", True)]
    assert assembler.statistics().pad_nonzero == 1


def test_exactly_the_cap_is_legal() -> None:
    payload = bytes(MAX_PAYLOAD_BYTES)
    assert FrameAssembler().feed(encode_frame(MsgType.Stdout, payload)) == [
        Frame(MsgType.Stdout, payload, True)
    ]


def test_an_oversized_length_is_refused_as_soon_as_its_header_is_there() -> None:
    assembler = FrameAssembler(max_payload=100)
    bad = header(MsgType.Stdout, 101)
    assert assembler.feed(bad[:15]) == []
    assert assembler.statistics().oversized == 0
    assert assembler.feed(bad[15:]) == []
    statistics = assembler.statistics()
    assert (statistics.oversized, statistics.resyncs) == (1, 1)
    assert (statistics.skipped_bytes, statistics.residual) == (16, 0)
    assert assembler.feed(HELLO) == [Frame(MsgType.Stdout, b"hello\n", True)]
    assert assembler.statistics().skipped_by_reason == {"oversized": 16, "bad_header": 0, "torn": 0}


def test_garbage_before_a_frame_is_skipped_to_the_byte() -> None:
    garbage = bytes(random.Random(1).randrange(256) for _ in range(5000))
    assembler = FrameAssembler()
    assert assembler.feed(garbage + HELLO + READY) == [
        Frame(MsgType.Stdout, b"hello\n", True),
        Frame(MsgType.SysRdy, b"", True),
    ]
    assert assembler.statistics().skipped_bytes == 5000
    assert assembler.statistics().resyncs == 1


def test_unknown_type_with_a_pad_is_damage() -> None:
    assembler = FrameAssembler()
    assert assembler.feed(header(0xDEADBEEF, 0, 0, 1) + HELLO) == [Frame(MsgType.Stdout, b"hello\n", True)]
    assert assembler.statistics().skipped_by_reason == {"oversized": 0, "bad_header": 16, "torn": 0}


def test_while_seeking_a_header_is_believed_only_with_a_right_crc() -> None:
    decoy = header(MsgType.Stdout, 30, 12345) + bytes(8)
    assembler = FrameAssembler(max_payload=100)
    assert assembler.feed(header(MsgType.Stdout, 101) + decoy) == []
    # The decoy is held until its payload is there, which the next frame completes.
    assert assembler.statistics().residual == len(decoy)
    assert assembler.feed(HELLO) == [Frame(MsgType.Stdout, b"hello\n", True)]
    assert assembler.statistics().skipped_bytes == 16 + len(decoy)


def test_a_length_that_grew_costs_nothing_but_its_own_frame() -> None:
    for growth in range(1, 40):
        grown = bytearray(HELLO)
        grown[4] += growth
        assembler = FrameAssembler()
        frames = assembler.feed(bytes(grown) + READY + HELLO * 2)
        assert frames == [
            Frame(MsgType.Stdout, b"hello\n", False),
            Frame(MsgType.SysRdy, b"", True),
            *[Frame(MsgType.Stdout, b"hello\n", True)] * 2,
        ]
        assert assembler.statistics().cut == 1
        assert assembler.statistics().skipped_bytes == 0


def test_a_length_that_shrank_costs_nothing_but_its_own_frame() -> None:
    for shrinkage in range(1, 7):
        shrunk = bytearray(HELLO)
        shrunk[4] -= shrinkage
        assembler = FrameAssembler()
        frames = assembler.feed(bytes(shrunk) + READY + HELLO)
        assert frames == [
            Frame(MsgType.Stdout, b"hello\n"[:-shrinkage], False),
            Frame(MsgType.SysRdy, b"", True),
            Frame(MsgType.Stdout, b"hello\n", True),
        ]
        assert assembler.statistics().skipped_bytes == shrinkage


def test_a_sender_that_breaks_off_and_begins_anew_costs_only_the_broken_frame() -> None:
    long = encode_frame(MsgType.Stdout, b"a" * 100)
    for sent in range(16, 113):
        assembler = FrameAssembler()
        frames = assembler.feed(long[:sent] + READY + HELLO * 5)
        assert frames == [
            Frame(MsgType.Stdout, b"a" * (sent - 16), False),
            Frame(MsgType.SysRdy, b"", True),
            *[Frame(MsgType.Stdout, b"hello\n", True)] * 5,
        ]
        assert assembler.statistics().skipped_bytes == 0


def test_many_frames_in_one_feed_exceed_a_batch() -> None:
    assembler = FrameAssembler()
    assembler.feed(HELLO[:5])
    frames = assembler.feed(HELLO[5:] + HELLO * 5000)
    assert frames == [Frame(MsgType.Stdout, b"hello\n", True)] * 5001


def test_the_residual_can_be_handed_to_another_assembler() -> None:
    first, second = FrameAssembler(), FrameAssembler()
    first.feed(HELLO + HELLO[:17])
    taken = first.take_residual()
    assert taken == HELLO[:17]
    assert first.residual() == b""
    assert first.statistics().taken_bytes == 17
    assert second.feed(taken + HELLO[17:]) == [Frame(MsgType.Stdout, b"hello\n", True)]
    assert first.feed(READY) == [Frame(MsgType.SysRdy, b"", True)]


def test_an_announced_length_sizes_nothing() -> None:
    assembler = FrameAssembler(max_payload=1 << 30)
    assembler.feed(header(MsgType.Stdout, 1 << 30))
    assert assembler.statistics().residual == 16
    assert assembler.residual() == header(MsgType.Stdout, 1 << 30)


def test_densely_packed_decoys_are_bounded_work() -> None:
    # Every 16 bytes announce the cap. Without a budget this is 2 GiB of CRC for 256 KiB of input.
    decoys = header(MsgType.Stdout, MAX_PAYLOAD_BYTES, 1) * (2 * MAX_PAYLOAD_BYTES // 16)
    stream = header(MsgType.Stdout, MAX_PAYLOAD_BYTES + 1) + decoys
    assembler, in_pieces = FrameAssembler(), FrameAssembler()
    assembler.feed(stream)
    for at in range(0, len(stream), 1000):
        in_pieces.feed(stream[at : at + 1000])
    statistics = assembler.statistics()
    assert in_pieces.statistics() == statistics
    assert statistics.residual <= MAX_PAYLOAD_BYTES + 16
    assert statistics.skipped_bytes + statistics.residual == statistics.bytes
    # Real frames are found again once enough was skipped.
    frames = assembler.feed(bytes(MAX_PAYLOAD_BYTES) + HELLO)
    assert frames[-1:] == [Frame(MsgType.Stdout, b"hello\n", True)]


@pytest.mark.parametrize("max_payload", [0, -1, (1 << 30) + 1])
def test_a_cap_out_of_range_is_refused(max_payload: int) -> None:
    with pytest.raises(InternalError):
        FrameAssembler(max_payload=max_payload)


@pytest.mark.parametrize("function", [lib.ktf_crc32, lib.ktf_crc32_tables])
def test_the_crc_is_the_one_of_zlib(function: object) -> None:
    assert callable(function)
    data = random.Random(2).randbytes(70000)
    view = ffi.from_buffer(data)
    for start in range(20):
        for length in [*range(300), 4096, 65536, 65537]:
            assert function(0, view + start, length) == zlib.crc32(data[start : start + length])
    assert function(function(0, view, 1000), view + 1000, 5000) == zlib.crc32(data[:6000])
