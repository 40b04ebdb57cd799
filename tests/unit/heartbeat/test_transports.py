"""Sockets: who may send, what they may send along, and what becomes of attacks."""

from __future__ import annotations

import array
import ctypes
import os
import socket
import stat
from pathlib import Path

import pytest

from ktstr_tui.heartbeat.events import (
    AuthFailed,
    BeatHeard,
    ControlTruncated,
    DecodeFailed,
    NamespaceConflicted,
    ObserverEvent,
)
from ktstr_tui.heartbeat.gate import FOREIGN_NAMESPACE, FOREIGN_UID, Rules, own_namespace
from ktstr_tui.heartbeat.sealed import SecureSocket
from ktstr_tui.heartbeat.secure import SecureSenders
from ktstr_tui.heartbeat.sockets import ObserverSocket, udp_socket, unix_socket
from ktstr_tui.heartbeat.tracked import AUTH_FAILURE, Origin
from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.wire.vlp import BAD_LENGTH, Beat, Status
from ktstr_tui.wire.vlp_secure import Keyring, Sealer
from tests.unit.heartbeat.watching import OPEN, Watch, frame, in_child, listening, sender

KEY = bytes(range(32))
STRICT = Rules(max_rate_per_pid=0, max_rate=0, uid=os.getuid(), pid_ns_inode=own_namespace())
CLONE_NEWPID = 0x20000000
NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "b.sock"


def exchange(watch: Watch, path: Path, *datagrams: bytes) -> list[ObserverEvent]:
    """Send datagrams as this process and take them."""
    with listening(watch, path) as here, sender(path) as there:
        for datagram in datagrams:
            there.send(datagram)
            here.receive()
    return watch.observer.take_events()


def test_the_socket_is_private_from_its_first_moment(path: Path) -> None:
    before = os.umask(0)
    try:
        with unix_socket(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)
    assert not path.exists()


