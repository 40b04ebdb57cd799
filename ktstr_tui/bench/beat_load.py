"""The load that must be borne: 64 senders at 200,000 beats a second, with 4096 senders tracked."""

from __future__ import annotations

import array
import os
import statistics
import time
from pathlib import Path
from typing import Any, Final

import trio

from ktstr_tui.bench.beat_senders import SENDERS, THRESHOLD_NS, Senders, open_rules, socket_path
from ktstr_tui.heartbeat.clock import ObserverClock
from ktstr_tui.heartbeat.loop import BeatLoop
from ktstr_tui.heartbeat.metrics import observer_values, summed
from ktstr_tui.heartbeat.observer import Observer
from ktstr_tui.heartbeat.sockets import ObserverSocket, queue_length, unix_socket
from ktstr_tui.heartbeat.tracked import Origin
from ktstr_tui.model.beats import MAX_ROWS
from ktstr_tui.wire.vlp import Beat, Status, encode

TARGET_PER_S: Final = 200_000
TRACKED: Final = 4096
GOAL_TICK_MS: Final = 5.0
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class _TimedLoop(BeatLoop):
    """Keeps how long each look took."""

    def __init__(self, *args: Any, **more: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **more)
        self.looks_ms = array.array("d")

    async def look(self) -> None:
        start = time.perf_counter_ns()
        await super().look()
        self.looks_ms.append((time.perf_counter_ns() - start) / 1e6)


def measure(seconds: int) -> dict[str, Any]:
    """Bear the load for so many seconds."""
    observer = Observer(
        ObserverClock(time.monotonic_ns), THRESHOLD_NS, open_rules(), capacity=TRACKED, eviction="balanced"
    )
    idle = b"".join(
        encode(Beat(Status.OK, pid, 1, 1)) for pid in range(4_000_000, 4_000_000 + TRACKED - SENDERS)
    )
    observer.take_frames(idle, Origin.HYPERVISOR_ATTESTED)
    with socket_path() as path, unix_socket(path) as sock:
        here = ObserverSocket(
            sock, observer, Origin.KERNEL_ATTESTED, credentials=True, queue_length=queue_length()
        )
        looks = [0]

        def publish() -> None:
            # As a run does twice a second.
            looks[0] += 1
            if looks[0] % 10 == 0:
                observer.rows(MAX_ROWS)
                summed(observer_values("host", observer.statistics(), [here.statistics()]))

        loop = _TimedLoop([observer], [here], after_look=publish)
        senders = Senders(path, SENDERS, per_s=TARGET_PER_S, seconds=seconds)
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
