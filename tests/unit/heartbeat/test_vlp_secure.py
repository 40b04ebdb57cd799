"""Encrypted beats: the protocol's vectors, and that nothing but the right key opens anything."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.model.errors import InternalError, UsageError
from ktstr_tui.wire.vlp import Beat, Status, VlpError, decode, encode
from ktstr_tui.wire.vlp_secure import (
    AEAD_FAILURE,
    MASTER_BYTES,
    MAX_DERIVED_KEYS,
    PID_MISMATCH,
    SHARED_BYTES,
    Keyring,
    OpenedFrame,
    Sealer,
    SecureError,
    agent_key,
    epoch_key,
    iv_prefix,
    seal_agent,
    seal_shared,
)
from tests.unit.heartbeat.vectors import SECURE

KEY = bytes(range(32))
OTHER = bytes(range(1, 33))
PREFIX = bytes.fromhex("1122334455667788")
BEAT = Beat(Status.OK, 2, 1000, 1, 0)


def vector_bytes(vector: str, field: str) -> bytes:
    """One field of a vector."""
    return bytes.fromhex(SECURE[vector][f"{field}_hex"])


def kind_of(keyring: Keyring, data: bytes) -> str:
    """Why it does not open."""
    with pytest.raises(SecureError) as caught:
        keyring.open(data)
    assert caught.value.kind in str(caught.value)
    return caught.value.kind


def test_there_are_five_secure_vectors() -> None:
    assert len(SECURE) == 5


def test_shared_key_seal() -> None:
    wire = vector_bytes("shared_key_seal", "wire")
    frame = vector_bytes("shared_key_seal", "plaintext")
    assert seal_shared(vector_bytes("shared_key_seal", "key"), PREFIX, 0, frame) == wire
    assert len(wire) == SHARED_BYTES
    assert Keyring(shared=(KEY,)).open(wire) == OpenedFrame(decode(frame), PREFIX, 0)
    assert decode(frame) == BEAT


def test_master_key_seal() -> None:
    vector = SECURE["master_key_seal"]
    key = agent_key(vector_bytes("master_key_seal", "master_key"), vector["agent_pid"])
    assert key == vector_bytes("master_key_seal", "agent_key")
    wire = vector_bytes("master_key_seal", "wire")
    assert seal_agent(key, vector["agent_pid"], PREFIX, 0, encode(BEAT)) == wire
    assert len(wire) == MASTER_BYTES
    assert Keyring(masters=(KEY,)).open(wire) == OpenedFrame(BEAT, PREFIX, 0)


def test_kdf_agent_key() -> None:
    vector = SECURE["kdf_agent_key"]
    assert agent_key(vector_bytes("kdf_agent_key", "master_key"), vector["agent_id"]) == vector_bytes(
        "kdf_agent_key", "okm"
    )


def test_kdf_iv_prefix() -> None:
    vector = SECURE["kdf_iv_prefix"]
    salt = vector_bytes("kdf_iv_prefix", "session_salt")
    assert iv_prefix(salt, vector["prefix_index"]) == vector_bytes("kdf_iv_prefix", "okm")


def test_kdf_epoch_key() -> None:
    vector = SECURE["kdf_epoch_key"]
    assert epoch_key(vector_bytes("kdf_epoch_key", "agent_key"), vector["epoch"]) == vector_bytes(
        "kdf_epoch_key", "okm"
    )


@pytest.mark.parametrize("vector", ["shared_key_seal", "master_key_seal"])
def test_no_bit_flip_opens(vector: str) -> None:
    wire = vector_bytes(vector, "wire")
    keyring = Keyring(shared=(KEY,), masters=(KEY,))
    for bit in range(len(wire) * 8):
        flipped = bytearray(wire)
        flipped[bit // 8] ^= 1 << bit % 8
        assert kind_of(keyring, bytes(flipped)) == AEAD_FAILURE
    assert keyring.open(wire).beat == BEAT
    statistics = keyring.statistics()
    assert statistics.opened == 1
    assert statistics.decrypt_failures == len(wire) * 8
    assert statistics.bad_frames == 0


@given(st.binary(max_size=80))
def test_no_other_bytes_open(data: bytes) -> None:
    keyring = Keyring(shared=(KEY,), masters=(KEY,))
    assert kind_of(keyring, data) == (
        AEAD_FAILURE if len(data) in (SHARED_BYTES, MASTER_BYTES) else "BadLength"
    )


def test_a_plain_frame_is_refused() -> None:
    keyring = Keyring(shared=(KEY,), masters=(KEY,))
    assert kind_of(keyring, encode(BEAT)) == "BadLength"
    assert keyring.statistics().bad_length == 1


def test_without_keys_nothing_opens() -> None:
    assert kind_of(Keyring(), Sealer(KEY).seal(BEAT)) == AEAD_FAILURE
    assert kind_of(Keyring(), Sealer(agent_key(KEY, 2), 2).seal(BEAT)) == AEAD_FAILURE


def test_the_key_of_one_pid_does_not_serve_another() -> None:
    keyring = Keyring(masters=(KEY,))
    stolen = seal_agent(agent_key(KEY, 2), 3, PREFIX, 0, encode(Beat(Status.OK, 3, 1, 1, 0)))
    assert kind_of(keyring, stolen) == AEAD_FAILURE


def test_the_frame_must_name_the_pid_of_its_key() -> None:
    keyring = Keyring(masters=(KEY,))
    lie = seal_agent(agent_key(KEY, 2), 2, PREFIX, 0, encode(Beat(Status.OK, 3, 1, 1, 0)))
    assert kind_of(keyring, lie) == PID_MISMATCH
    assert keyring.statistics().decrypt_failures == 1
    assert keyring.statistics().opened == 0


def test_what_opens_is_decoded_like_any_frame() -> None:
    keyring = Keyring(shared=(KEY,))
    with pytest.raises(VlpError) as caught:
        keyring.open(seal_shared(KEY, PREFIX, 0, encode(Beat(Status.STALL, 2, 1, 1, 0))))
    assert caught.value.kind == "StallOnWire"
    assert keyring.statistics().bad_frames == 1
    assert keyring.statistics().decrypt_failures == 0


def test_every_key_is_tried() -> None:
    keyring = Keyring(shared=(KEY, OTHER, bytes(32)), masters=(OTHER, KEY))
    keyring.open(Sealer(KEY).seal(BEAT))
    assert keyring.statistics().aead_attempts == 3
    keyring.open(Sealer(OTHER).seal(BEAT))
    assert keyring.statistics().aead_attempts == 6
    keyring.open(Sealer(agent_key(KEY, 2), 2).seal(BEAT))
    assert keyring.statistics().aead_attempts == 8


def test_only_proven_pids_are_remembered_and_not_too_many() -> None:
    keyring = Keyring(masters=(KEY,))
    for pid in range(2, MAX_DERIVED_KEYS + 12):
        forged = seal_agent(OTHER, pid, PREFIX, 0, encode(Beat(Status.OK, pid, 1, 1, 0)))
        assert kind_of(keyring, forged) == AEAD_FAILURE
    assert keyring.statistics().derived_keys == 0
    for pid in range(2, MAX_DERIVED_KEYS + 12):
        keyring.open(seal_agent(agent_key(KEY, pid), pid, PREFIX, 0, encode(Beat(Status.OK, pid, 1, 1, 0))))
    assert keyring.statistics().derived_keys == MAX_DERIVED_KEYS
    # The first to be dropped can still be derived again.
    keyring.open(Sealer(agent_key(KEY, 2), 2).seal(BEAT))


@pytest.mark.parametrize("pid", [None, 2])
def test_a_sealer_never_uses_an_iv_twice(pid: int | None) -> None:
    key = KEY if pid is None else agent_key(KEY, pid)
    sealer = Sealer(key, pid, counters_per_prefix=4)
    keyring = Keyring(shared=(KEY,), masters=(KEY,))
    opened = [keyring.open(sealer.seal(BEAT)) for _ in range(19)]
    assert len({(one.prefix, one.counter) for one in opened}) == 19
    assert [one.counter for one in opened[:9]] == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert len({one.prefix for one in opened}) == 5


def test_prefixes_come_from_the_salt_in_order() -> None:
    salt = bytes(range(1, 17))
    sealer = Sealer(KEY, new_salt=lambda: salt, counters_per_prefix=1)
    keyring = Keyring(shared=(KEY,))
    prefixes = [keyring.open(sealer.seal(BEAT)).prefix for _ in range(8)]
    assert prefixes == [iv_prefix(salt, index) for index in range(8)]
    assert prefixes[7] == vector_bytes("kdf_iv_prefix", "okm")


def test_two_sealers_differ() -> None:
    keyring = Keyring(shared=(KEY,))
    first, second = (keyring.open(Sealer(KEY).seal(BEAT)) for _ in range(2))
    assert first.prefix != second.prefix


def test_a_child_process_takes_a_salt_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = Keyring(shared=(KEY,))
    sealer = Sealer(KEY)
    before = [keyring.open(sealer.seal(BEAT)) for _ in range(3)]
    child = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: child)
    after = [keyring.open(sealer.seal(BEAT)) for _ in range(2)]
    assert after[0].prefix != before[0].prefix
    assert [one.counter for one in after] == [0, 1]
    assert sealer.fork_recoveries == 1


def test_a_sealer_with_a_key_of_its_own_seals_for_its_pid_only() -> None:
    with pytest.raises(InternalError, match="pid 2 cannot encrypt a heartbeat of pid 3"):
        Sealer(agent_key(KEY, 2), 2).seal(Beat(Status.OK, 3, 1, 1, 0))


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_keys_have_one_size(size: int) -> None:
    with pytest.raises(UsageError, match="32 bytes"):
        Sealer(bytes(size))
    with pytest.raises(UsageError, match="32 bytes"):
        Keyring(shared=(bytes(size),))
    with pytest.raises(UsageError, match="32 bytes"):
        Keyring(masters=(bytes(size),))
