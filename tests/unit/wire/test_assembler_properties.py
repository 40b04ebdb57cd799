"""Properties of the frame assembler: feeds do not matter, every byte is accounted for, damage stays local."""

from __future__ import annotations

import struct
import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from ktstr_tui.wire.frames import Frame, FrameAssembler, FrameStatistics, encode_frame
from ktstr_tui.wire.messages import MsgType

CAP = 4096

types = st.sampled_from(MsgType) | st.integers(0, 2**32 - 1)
payloads = st.binary(max_size=200)
plain_frames = st.builds(Frame, types, payloads, st.booleans())
# Lower-case text cannot be taken for a header, so that what damage touches is certain.
texts = st.text("abcdefghijklmnopqrstuvwxyz \n", max_size=120).map(str.encode)
text_frames = st.builds(Frame, st.sampled_from(MsgType).map(int), texts, st.just(True))


def encode(frame: Frame) -> bytes:
    crc = zlib.crc32(frame.payload) ^ (0 if frame.crc_ok else 0xA5A5A5A5)
    return struct.pack("<IIII", frame.msg_type, len(frame.payload), crc, 0) + frame.payload


def noise(data: st.DataObject) -> bytes:
    """A stream of frames, damaged headers, decoys and garbage."""
    decoy = st.builds(
        struct.pack,
        st.just("<IIII"),
        st.sampled_from(MsgType),
        st.integers(0, CAP + 50) | st.integers(0, 40),
        st.just(0) | st.integers(0, 2**32 - 1),
        st.sampled_from([0, 0, 0, 1]),
    )
    whole = plain_frames.map(encode)
    broken = st.tuples(whole, st.integers(0, 60)).map(lambda pair: pair[0][: pair[1]])
    piece = whole | decoy | broken | st.binary(max_size=60) | st.integers(1, 64).map(bytes)
    return b"".join(data.draw(st.lists(piece, max_size=20)))


def split(data: st.DataObject, stream: bytes) -> list[bytes]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def assert_accounted(statistics: FrameStatistics, frames: list[Frame], fed: int) -> None:
    assert statistics.bytes == fed
    assert statistics.frames == len(frames)
    assert statistics.payload_bytes == sum(len(frame.payload) for frame in frames)
    assert statistics.crc_bad == sum(not frame.crc_ok for frame in frames)
    assert statistics.skipped_bytes == sum(statistics.skipped_by_reason.values())
    assert statistics.bytes == (
        16 * statistics.frames
        + statistics.payload_bytes
        + statistics.skipped_bytes
        + statistics.taken_bytes
        + statistics.residual
    )


@settings(deadline=None)
@given(st.lists(plain_frames, max_size=12), st.data())
def test_any_split_of_any_frame_sequence_gives_the_same_messages(
    frames: list[Frame], data: st.DataObject
) -> None:
    stream = b"".join(encode(frame) for frame in frames)
    assembler = FrameAssembler(CAP)
    got = [frame for piece in split(data, stream) for frame in assembler.feed(piece)]
    assert got == frames
    assert assembler.statistics().residual == 0
    assert assembler.statistics().skipped_bytes == 0


@settings(deadline=None)
@given(st.data())
def test_any_split_of_any_stream_gives_the_same_messages_and_counts(data: st.DataObject) -> None:
    stream = noise(data)
    whole, pieces, single = FrameAssembler(CAP), FrameAssembler(CAP), FrameAssembler(CAP)
    expected = whole.feed(stream)
    assert [frame for piece in split(data, stream) for frame in pieces.feed(piece)] == expected
    assert [frame for byte in stream for frame in single.feed(bytes((byte,)))] == expected
    assert pieces.statistics() == single.statistics() == whole.statistics()
    assert pieces.residual() == single.residual() == whole.residual()