def test_a_dead_observers_file_is_replaced_and_a_live_ones_is_not(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(str(path))
    with unix_socket(path), pytest.raises(UsageError, match="another observer"), unix_socket(path):
        pass


def test_what_is_no_socket_is_left_alone(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(UsageError, match="not a socket"), unix_socket(path):
        pass
    assert path.read_text() == "precious"


def test_a_file_that_is_no_longer_ours_is_left_alone(path: Path) -> None:
    with unix_socket(path):
        path.unlink()
        path.write_text("somebody else's")
    assert path.read_text() == "somebody else's"


def test_a_directory_open_to_all_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(HostError, match="every user"), unix_socket(tmp_path / "b.sock"):
        pass


def test_the_kernel_vouches_for_the_sender(path: Path) -> None:
    watch = Watch(STRICT, each_beat=True)
    (event,) = exchange(watch, path, frame(nonce=1))
    assert isinstance(event, BeatHeard)
    assert event.origin is Origin.KERNEL_ATTESTED
    (row,) = watch.observer.rows(9)
    assert (row.pid, row.pid_ns_inode) == (os.getpid(), own_namespace())
    started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    assert row.generation == int(started)


def test_many_datagrams_in_one_wake(path: Path) -> None:
    watch = Watch(STRICT)
    with listening(watch, path) as here, sender(path) as there:
        for nonce in range(1, 10):
            there.send(frame(nonce=nonce))
        assert here.receive() == 9
        assert here.receive() == 0
    (row,) = watch.observer.rows(9)
    assert (row.beats, row.nonce, row.nonce_gaps) == (9, 9, 0)


def test_a_spoofed_pid_is_an_auth_failure(path: Path) -> None:
    watch = Watch(STRICT)
    (event,) = exchange(watch, path, frame(pid=1234))
    assert event == AuthFailed(
        observer_ns=0,
        claimed_pid=1234,
        sender_pid=os.getpid(),
        sender_uid=os.getuid(),
        reason="pid",
    )
    assert watch.observer.statistics().gate.errors[AUTH_FAILURE] == 1
    assert watch.observer.rows(9) == []


def test_another_user_is_refused_whatever_he_says(path: Path) -> None:
    watch = Watch(STRICT)
    with listening(watch, path) as here, sender(path) as there:

        def beat_as_nobody() -> None:
            os.setuid(NOBODY)
            there.send(frame(nonce=1))
            there.send(b"garbage")

        child = in_child(beat_as_nobody)
        here.receive()
    first, second = watch.observer.take_events()
    assert isinstance(first, AuthFailed)
    assert (first.claimed_pid, first.sender_pid, first.sender_uid, first.reason) == (
        child,
        child,
        NOBODY,
        "uid",
    )
    assert isinstance(second, AuthFailed)
    assert watch.observer.statistics().gate.errors[FOREIGN_UID] == 2
    assert watch.observer.rows(9) == []


def test_a_foreign_pid_namespace_is_refused(path: Path) -> None:
    watch = Watch(STRICT)
    libc = ctypes.CDLL(None, use_errno=True)
    with listening(watch, path) as here, sender(path) as there:
        go, told = os.pipe(), os.pipe()

        def parent() -> None:
            assert libc.unshare(CLONE_NEWPID) == 0, os.strerror(ctypes.get_errno())
            inner = os.fork()
            if inner == 0:
                # Inside its pid is 1; it claims the one that the world outside knows it by.
                outer = int.from_bytes(os.read(go[0], 4), "little")
                there.send(frame(pid=outer))
                os.read(told[0], 1)  # stay alive until /proc was read
                os._exit(0)
            os.write(go[1], inner.to_bytes(4, "little"))
            os.waitpid(inner, 0)

        pid = os.fork()
        if pid == 0:
            try:
                parent()
            finally:
                os._exit(0)
        here.sock.setblocking(True)
        here.sock.recv(1, socket.MSG_PEEK)
        here.sock.setblocking(False)
        here.receive()
        os.write(told[1], b"x")
        os.waitpid(pid, 0)
        for fd in (*go, *told):
            os.close(fd)
    (event,) = watch.observer.take_events()
    assert isinstance(event, NamespaceConflicted)
    assert event.observer == own_namespace()
    assert event.observed not in (None, own_namespace())
    assert watch.observer.statistics().gate.errors[FOREIGN_NAMESPACE] == 1
    assert watch.observer.rows(9) == []


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64, 4096])
def test_datagrams_of_another_size_are_no_beats(path: Path, size: int) -> None:
    watch = Watch(STRICT)
    (event,) = exchange(watch, path, (frame(nonce=1) * 200)[:size])
    assert event == DecodeFailed(observer_ns=0, kind=BAD_LENGTH, sender_pid=os.getpid())
    assert watch.observer.statistics().gate.errors[BAD_LENGTH] == 1
    assert watch.observer.rows(9) == []


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_received_descriptors_are_closed(path: Path) -> None:
    watch = Watch(STRICT)
    with listening(watch, path) as here, sender(path) as there, open("/dev/null") as null:
        before = open_descriptors()
        for nonce in range(1, 6):
            socket.send_fds(there, [frame(nonce=nonce)], [null.fileno()] * 3)
        here.receive()
        assert open_descriptors() == before
    assert here.statistics().closed_descriptors == 15
    (row,) = watch.observer.rows(9)
    assert row.beats == 5, "the beats themselves were in order"


def test_too_many_descriptors_are_never_opened_and_the_datagram_is_dropped(path: Path) -> None:
    watch = Watch(STRICT)
    with listening(watch, path) as here, sender(path) as there, open("/dev/null") as null:
        before = open_descriptors()
        there.sendmsg(
            [frame(nonce=1)],
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null.fileno()] * 200))],
        )
        there.send(frame(nonce=2))
        assert here.receive() == 2, "a dropped datagram was taken as well"
        assert open_descriptors() == before
    assert watch.observer.take_events() == [ControlTruncated(observer_ns=0, count=1)]
    assert here.statistics().control_truncated == 1
    (row,) = watch.observer.rows(9)
    assert (row.beats, row.nonce) == (1, 2)


