"""Sockets that receive beats, and how they are opened so that no other process gets in between.

A Unix datagram socket says of each datagram which process sent it, in the kernel's own words. Its file is made with
mode 0600 by the umask, not by a later chmod, so there is no moment in which others could connect. A file left by an
observer that died is replaced, one of an observer that lives is not; and at the end a file is removed only while it
is still ours.

On Linux the receiver's buffer size means nothing for Unix datagrams: what waits is bounded by
``net.unix.max_dgram_qlen`` (10 by default), read when the socket is made. Senders beyond that get EAGAIN, and it is
they who must count it. `ObserverSocket.queue_length` says what holds.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from ktstr_tui._native import ffi, lib
from ktstr_tui.heartbeat import events as ob
from ktstr_tui.heartbeat.datagrams import DatagramArray
from ktstr_tui.heartbeat.observer import BATCH, Observer
from ktstr_tui.heartbeat.tracked import Origin
from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.wire.whole_file import sync_directory

QUEUE_LENGTH_FILE: Final = Path("/proc/sys/net/unix/max_dgram_qlen")
UDP_BUFFER_BYTES: Final = 1 << 20


class DatagramStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of one socket since it was opened."""

    taken: int
    """Datagrams that left the socket, of use or not."""
    control_truncated: int
    """Dropped, because they carried more file descriptors than there is room for."""
    without_credentials: int
    closed_descriptors: int
    """File descriptors that came with datagrams."""
    io_errors: int


class ObserverSocket:
    """A socket whose datagrams go to an observer, many at a time.

    Args:
        sock: A bound datagram socket, not blocking.
        observer: Who takes them.
        origin: What the transport proves of senders.
        credentials: Whether the kernel says who sent a datagram.
        queue_length: Datagrams that may wait, if that is bounded by number.
    """

    def __init__(
        self,
        sock: socket.socket,
        observer: Observer,
        origin: Origin,
        *,
        credentials: bool,
        queue_length: int | None = None,
    ) -> None:
        self.sock = sock
        self.queue_length = queue_length
        self.observer = observer
        """Who takes the datagrams."""
        self._origin = origin
        self._credentials = credentials
        self._datagrams = DatagramArray(BATCH)
        self._receiver = ffi.gc(lib.ktr_receiver_create(), lib.ktr_receiver_destroy)
        self._received = ffi.new("struct ktr_received *")
        self._taken = self._truncated = self._anonymous = self._descriptors = self._io_errors = 0

    def receive(self) -> int:
        """Take what has come, at most `BATCH` datagrams, without waiting.

        Returns:
            How many left the socket, of use or not: while it is not 0, more may be there.
        """
        received, datagrams = self._received, self._datagrams
        lib.ktr_receive(
            self._receiver,
            self.sock.fileno(),
            self._credentials,
            self._origin,
            datagrams.handle,
            BATCH,
            received,
        )
        datagrams.count = received.count
        taken = int(received.taken)
        self._taken += taken
        self._anonymous += received.without_credentials
        self._descriptors += received.closed_descriptors
        self.observer.take(datagrams)
        if received.control_truncated:
            self._truncated += received.control_truncated
            now_ns, count = self.observer.clock.now_ns(), int(received.control_truncated)
            self.observer.notice(ob.ControlTruncated(observer_ns=now_ns, count=count))
        if received.error:
            self._io_errors += 1
            now_ns, error = self.observer.clock.now_ns(), int(received.error)
            self.observer.notice(ob.ReceiveFailed(observer_ns=now_ns, error=error))
        return taken

    def statistics(self) -> DatagramStatistics:
        """Return the counters so far."""
        return DatagramStatistics(
            taken=self._taken,
            control_truncated=self._truncated,
            without_credentials=self._anonymous,
            closed_descriptors=self._descriptors,
            io_errors=self._io_errors,
        )


@contextmanager
def unix_socket(path: Path) -> Iterator[socket.socket]:
    """Bind a Unix datagram socket with senders' credentials; remove its file at the end if it is still ours.

    Raises:
        UsageError: Another observer listens there, or something that is no socket has that name.
        HostError: The directory is not fit, or the socket cannot be made.
    """
    _check_directory(path.parent)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        _bind(sock, path)
        mine = path.stat()
        try:
            yield sock
        finally:
            _unlink_ours(path, mine)
    finally:
        sock.close()


def _check_directory(directory: Path) -> None:
    try:
        found = directory.stat()
    except OSError as error:
        raise HostError(f"cannot put a socket into {directory}: {error.strerror}") from error
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise HostError(
            f"every user can replace files in {directory}", "use a directory that only you can write to"
        )


def _bind(sock: socket.socket, path: Path) -> None:
    for last in (False, True):
        before = os.umask(0o177)
        try:
            sock.bind(str(path))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or last:
                raise HostError(f"cannot listen at {path}: {error.strerror}") from error
        else:
            _sync_directory(path.parent)
            return
        finally:
            os.umask(before)
        _remove_stale(path)


def _remove_stale(path: Path) -> None:
    """Remove the socket file of an observer that is gone."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise UsageError(f"{path} exists and is not a socket", "move it away, or name another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            raise HostError(f"cannot find out who listens at {path}: {error.strerror}") from error
    raise UsageError(f"another observer listens at {path}", "stop it, or name another path")


def _sync_directory(directory: Path) -> None:
    try:
        sync_directory(directory)
    except OSError as error:
        # Not every file system can; the socket works all the same.
        if error.errno not in (errno.EINVAL, errno.EROFS):
            raise


def _unlink_ours(path: Path, mine: os.stat_result) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino):
        path.unlink(missing_ok=True)


def queue_length(path: Path = QUEUE_LENGTH_FILE) -> int | None:
    """Read how many datagrams may wait in a Unix socket made now; None when the kernel does not show it."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def udp_socket(address: tuple[str, int], *, loopback_only: bool = True) -> socket.socket:
    """Bind a UDP socket.

    Args:
        address: Host (as a number) and port; port 0 takes a free one.
        loopback_only: Refuse addresses that other machines can reach.

    Raises:
        UsageError: The address is not one of this machine's own, or not loopback where that is asked.
        HostError: It cannot be used.
    """
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if loopback_only and not (host == "::1" or host.startswith("127.")):
        raise UsageError(
            f"{host} can be reached by other machines, and nothing proves who sends",
            "name 127.0.0.1 or ::1, or allow heartbeats from the network explicitly",
        )
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UDP_BUFFER_BYTES)
        sock.bind((host, port))
    except (OSError, OverflowError, UnicodeError) as error:
        sock.close()
        raise HostError(f"cannot listen at {host} port {port}: {error}") from error
    return sock