@settings(deadline=None)
@given(st.data())
def test_every_byte_is_accounted_for_at_any_time(data: st.DataObject) -> None:
    stream = noise(data)
    assembler = FrameAssembler(CAP)
    frames: list[Frame] = []
    fed = 0
    for piece in split(data, stream):
        frames += assembler.feed(piece)
        fed += len(piece)
        assert_accounted(assembler.statistics(), frames, fed)
        assert assembler.statistics().residual == len(assembler.residual()) <= 16 + CAP
        if data.draw(st.integers(0, 9)) == 0:
            assembler.take_residual()
            assert_accounted(assembler.statistics(), frames, fed)
    assert all(len(frame.payload) <= CAP for frame in frames)


@settings(deadline=None)
@given(st.lists(text_frames, max_size=6), text_frames, st.lists(text_frames, max_size=6), st.data())
def test_damage_outside_the_length_touches_one_frame_and_skips_nothing(
    before: list[Frame], victim: Frame, after: list[Frame], data: st.DataObject
) -> None:
    raw = bytearray(encode(victim))
    at = data.draw(st.integers(0, len(raw) - 1).filter(lambda i: i not in range(4, 8)))
    raw[at] ^= data.draw(st.integers(1, 255))
    assembler = FrameAssembler(CAP)
    frames = assembler.feed(b"".join(map(encode, before)) + raw + b"".join(map(encode, after)))
    place = len(before)
    assert frames[:place] == before
    assert frames[place + 1 :] == after
    assert frames[place].crc_ok == (at < 4 or 12 <= at < 16)
    assert frames[place].payload == raw[16:]
    assert assembler.statistics().skipped_bytes == 0


@settings(deadline=None)
@given(
    st.lists(text_frames, max_size=6), text_frames, st.lists(text_frames, min_size=1, max_size=6), st.data()
)
def test_a_damaged_length_loses_only_its_own_frame_with_exact_counts(
    before: list[Frame], victim: Frame, after: list[Frame], data: st.DataObject
) -> None:
    raw = bytearray(encode(victim))
    # So long a frame comes last that every legal length is reached.
    after = [*after, Frame(MsgType.Stdout, b"x" * CAP, True)]
    length = data.draw(
        (st.integers(0, 300) | st.integers(0, 2**32 - 1)).filter(lambda value: value != len(victim.payload))
    )
    raw[4:8] = struct.pack("<I", length)
    assembler = FrameAssembler(CAP)
    frames = assembler.feed(b"".join(map(encode, before)) + raw + b"".join(map(encode, after)))
    statistics = assembler.statistics()
    place = len(before)
    assert frames[:place] == before
    assert frames[-len(after) :] == after
    if length > CAP:
        assert len(frames) == len(before) + len(after)
        assert statistics.skipped_by_reason == {"oversized": len(raw), "bad_header": 0, "torn": 0}
        assert (statistics.oversized, statistics.resyncs) == (1, 1)
        return
    kept = min(length, len(victim.payload))
    assert frames[place : len(frames) - len(after)] == [Frame(victim.msg_type, victim.payload[:kept], False)]
    assert statistics.skipped_bytes == len(victim.payload) - kept
    assert statistics.resyncs == 1


@settings(deadline=None)
@given(
    st.lists(text_frames, max_size=5), st.binary(max_size=300), st.lists(text_frames, min_size=1, max_size=5)
)
def test_bytes_that_come_in_between_are_skipped_exactly(
    before: list[Frame], extra: bytes, after: list[Frame]
) -> None:
    # Certainly no header: its length field is far above the cap, and none of its bytes is a letter of a tag.
    extra = b"\xff" * 8 + bytes(byte | 0x80 for byte in extra)
    assembler = FrameAssembler(CAP)
    frames = assembler.feed(b"".join(map(encode, before)) + extra + b"".join(map(encode, after)))
    assert frames == before + after
    assert assembler.statistics().skipped_by_reason["oversized"] == len(extra)


@settings(deadline=None)
@given(types, payloads)
def test_what_is_encoded_comes_out(msg_type: int, payload: bytes) -> None:
    assert FrameAssembler().feed(encode_frame(msg_type, payload)) == [Frame(int(msg_type), payload, True)]
