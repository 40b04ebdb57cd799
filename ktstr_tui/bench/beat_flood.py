"""How many beats go through from end to end, from processes that send as fast as they can to the tracker.

Two baselines. A bare ``recvmmsg`` that throws everything away is the most that this machine can receive. A loop over
Python's ``recvmsg`` that stores each nonce in a dict is the least that a program in Python would do. Neither checks
anything.
"""

from __future__ import annotations

import select
import socket
import statistics
import time
from collections.abc import Callable
from typing import Any, Final

import trio

from ktstr_tui._native import ffi, lib
from ktstr_tui.bench.beat_records import take_plainly
from ktstr_tui.bench.beat_senders import SENDERS, THRESHOLD_NS, Senders, open_rules, socket_path
from ktstr_tui.heartbeat.clock import ObserverClock
from ktstr_tui.heartbeat.loop import BeatLoop
from ktstr_tui.heartbeat.observer import BATCH, Observer
from ktstr_tui.heartbeat.sockets import ObserverSocket, queue_length, unix_socket
from ktstr_tui.heartbeat.tracked import Origin

FLOOD_S: Final = 1.0


def measure() -> dict[str, Any]:
    """Let senders beat as fast as they can, three times to each taker, and take the median."""
    results: dict[str, list[float]] = {"ours": [], "plain": [], "bare": []}
    takers: dict[str, Callable[[socket.socket, float], int]] = {
        "bare": _take_bare,
        "ours": _take_ours,
        "plain": _take_plainly,
    }
    for _ in range(3):
        for name, take in takers.items():
            with socket_path() as path, unix_socket(path) as sock:
                senders = Senders(path, SENDERS, per_s=0, seconds=FLOOD_S)
                results[name].append(take(sock, FLOOD_S) / FLOOD_S)
                _discard(sock)
                senders.wait()
    ours, plain, bare = (statistics.median(results[name]) for name in ("ours", "plain", "bare"))
    return {
        "senders": SENDERS,
        "ours_beats_per_s": ours,
        "plain_python_beats_per_s": plain,
        "bare_recvmmsg_per_s": bare,
        "ratio_to_plain_python": ours / plain,
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


def _take_plainly(sock: socket.socket, seconds: float) -> int:
    nonces: dict[int, int] = {}
    taken, end = 0, time.monotonic() + seconds
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    while time.monotonic() < end:
        poller.poll(50)
        batch: list[bytes] = []
        while len(batch) < BATCH:
            try:
                data, _, _, _ = sock.recvmsg(33, 256)
            except BlockingIOError:
                break
            batch.append(data)
        take_plainly(batch, nonces)
        taken += len(batch)
    return taken


def _take_ours(sock: socket.socket, seconds: float) -> int:
    observer = Observer(ObserverClock(time.monotonic_ns), THRESHOLD_NS, open_rules())
    here = ObserverSocket(
        sock, observer, Origin.KERNEL_ATTESTED, credentials=True, queue_length=queue_length()
    )

    async def take() -> None:
        with trio.move_on_after(seconds):
            await BeatLoop([observer], [here]).run()

    trio.run(take)
    return here.statistics().taken
