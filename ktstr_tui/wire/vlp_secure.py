"""Beats under encryption, for networks: a VLP frame sealed with ChaCha20-Poly1305.

Two forms, told apart by their length. With a shared key all senders have the same one::

    iv_random[8] | iv_counter u32 | sealed frame[32] | tag[16]                      60 bytes

With a master key each sender has its own, derived from the master key and its pid, which goes ahead in clear and is
authenticated along with the frame::

    agent_pid u32 | iv_random[8] | iv_counter u32 | sealed frame[32] | tag[16]      64 bytes

The hard thing is never to use a nonce twice under one key. It is the 12 bytes of IV: a prefix derived from a random
salt of the session, and a counter; when the counter is used up, the next prefix is derived, and a child process
after ``fork`` takes a salt of its own. Whether a frame that opens is a replay is not decided here
(`ktstr_tui.heartbeat.secure`).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ktstr_tui.model.errors import InternalError, KtstrError, UsageError
from ktstr_tui.wire.vlp import BAD_LENGTH, FRAME_BYTES, Beat, VlpError, decode, encode

KEY_BYTES: Final = 32
SALT_BYTES: Final = 16
PREFIX_BYTES: Final = 8
TAG_BYTES: Final = 16
SHARED_BYTES: Final = PREFIX_BYTES + 4 + FRAME_BYTES + TAG_BYTES
"""Size of a datagram under a shared key."""
MASTER_BYTES: Final = 4 + SHARED_BYTES
"""Size of a datagram under a key derived from a master key."""
AEAD_FAILURE: Final = "AeadFailure"
"""No key opens it."""
PID_MISMATCH: Final = "PidMismatch"
"""It opens, but the frame is of another pid than the key."""
MAX_DERIVED_KEYS: Final = 1024
"""Derived keys that are remembered, of pids that have proved to know theirs."""

_PID: Final = struct.Struct("<I")
_EPOCH: Final = struct.Struct("<Q")
_COUNTER: Final = struct.Struct("<I")
_COUNTERS_PER_PREFIX: Final = 1 << 32


class SecureError(KtstrError):
    """A datagram that is no sealed frame of ours.

    Args:
        kind: `AEAD_FAILURE`, `PID_MISMATCH` or ``"BadLength"``. What opens and then is no legal frame raises
            `VlpError` instead.
    """

    fault = "guest"

    def __init__(self, kind: str) -> None:
        super().__init__(f"An encrypted heartbeat was refused ({kind}).")
        self.kind = kind


def _derive(key: bytes, info: bytes, length: int) -> bytes:
    # The salt is empty in each derivation of the protocol, also where its own vectors say otherwise in prose.
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(key)


def agent_key(master_key: bytes, pid: int) -> bytes:
    """Derive the key of one sender."""
    return _derive(master_key, b"varta-agent-v1\0" + _PID.pack(pid), KEY_BYTES)


def iv_prefix(session_salt: bytes, index: int) -> bytes:
    """Derive prefix number ``index`` of the IVs of a session."""
    return _derive(session_salt, b"varta-iv-prefix-v1\0" + _PID.pack(index), PREFIX_BYTES)


def epoch_key(key: bytes, epoch: int) -> bytes:
    """Derive a sender's key of one epoch: reserved by the protocol, and not in use."""
    return _derive(key, b"varta-epoch-v1\0" + _EPOCH.pack(epoch), KEY_BYTES)


def seal_shared(key: bytes, prefix: bytes, counter: int, frame: bytes) -> bytes:
    """Seal a frame under a shared key. The pair of prefix and counter must never have been used with it."""
    iv = prefix + _COUNTER.pack(counter)
    return iv + ChaCha20Poly1305(key).encrypt(iv, frame, None)


def seal_agent(key: bytes, pid: int, prefix: bytes, counter: int, frame: bytes) -> bytes:
    """Seal a frame under the sender's own key (`agent_key`). The IV must never have been used with it."""
    iv, clear = prefix + _COUNTER.pack(counter), _PID.pack(pid)
    return clear + iv + ChaCha20Poly1305(key).encrypt(iv, frame, clear)


