"""VLP frames, in C and in Python: the protocol's vectors, and what it promises of any bytes."""

from __future__ import annotations

import struct
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui._native import ffi, lib
from ktstr_tui.wire import vlp
from ktstr_tui.wire.vlp import BAD_LENGTH, KINDS, NONCE_TERMINAL, Beat, Status, VlpError
from tests.oracles import vlp as vlp_py
from tests.unit.heartbeat.vectors import CRC32C, ERRORS, ROUND_TRIPS

U32 = st.integers(0, (1 << 32) - 1)
U64 = st.integers(0, (1 << 64) - 1)
ANY_BEATS = st.builds(Beat, st.sampled_from(Status), U32, U64, U64, U32)
REGULAR_BEATS = st.builds(
    Beat,
    st.sampled_from([Status.OK, Status.DEGRADED, Status.CRITICAL]),
    st.integers(2, (1 << 32) - 1),
    st.integers(0, (1 << 64) - 2),
    st.integers(0, (1 << 64) - 2),
    U32,
)
TERMINAL_BEATS = st.builds(
    Beat,
    st.just(Status.CRITICAL),
    st.integers(2, (1 << 32) - 1),
    st.integers(0, (1 << 64) - 2),
    st.just(NONCE_TERMINAL),
    U32,
)


@pytest.fixture(params=[vlp, vlp_py], ids=["c", "python"])
def codec(request: pytest.FixtureRequest) -> ModuleType:
    """Either implementation."""
    module = request.param
    assert isinstance(module, ModuleType)
    return module


def outcome(codec: ModuleType, data: bytes | bytearray) -> Beat | str:
    """The beat in some bytes, or the kind of their error."""
    try:
        beat = codec.decode(data)
    except VlpError as error:
        return error.kind
    assert isinstance(beat, Beat)
    return beat


def sealed_by_crc(head: bytes) -> bytes:
    """A frame of these 28 bytes with the right CRC."""
    return head + struct.pack("<I", vlp_py.crc32c(head))


def test_there_are_twenty_frame_vectors() -> None:
    assert (len(CRC32C), len(ROUND_TRIPS), len(ERRORS)) == (5, 6, 9)


@pytest.mark.parametrize(("data", "crc"), [vector[1:] for vector in CRC32C], ids=[v[0] for v in CRC32C])
def test_crc_vectors(codec: ModuleType, data: bytes, crc: int) -> None:
    assert codec.crc32c(data) == crc


@pytest.mark.parametrize(
    ("beat", "wire"), [vector[1:] for vector in ROUND_TRIPS], ids=[v[0] for v in ROUND_TRIPS]
)
def test_round_trip_vectors(codec: ModuleType, beat: Beat, wire: bytes) -> None:
    assert codec.encode(beat) == wire
    assert codec.decode(wire) == beat
    assert type(codec.decode(wire).status) is Status


@pytest.mark.parametrize(("kind", "wire"), ERRORS, ids=[f"{kind}-{w[4]}" for kind, w in ERRORS])
def test_decode_error_vectors(codec: ModuleType, kind: str, wire: bytes) -> None:
    with pytest.raises(VlpError) as caught:
        codec.decode(wire)
    assert caught.value.kind == kind
    assert kind in str(caught.value)


def test_decode_rejects_bad_magic(codec: ModuleType) -> None:
    """The observer's acceptance case: 32 bytes of ones."""
    assert outcome(codec, b"\xff" * 32) == "BadMagic"


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_another_length_is_no_frame(codec: ModuleType, length: int) -> None:
    assert outcome(codec, ROUND_TRIPS[0][2].ljust(64, b"\0")[:length]) == BAD_LENGTH


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_any_buffer_can_be_read(codec: ModuleType, make: type) -> None:
    _, beat, wire = ROUND_TRIPS[1]
    assert codec.decode(make(wire)) == beat
    assert codec.crc32c(make(wire[:28])) == int.from_bytes(wire[28:], "little")


def kind_of_flip(byte: int) -> str:
    """Why a good frame with one bit of this byte turned is refused."""
    return "BadMagic" if byte < 2 else "BadVersion" if byte == 2 else "BadCrc"