def test_a_process_under_an_old_pid_is_another_process(path: Path) -> None:
    watch = Watch(Rules(max_rate_per_pid=0, max_rate=0, pid_ns_inode=own_namespace(), identity_ttl_ns=0))
    exchange(watch, path, frame(nonce=900))
    row = watch.observer.tracker.get(os.getpid())
    assert row is not None
    # The same pid with another start time, as the observer would have remembered a predecessor.
    watch.observer.tracker.forget(os.getpid())
    watch.observer.tracker.record(
        Beat(Status.OK, os.getpid(), 1, 900), 0, 1, Origin.KERNEL_ATTESTED, row.pid_ns_inode, 1
    )
    exchange(watch, path, frame(nonce=1))
    assert watch.observer.statistics().tracker.pid_recycles == 1


def test_proc_is_not_read_for_every_beat(path: Path) -> None:
    watch = Watch(STRICT)
    with listening(watch, path) as here, sender(path) as there:
        for nonce in range(1, 101):
            there.send(frame(nonce=nonce))
            here.receive()
            watch.pass_ms(1)
        assert watch.observer.statistics().gate.lookups == 1, "at first sight"
        watch.pass_ms(1000)
        there.send(frame(nonce=101))
        here.receive()
        assert watch.observer.statistics().gate.lookups == 2
        for _ in range(50):
            there.send(frame(nonce=5))
            here.receive()
            watch.pass_ms(1)
    assert watch.observer.statistics().gate.lookups <= 2 + 5, "a repeated beat makes nobody live in /proc"


def test_udp_vouches_for_nobody(tmp_path: Path) -> None:
    watch = Watch(OPEN, each_beat=True)
    with udp_socket(("127.0.0.1", 0)) as sock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        here = ObserverSocket(sock, watch.observer, Origin.NETWORK_UNVERIFIED, credentials=False)
        there.connect(sock.getsockname())
        there.send(frame(pid=1234))
        there.send(b"x" * 40)
        assert here.receive() == 2
    beat, bad = watch.observer.take_events()
    assert isinstance(beat, BeatHeard)
    assert beat.origin is Origin.NETWORK_UNVERIFIED
    assert bad == DecodeFailed(observer_ns=0, kind=BAD_LENGTH, sender_pid=None)


def test_udp_stays_on_this_machine_unless_asked() -> None:
    with pytest.raises(UsageError, match="other machines"):
        udp_socket(("0.0.0.0", 0))
    udp_socket(("0.0.0.0", 0), loopback_only=False).close()
    with pytest.raises(HostError):
        udp_socket(("127.0.0.1", 1 << 16))


def test_sealed_beats_are_opened_and_replays_refused() -> None:
    watch = Watch(OPEN)
    with udp_socket(("127.0.0.1", 0)) as sock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        here = SecureSocket(sock, watch.observer, Keyring((KEY,)), SecureSenders())
        there.connect(sock.getsockname())
        sealer = Sealer(KEY)
        first, second = (sealer.seal(Beat(Status.OK, 77, nonce, nonce)) for nonce in (1, 2))
        forged = bytearray(second)
        forged[20] ^= 1
        for datagram in (first, second, first, bytes(forged), b"short", frame(pid=78)):
            there.send(datagram)
        assert here.receive() == 6
    replay, aead, short, plain = watch.observer.take_events()
    assert replay == AuthFailed(observer_ns=0, claimed_pid=77, reason="replay")
    assert aead == DecodeFailed(observer_ns=0, kind="AeadFailure")
    assert short == plain == DecodeFailed(observer_ns=0, kind=BAD_LENGTH)
    counts = here.counts()
    assert (counts.replays_refused, counts.decrypt_failures) == (1, 1)
    (row,) = watch.observer.rows(9)
    assert (row.pid, row.nonce, row.origin) == (77, 2, Origin.NETWORK_UNVERIFIED)
