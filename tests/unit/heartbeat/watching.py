"""An observer under a clock that is set by hand, and sockets to beat to."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ktstr_tui.heartbeat.clock import ObserverClock
from ktstr_tui.heartbeat.events import ObserverEvent
from ktstr_tui.heartbeat.gate import Rules
from ktstr_tui.heartbeat.observer import Observer
from ktstr_tui.heartbeat.sockets import ObserverSocket, unix_socket
from ktstr_tui.heartbeat.tracked import Origin
from ktstr_tui.wire.vlp import Beat, Status, encode

MS = 1_000_000
THRESHOLD_NS = 1_000 * MS
OPEN = Rules(max_rate_per_pid=0, max_rate=0)


class Watch:
    """An observer whose time is moved by the test."""

    def __init__(self, rules: Rules = OPEN, capacity: int = 256, each_beat: bool = False) -> None:
        self.now_ns = 0
        clock = ObserverClock(lambda: self.now_ns, max_step_ns=1 << 62)
        self.observer = Observer(clock, THRESHOLD_NS, rules, capacity=capacity, each_beat=each_beat)

    def pass_ms(self, ms: float) -> None:
        self.now_ns += int(ms * MS)

    def look(self) -> list[ObserverEvent]:
        self.observer.look()
        return self.observer.take_events()

    def guest(self, *frames: bytes) -> list[ObserverEvent]:
        """Frames of the guest's port."""
        self.observer.take_frames(b"".join(frames), Origin.HYPERVISOR_ATTESTED)
        return self.observer.take_events()


def frame(
    pid: int = 0, nonce: int = 1, status: Status = Status.OK, timestamp: int = 5, payload: int = 0
) -> bytes:
    """A frame, of this process unless told otherwise."""
    return encode(Beat(status, pid or os.getpid(), timestamp, nonce, payload))


@contextmanager
def listening(watch: Watch, path: Path) -> Iterator[ObserverSocket]:
    """A Unix socket of the observer."""
    with unix_socket(path) as sock:
        yield ObserverSocket(sock, watch.observer, Origin.KERNEL_ATTESTED, credentials=True)


@contextmanager
def sender(path: Path) -> Iterator[socket.socket]:
    """A socket connected to an observer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(str(path))
        yield sock


def in_child(action: Callable[[], None]) -> int:
    """Run something in a forked child; returns its pid after it has ended well."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert status == 0
    return pid
