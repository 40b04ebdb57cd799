"""How fast beats are taken, against the tracker's twin in Python and against a loop that looks at nothing.

Three questions, each answered with its baseline in the same run. What does one record cost: the tracker in C, the
same behind the gate, and the twin. How many beats go through from end to end, from processes that send as fast as
they are let to the tracker: our loop, the twin behind Python's ``recvmsg``, and a bare ``recvmmsg`` that throws
everything away. And the load that must be borne: 64 senders at 200,000 beats a second, with 4096 senders tracked.

On Linux at most ``net.unix.max_dgram_qlen`` datagrams wait in a Unix socket. What does not fit the kernel refuses,
and the senders count it; the receiver must have lost nothing of what it accepted.
"""

from __future__ import annotations

import array
import os
import select
import socket
import statistics
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import trio

from ktstr_tui._native import ffi, lib
from ktstr_tui.heartbeat.clock import ObserverClock
from ktstr_tui.heartbeat.datagrams import DatagramArray
from ktstr_tui.heartbeat.gate import Gate, Rules, own_namespace
from ktstr_tui.heartbeat.loop import BeatLoop
from ktstr_tui.heartbeat.metrics import observer_values, summed
from ktstr_tui.heartbeat.observer import BATCH, Observer
from ktstr_tui.heartbeat.sockets import ObserverSocket, queue_length, unix_socket
from ktstr_tui.heartbeat.tracked import Datagram, Origin
from ktstr_tui.heartbeat.tracker import Tracker
from ktstr_tui.model.beats import MAX_ROWS
from ktstr_tui.text.output import say
from ktstr_tui.wire.vlp import Beat, Status, encode
from tests.oracles.tracker import PyTracker

SENDERS: Final = 64
TARGET_PER_S: Final = 200_000
TRACKED: Final = 4096
GOAL_TICK_MS: Final = 5.0
RECORD_ROUNDS: Final = 9
FLOOD_S: Final = 1.0
PERIOD_NS: Final = 4_000_000
"""Time between two bursts of one sender."""
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_COUNTS: Final = struct.Struct("<4Q")
_THRESHOLD_NS: Final = 3600 * 10**9
_OPEN: Final = Rules(max_rate_per_pid=0, max_rate=0)


def run(seconds: int | None) -> dict[str, Any]:
    """All figures; ``seconds`` is how long the load is borne (20 for the figures of record)."""
    records = _records()
    say("records measured")
    flood = _flood()
    say("end to end measured")
    load = _load(seconds or 5)
    return {
        "bench": "beats",
        "max_dgram_qlen": queue_length(),
        "cpus": os.cpu_count(),
        "record": records,
        "end_to_end": flood,
        "load": load,
    }


# -- one record --------------------------------------------------------------------------------------------