def _checked(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise UsageError(
            f"A heartbeat key has {KEY_BYTES} bytes; this one has {len(key)}.",
            hint="Keys are written as 64 hexadecimal digits.",
        )
    return key


def _random_salt() -> bytes:
    return os.urandom(SALT_BYTES)


class Sealer:
    """A sender's side: seals beats and keeps their IVs apart.

    Args:
        key: The shared key, or with ``pid`` the sender's own.
        pid: The sender's pid, when the key is its own.
        new_salt: Makes the salt of a session, 16 bytes that never come again.
        counters_per_prefix: After how many beats the next prefix is taken; at most 2**32.

    Raises:
        UsageError: The key has the wrong size.
    """

    def __init__(
        self,
        key: bytes,
        pid: int | None = None,
        *,
        new_salt: Callable[[], bytes] = _random_salt,
        counters_per_prefix: int = _COUNTERS_PER_PREFIX,
    ) -> None:
        self._key = _checked(key)
        self._pid = pid
        self._new_salt = new_salt
        self._counters_per_prefix = min(counters_per_prefix, _COUNTERS_PER_PREFIX)
        self.fork_recoveries = 0
        """How often a child process was found to go on with its parent's state."""
        self._begin_session()

    def _begin_session(self) -> None:
        self._process = os.getpid()
        self._salt = self._new_salt()
        self._begin_prefix(0)

    def _begin_prefix(self, index: int) -> None:
        self._index = index
        self._prefix = iv_prefix(self._salt, index)
        self._counter = 0

    def seal(self, beat: Beat) -> bytes:
        """Seal a beat as a datagram.

        Raises:
            InternalError: The beat is of another pid than the key.
        """
        if self._pid is not None and beat.pid != self._pid:
            raise InternalError(f"the key of pid {self._pid} cannot encrypt a heartbeat of pid {beat.pid}")
        if os.getpid() != self._process:
            self.fork_recoveries += 1
            self._begin_session()
        elif self._counter >= self._counters_per_prefix:
            self._begin_prefix(self._index + 1)
        counter = self._counter
        self._counter += 1
        if self._pid is None:
            return seal_shared(self._key, self._prefix, counter, encode(beat))
        return seal_agent(self._key, self._pid, self._prefix, counter, encode(beat))


class OpenedFrame(msgspec.Struct, frozen=True, gc=False):
    """A beat that was sealed under one of our keys."""

    beat: Beat
    prefix: bytes
    """Of the IV."""
    counter: int
    """Of the IV."""


class KeyringStatistics(msgspec.Struct, frozen=True):
    """Counters of one `Keyring` since its creation."""

    opened: int
    bad_length: int
    aead_attempts: int
    """Keys tried."""
    decrypt_failures: int
    """Datagrams that no key opened, or the key of another pid."""
    bad_frames: int
    """Datagrams that opened and held no legal frame."""
    derived_keys: int
    """Pids whose derived keys are remembered."""


class Keyring:
    """A receiver's side: the keys it knows.

    Each key is tried on each datagram of its form, also after one has opened it: how long it takes does not reveal
    which key it was.

    Args:
        shared: Shared keys, 32 bytes each.
        masters: Master keys, 32 bytes each.

    Raises:
        UsageError: A key has the wrong size.
    """

    def __init__(self, shared: tuple[bytes, ...] = (), masters: tuple[bytes, ...] = ()) -> None:
        self._shared = tuple(ChaCha20Poly1305(_checked(key)) for key in shared)
        self._masters = tuple(_checked(key) for key in masters)
        self._derived: dict[int, tuple[ChaCha20Poly1305, ...]] = {}
        self._opened = self._bad_length = self._bad_frames = self._attempts = self._failures = 0

    def open(self, data: bytes) -> OpenedFrame:
        """Open a datagram and read the frame in it.

        Raises:
            SecureError: It has no valid size, no key opens it, or the frame is of another pid than the key.
            VlpError: It opens, and is no legal frame.
        """
        if len(data) == SHARED_BYTES:
            beat = self._read(self._try(self._shared, data, None))
            opened = OpenedFrame(beat, *_split_iv(data))
        elif len(data) == MASTER_BYTES:
            opened = self._open_agent(data)
        else:
            self._bad_length += 1
            raise SecureError(BAD_LENGTH)
        self._opened += 1
        return opened

    def _open_agent(self, data: bytes) -> OpenedFrame:
        clear, sealed = data[: _PID.size], data[_PID.size :]
        (pid,) = _PID.unpack(clear)
        keys = self._derived.get(pid)
        if keys is None:
            keys = tuple(ChaCha20Poly1305(agent_key(master, pid)) for master in self._masters)
        beat = self._read(self._try(keys, sealed, clear))
        if beat.pid != pid:
            self._failures += 1
            raise SecureError(PID_MISMATCH)
        self._remember(pid, keys)
        return OpenedFrame(beat, *_split_iv(sealed))

    def _read(self, frame: bytes) -> Beat:
        try:
            return decode(frame)
        except VlpError:
            self._bad_frames += 1
            raise

    def _remember(self, pid: int, keys: tuple[ChaCha20Poly1305, ...]) -> None:
        if pid not in self._derived and len(self._derived) >= MAX_DERIVED_KEYS:
            del self._derived[next(iter(self._derived))]
        self._derived[pid] = keys

    def _try(self, keys: tuple[ChaCha20Poly1305, ...], sealed: bytes, clear: bytes | None) -> bytes:
        iv, rest = sealed[:12], sealed[12:]
        frame = None
        for key in keys:
            self._attempts += 1
            try:
                found = key.decrypt(iv, rest, clear)
            except InvalidTag:
                continue
            frame = found if frame is None else frame
        if frame is None:
            self._failures += 1
            raise SecureError(AEAD_FAILURE)
        return frame

    def statistics(self) -> KeyringStatistics:
        """Return the counters as they are now."""
        return KeyringStatistics(
            opened=self._opened,
            bad_length=self._bad_length,
            bad_frames=self._bad_frames,
            aead_attempts=self._attempts,
            decrypt_failures=self._failures,
            derived_keys=len(self._derived),
        )


def _split_iv(sealed: bytes) -> tuple[bytes, int]:
    return sealed[:PREFIX_BYTES], _COUNTER.unpack_from(sealed, PREFIX_BYTES)[0]
