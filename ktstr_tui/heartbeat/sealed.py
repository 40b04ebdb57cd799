"""Encrypted beats over UDP: opened, held against replay, and then judged like all others.

Decryption proves that somebody with the key made the beat, not which process: the origin stays unverified, and what
recovers or vouches for anything must not rest on it.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Final

from ktstr_tui.heartbeat import events as ob
from ktstr_tui.heartbeat.datagrams import DatagramArray
from ktstr_tui.heartbeat.metrics import SecureCounts
from ktstr_tui.heartbeat.observer import Observer
from ktstr_tui.heartbeat.secure import Admission, SecureSenders
from ktstr_tui.heartbeat.sockets import DatagramStatistics
from ktstr_tui.heartbeat.tracked import Datagram, Origin
from ktstr_tui.model.errors import UsageError
from ktstr_tui.wire.user_file import read_user_text
from ktstr_tui.wire.vlp import VlpError, encode
from ktstr_tui.wire.vlp_secure import MASTER_BYTES, Keyring, SecureError

BATCH: Final = 64
"""Datagrams opened in one go: each costs some microseconds of arithmetic."""
MAX_KEY_FILE_BYTES = 1 << 20
"""Largest key file: 16,384 keys."""


class SecureSocket:
    """A UDP socket for sealed beats.

    Args:
        sock: Bound, not blocking.
        observer: Who takes the beats.
        keys: The keys that open them.
        senders: What keeps a recorded beat from being played again.
    """

    queue_length: int | None = None

    def __init__(
        self, sock: socket.socket, observer: Observer, keys: Keyring, senders: SecureSenders
    ) -> None:
        self.sock = sock
        self._observer = observer
        self._keys = keys
        self._senders = senders
        self._datagrams = DatagramArray(BATCH)
        self._taken = self._io_errors = 0

    def receive(self) -> int:
        """Take what has come, at most `BATCH` datagrams. Returns how many left the socket."""
        self._datagrams.clear()
        taken = 0
        while taken < BATCH:
            try:
                data = self.sock.recv(MASTER_BYTES + 1)
            except BlockingIOError:
                break
            except OSError as error:
                self._io_errors += 1
                now_ns = self._observer.clock.now_ns()
                self._observer.notice(ob.ReceiveFailed(observer_ns=now_ns, error=error.errno or 0))
                break
            taken += 1
            self._open(data)
        self._taken += taken
        self._observer.take(self._datagrams)
        return taken

    def _open(self, data: bytes) -> None:
        now_ns = self._observer.clock.now_ns()
        try:
            opened = self._keys.open(data)
        except (SecureError, VlpError) as error:
            self._observer.notice(ob.DecodeFailed(observer_ns=now_ns, kind=error.kind))
            return
        admission = self._senders.admit(opened, now_ns)
        if admission is not Admission.ACCEPTED:
            reason = admission.value
            self._observer.notice(
                ob.AuthFailed(observer_ns=now_ns, claimed_pid=opened.beat.pid, reason=reason)
            )
            return
        self._datagrams.append(Datagram(encode(opened.beat), Origin.NETWORK_UNVERIFIED))

    def statistics(self) -> DatagramStatistics:
        """Return the counters so far."""
        return DatagramStatistics(
            taken=self._taken,
            control_truncated=0,
            without_credentials=0,
            closed_descriptors=0,
            io_errors=self._io_errors,
        )

    def counts(self) -> SecureCounts:
        """Return what the keys and the replay state have counted."""
        keys, senders = self._keys.statistics(), self._senders.statistics()
        return SecureCounts(
            decrypt_failures=keys.decrypt_failures,
            state_full=senders.state_full,
            aead_attempts=keys.aead_attempts,
            replays_refused=senders.replays_refused,
        )


def open_sealed(
    sock: socket.socket,
    observer: Observer,
    shared_key_file: str | None,
    master_key_file: str | None,
    restart_gap_ns: int,
) -> SecureSocket:
    """Make a receiver with the keys of two files.

    Raises:
        UsageError: A file cannot be read, is readable for others, or holds no key.
    """
    shared = _read_keys(shared_key_file) if shared_key_file else ()
    masters = _read_keys(master_key_file) if master_key_file else ()
    return SecureSocket(
        sock, observer, Keyring(shared, masters), SecureSenders(restart_gap_ns=restart_gap_ns)
    )


def _read_keys(path: str) -> tuple[bytes, ...]:
    text = read_user_text(Path(path), "key file", max_bytes=MAX_KEY_FILE_BYTES)
    try:
        if Path(path).stat().st_mode & 0o077:
            raise UsageError(f"the key file {path} can be read by others", f"chmod 600 {path}")
        keys = tuple(bytes.fromhex(line) for line in text.split())
    except (OSError, ValueError) as error:
        raise UsageError(f"no keys in {path}: {error}", "write 64 hexadecimal digits a line") from error
    if not keys:
        raise UsageError(f"no keys in {path}", "write 64 hexadecimal digits a line")
    return keys