def _arrays(count: int) -> list[DatagramArray]:
    """Beats of `SENDERS` pids with growing nonces."""
    arrays = []
    for number in range(count):
        datagrams = DatagramArray(BATCH)
        for place in range(BATCH):
            sent = number * BATCH + place
            beat = Beat(Status.OK, 2 + sent % SENDERS, sent, 1 + sent // SENDERS)
            datagrams.append(Datagram(encode(beat), Origin.KERNEL_ATTESTED))
        arrays.append(datagrams)
    return arrays


def _records() -> dict[str, Any]:
    arrays = _arrays(16)
    values = [datagram for datagrams in arrays[:2] for datagram in datagrams]
    own: list[float] = []
    gated: list[float] = []
    twin: list[float] = []
    for _ in range(RECORD_ROUNDS):
        own.append(_record_c(arrays))
        gated.append(_record_gated(arrays))
        twin.append(_record_twin(values))
    return {
        "senders": SENDERS,
        "c_ns": statistics.median(own),
        "c_with_gate_ns": statistics.median(gated),
        "python_ns": statistics.median(twin),
        "ratio": statistics.median(twin) / statistics.median(own),
    }


def _record_c(arrays: list[DatagramArray]) -> float:
    tracker = Tracker()
    start = time.perf_counter_ns()
    for datagrams in arrays:
        tracker.record_array(datagrams, 1, _THRESHOLD_NS)
    return (time.perf_counter_ns() - start) / (len(arrays) * BATCH)


def _record_gated(arrays: list[DatagramArray]) -> float:
    tracker, gate = Tracker(), Gate(_OPEN, BATCH)
    start = time.perf_counter_ns()
    for datagrams in arrays:
        gate.let_through(tracker, datagrams, 1, _THRESHOLD_NS, 16)
    return (time.perf_counter_ns() - start) / (len(arrays) * BATCH)


def _record_twin(values: list[Datagram]) -> float:
    tracker = PyTracker()
    start = time.perf_counter_ns()
    tracker.record_batch(values, 1, _THRESHOLD_NS)
    return (time.perf_counter_ns() - start) / len(values)


# -- senders -----------------------------------------------------------------------------------------------


class _Senders:
    """Processes that beat to a socket."""

    def __init__(self, path: Path, count: int, *, per_s: float, seconds: float) -> None:
        self._count = count
        self._read_fd, write_fd = os.pipe()
        self._pids = [self._start(path, write_fd, per_s / count, seconds) for _ in range(count)]
        os.close(write_fd)

    def _start(self, path: Path, write_fd: int, per_s: float, seconds: float) -> int:
        pid = os.fork()
        if pid:
            return pid
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.connect(str(path))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 200_000))
                sent = ffi.new("struct ktr_sent *")
                burst = max(1, round(per_s * PERIOD_NS / 1e9)) if per_s else 16
                period_ns = int(burst * 1e9 / per_s) if per_s else 0
                lib.ktr_send_beats(
                    sock.fileno(), os.getpid(), period_ns, burst, int(seconds * 1e9), not per_s, sent
                )
                os.write(write_fd, _COUNTS.pack(sent.sent, sent.refused, sent.failed, sent.last_nonce))
        finally:
            os._exit(0)

    @property
    def finished_fd(self) -> int:
        """Readable when a sender has told its counts."""
        return self._read_fd

    def wait(self) -> dict[str, int]:
        """What they sent, when all have ended."""
        for pid in self._pids:
            os.waitpid(pid, 0)
        data = b""
        while part := os.read(self._read_fd, 65536):
            data += part
        os.close(self._read_fd)
        rows = list(_COUNTS.iter_unpack(data))
        return {
            "sent": sum(row[0] for row in rows),
            "refused_by_kernel": sum(row[1] for row in rows),
            "failed": sum(row[2] for row in rows) + self._count - len(rows),
        }


@contextmanager
def _socket_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ktstr-beats-") as name:
        yield Path(name) / "beats.sock"


# -- end to end --------------------------------------------------------------------------------------------


def _flood() -> dict[str, Any]:
    results: dict[str, list[float]] = {"ours": [], "python": [], "bare": []}
    takers: dict[str, Callable[[socket.socket, float], int]] = {
        "bare": _take_bare,
        "ours": _take_ours,
        "python": _take_python,
    }
    for _ in range(3):
        for name, take in takers.items():
            with _socket_path() as path, unix_socket(path) as sock:
                senders = _Senders(path, SENDERS, per_s=0, seconds=FLOOD_S)
                results[name].append(take(sock, FLOOD_S) / FLOOD_S)
                _discard(sock)
                senders.wait()
    ours, python, bare = (statistics.median(results[name]) for name in ("ours", "python", "bare"))
    return {
        "senders": SENDERS,
        "ours_beats_per_s": ours,
        "python_beats_per_s": python,
        "bare_recvmmsg_per_s": bare,
        "ratio_to_python": ours / python,
        "ratio_to_bare": ours / bare,
    }


def _discard(sock: socket.socket) -> None:
    """Let senders that wait for room go on to their end."""
    receiver = ffi.gc(lib.ktr_receiver_create(), lib.ktr_receiver_destroy)
    quiet_at = time.monotonic() + 0.5
    while time.monotonic() < quiet_at:
        if lib.ktr_receive_bare(receiver, sock.fileno(), BATCH):
            quiet_at = time.monotonic() + 0.1
        else:
            time.sleep(0.001)


def _take_bare(sock: socket.socket, seconds: float) -> int:
    receiver = ffi.gc(lib.ktr_receiver_create(), lib.ktr_receiver_destroy)
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    taken, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        poller.poll(50)
        taken += lib.ktr_receive_bare(receiver, sock.fileno(), BATCH)
    return taken