@pytest.mark.parametrize("wire", [v[2] for v in ROUND_TRIPS], ids=[v[0] for v in ROUND_TRIPS])
def test_every_bit_flip_of_a_good_frame_is_refused(codec: ModuleType, wire: bytes) -> None:
    for bit in range(256):
        flipped = bytearray(wire)
        flipped[bit // 8] ^= 1 << bit % 8
        assert outcome(codec, flipped) == kind_of_flip(bit // 8), bit


@pytest.mark.parametrize(("kind", "wire"), ERRORS, ids=[f"{kind}-{w[4]}" for kind, w in ERRORS])
def test_every_bit_flip_of_a_bad_frame_has_one_answer(kind: str, wire: bytes) -> None:
    for bit in range(256):
        flipped = bytearray(wire)
        flipped[bit // 8] ^= 1 << bit % 8
        answer = outcome(vlp, flipped)
        assert answer == outcome(vlp_py, flipped)
        # Only the frame whose CRC is one bit off can be healed by one bit.
        assert isinstance(answer, str) or kind == "BadCrc"


@pytest.mark.parametrize("wire", [v[2] for v in ROUND_TRIPS], ids=[v[0] for v in ROUND_TRIPS])
def test_every_bit_flip_changes_the_crc(codec: ModuleType, wire: bytes) -> None:
    right = codec.crc32c(wire[:28])
    for bit in range(28 * 8):
        flipped = bytearray(wire[:28])
        flipped[bit // 8] ^= 1 << bit % 8
        assert codec.crc32c(flipped) != right


# From the first check to the last: what to put where, and the error.
FAULTS = [
    (0, b"\0", "BadMagic"),
    (2, b"\1", "BadVersion"),
    (28, None, "BadCrc"),
    (3, b"\xff", "BadStatus"),
    (3, b"\3", "StallOnWire"),
    (4, b"\1\0\0\0", "BadPid"),
    (8, b"\xff" * 8, "BadTimestamp"),
    (16, b"\xff" * 8, "BadNonce"),
]


def test_the_first_check_to_fail_is_the_answer(codec: ModuleType) -> None:
    for first in range(len(FAULTS)):
        frame = bytearray(ROUND_TRIPS[0][2])
        # The faults at one place exclude each other: write the later ones first.
        for at, data, _ in reversed(FAULTS[first:]):
            if data is not None:
                frame[at : at + len(data)] = data
        frame[:] = sealed_by_crc(bytes(frame[:28]))
        if first <= 2:
            frame[28] ^= 1
        assert outcome(codec, bytes(frame)) == FAULTS[first][2]


@given(ANY_BEATS)
def test_both_encode_the_same(beat: Beat) -> None:
    assert vlp.encode(beat) == vlp_py.encode(beat)


@given(st.one_of(REGULAR_BEATS, TERMINAL_BEATS))
def test_decode_inverts_encode(beat: Beat) -> None:
    assert vlp.decode(vlp.encode(beat)) == beat
    assert vlp_py.decode(vlp.encode(beat)) == beat


@given(ANY_BEATS)
def test_what_is_decoded_is_in_range(beat: Beat) -> None:
    answer = outcome(vlp, vlp.encode(beat))
    assert answer == outcome(vlp_py, vlp.encode(beat))
    legal = (
        beat.status != Status.STALL
        and beat.pid > 1
        and beat.timestamp != vlp.TIMESTAMP_REFUSED
        and (not beat.is_terminal or beat.status == Status.CRITICAL)
    )
    assert isinstance(answer, Beat) == legal


@given(st.binary(max_size=40))
def test_any_bytes_have_one_answer(data: bytes) -> None:
    assert outcome(vlp, data) == outcome(vlp_py, data)


@given(st.binary(min_size=25, max_size=25))
def test_any_fields_with_a_right_crc_have_one_answer(fields: bytes) -> None:
    frame = sealed_by_crc(b"VA\2" + fields)
    answer = outcome(vlp, frame)
    assert answer == outcome(vlp_py, frame)
    assert isinstance(answer, Beat) or answer in KINDS[2:7]


@given(st.binary(max_size=300), st.integers(0, 300))
def test_the_crc_by_tables_is_the_same_and_goes_on(data: bytes, cut: int) -> None:
    assert lib.ktv_crc32c(0, data, len(data)) == vlp_py.crc32c(data)
    assert lib.ktv_crc32c_tables(0, data, len(data)) == vlp_py.crc32c(data)
    head, tail = data[:cut], data[cut:]
    assert lib.ktv_crc32c(lib.ktv_crc32c(0, head, len(head)), tail, len(tail)) == vlp_py.crc32c(data)


@given(st.one_of(REGULAR_BEATS, TERMINAL_BEATS))
def test_the_c_structure_has_the_fields(beat: Beat) -> None:
    raw = ffi.new("struct ktv_beat *")
    assert lib.ktv_decode(vlp.encode(beat), 32, raw) == 0
    assert (raw.status, raw.pid, raw.timestamp, raw.nonce, raw.payload) == (
        beat.status,
        beat.pid,
        beat.timestamp,
        beat.nonce,
        beat.payload,
    )
    frame = ffi.new("uint8_t[32]")
    lib.ktv_encode(raw, frame)
    assert ffi.buffer(frame)[:] == vlp.encode(beat)


def test_a_refused_frame_leaves_the_c_structure_alone() -> None:
    raw = ffi.new("struct ktv_beat *", {"pid": 77})
    for _, wire in ERRORS:
        assert lib.ktv_decode(wire, len(wire), raw) != 0
    assert (raw.pid, raw.timestamp) == (77, 0)


@pytest.mark.parametrize("field", [{"pid": 1 << 32}, {"nonce": 1 << 64}, {"timestamp": -1}, {"payload": -1}])
def test_a_field_that_does_not_fit_is_not_encoded(codec: ModuleType, field: dict[str, int]) -> None:
    values = {"pid": 2, "timestamp": 1, "nonce": 1, "payload": 0, **field}
    with pytest.raises(struct.error):
        codec.encode(Beat(Status.OK, **values))