def _take_python(sock: socket.socket, seconds: float) -> int:
    tracker, taken, end = PyTracker(), 0, time.monotonic() + seconds
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    creds = struct.Struct("3i")
    while time.monotonic() < end:
        poller.poll(50)
        batch: list[Datagram] = []
        while len(batch) < BATCH:
            try:
                data, control, _, _ = sock.recvmsg(33, 256)
            except BlockingIOError:
                break
            pid = creds.unpack(control[0][2])[0] if control else None
            batch.append(Datagram(data, Origin.KERNEL_ATTESTED, peer_pid=pid))
        tracker.record_batch(batch, time.monotonic_ns(), _THRESHOLD_NS)
        taken += len(batch)
    return taken


def _rules() -> Rules:
    return Rules(max_rate_per_pid=0, max_rate=0, uid=os.getuid(), pid_ns_inode=own_namespace())


def _take_ours(sock: socket.socket, seconds: float) -> int:
    observer = Observer(ObserverClock(time.monotonic_ns), _THRESHOLD_NS, _rules())
    here = ObserverSocket(
        sock, observer, Origin.KERNEL_ATTESTED, credentials=True, queue_length=queue_length()
    )

    async def take() -> None:
        with trio.move_on_after(seconds):
            await BeatLoop([observer], [here]).run()

    trio.run(take)
    return here.statistics().taken


# -- the load ----------------------------------------------------------------------------------------------


class _TimedLoop(BeatLoop):
    """Keeps how long each look took."""

    def __init__(self, *args: Any, **more: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **more)
        self.looks_ms = array.array("d")

    async def look(self) -> None:
        start = time.perf_counter_ns()
        await super().look()
        self.looks_ms.append((time.perf_counter_ns() - start) / 1e6)


def _load(seconds: int) -> dict[str, Any]:
    observer = Observer(
        ObserverClock(time.monotonic_ns), _THRESHOLD_NS, _rules(), capacity=TRACKED, eviction="balanced"
    )
    idle = b"".join(
        encode(Beat(Status.OK, pid, 1, 1)) for pid in range(4_000_000, 4_000_000 + TRACKED - SENDERS)
    )
    observer.take_frames(idle, Origin.HYPERVISOR_ATTESTED)
    with _socket_path() as path, unix_socket(path) as sock:
        here = ObserverSocket(
            sock, observer, Origin.KERNEL_ATTESTED, credentials=True, queue_length=queue_length()
        )
        told = [0]

        def tell() -> None:
            # As a run does twice a second.
            told[0] += 1
            if told[0] % 10 == 0:
                observer.rows(MAX_ROWS)
                summed(observer_values("host", observer.statistics(), [here.statistics()]))

        loop = _TimedLoop([observer], [here], after_look=tell)
        senders = _Senders(path, SENDERS, per_s=TARGET_PER_S, seconds=seconds)
        resident = trio.run(_bear, loop, seconds)
        counts = senders.wait()
        loop.drain()
    return _load_figures(observer, here, loop, counts, resident, seconds)


async def _bear(loop: BeatLoop, seconds: int) -> list[int]:
    """Run the loop and note the resident memory every quarter of the time."""
    resident = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.run)
        for _ in range(4):
            await trio.sleep((seconds + 1) / 4)
            resident.append(_resident_bytes())
        nursery.cancel_scope.cancel()
    return resident


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def _load_figures(
    observer: Observer,
    here: ObserverSocket,
    loop: _TimedLoop,
    counts: dict[str, int],
    resident: list[int],
    seconds: int,
) -> dict[str, Any]:
    stats, looks = observer.statistics(), sorted(loop.looks_ms)
    accepted = stats.tracker.refreshed + stats.tracker.inserted - (TRACKED - SENDERS)
    p99 = looks[min(len(looks) - 1, int(len(looks) * 0.99))]
    lost = counts["sent"] - accepted
    return {
        "senders": SENDERS,
        "seconds": seconds,
        "tracked": len(observer.tracker),
        "target_per_s": TARGET_PER_S,
        "offered_per_s": (counts["sent"] + counts["refused_by_kernel"]) / seconds,
        "accepted_per_s": accepted / seconds,
        **counts,
        "received": here.statistics().taken,
        "accepted": accepted,
        "lost_by_receiver": lost,
        "nonce_gaps": sum(row.nonce_gaps for row in observer.tracker.rows()),
        "looks": len(looks),
        "look_p50_ms": statistics.median(looks),
        "look_p99_ms": p99,
        "goal_look_p99_ms": GOAL_TICK_MS,
        "resident_bytes": resident,
        "met": lost == 0 and p99 <= GOAL_TICK_MS,
    }
