"""``bench store``: what snapshots cost.

Beside each figure is what the host takes for the least that could do: packing the raw memory with zstd in one piece,
copying it, stopping the guest and letting it run. All of it on the memory of the same guest, in turns.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import trio
import zstandard

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.live import LiveGuest
from ktstr_tui.backend.prepare import prepare
from ktstr_tui.bench.guest import live_guest, summary
from ktstr_tui.guest.ram import copy_data, data_ranges
from ktstr_tui.link.stream import Stream
from ktstr_tui.memory.shot import MemoryShot, StateOfStop
from ktstr_tui.model.control import TakeCapture
from ktstr_tui.model.errors import GuestError
from ktstr_tui.model.events import Event
from ktstr_tui.model.snapshot_events import SnapshotStored
from ktstr_tui.text.output import say

GOAL_SECOND_SHARE: Final = 0.05
SETTLE_S: Final = 2.0
"""Before the first snapshot, so that the guest has come to rest."""
CONFIG: Final = RunConfig(scenario="idle", sample_hz=0)


def bench_store(rounds: int) -> dict[str, Any]:
    """Measure the pause, the time and the disk of snapshots."""
    return trio.run(_store, rounds)


async def _store(rounds: int) -> dict[str, Any]:
    async with live_guest(CONFIG, await prepare(CONFIG, say)) as (guest, stream):
        await trio.sleep(SETTLE_S)
        least = await trio.to_thread.run_sync(floors, guest.machine.ram_fds)
        taken = [await snapshot(guest, stream) for _ in range(rounds + 1)]
        unprepared_us = [await _unprepared(guest) for _ in range(rounds)]
        bare_us = [(await guest.coordinator.bare_pause()).total_us for _ in range(10 * rounds)]
    first, others = taken[0], taken[1:]
    pauses = summary([pause_us for _, pause_us in others])
    second = summary([event.new_bytes for event, _ in others])
    return {
        "pages": first[0].pages,
        "first": {
            "bytes": first[0].new_bytes,
            "of_raw_zstd": first[0].new_bytes / least["raw_zstd_bytes"],
            "ms": first[0].took_ms,
            "ms_of_raw_zstd": first[0].took_ms / least["raw_zstd_ms"],
        },
        "second": {
            "bytes": second,
            "of_first": second["p50"] / first[0].new_bytes,
            "goal_of_first": GOAL_SECOND_SHARE,
            "ms": summary([event.took_ms for event, _ in others]),
        },
        "pause_us": pauses,
        "pause_without_copy_before_us": summary(unprepared_us),
        "bare_pause_us": summary(bare_us),
        "pause_of_plain_copy": pauses["p50"] / 1e3 / least["plain_copy_ms"],
        "floors": least,
    }


async def snapshot(guest: LiveGuest, stream: Stream) -> tuple[SnapshotStored, float]:
    """Take a snapshot; returns what was told of it, and the pause in microseconds."""
    events: list[SnapshotStored] = []

    def hear(event: Event, data: bytes) -> None:
        if isinstance(event, SnapshotStored):
            events.append(event)

    stream.add_sink(hear)
    try:
        saved, _ = await guest.snapshots.capture(TakeCapture(trigger="on-demand"))
    finally:
        stream.remove_sink(hear)
    pause = saved.report.pause
    if not events or events[0].problem or pause is None or pause.snapshot_us is None:
        raise GuestError(f"no snapshot: {events[0].problem if events else 'nothing was said'}")
    return events[0], pause.snapshot_us


async def _unprepared(guest: LiveGuest) -> float:
    """The pause of a snapshot whose RAM is copied in the stop alone, in microseconds."""
    with tempfile.TemporaryDirectory() as directory:
        shot = MemoryShot(guest.machine, Path(directory))

        async def take(tag: str) -> None:
            await shot.take(StateOfStop(), None)

        saved = await guest.coordinator.capture_and_save("on-demand", also=take)
        shot.close()
    pause = saved.report.pause
    if shot.problem is not None or pause is None or pause.snapshot_us is None:
        raise GuestError(f"no snapshot: {shot.problem or 'nothing was measured'}")
    return pause.snapshot_us


def floors(ram_fds: tuple[int, ...]) -> dict[str, float]:
    """What the host takes to pack and to copy the memory of a guest."""
    raw = bytearray()
    for fd in ram_fds:
        for start, stop in data_ranges(fd):
            raw += os.pread(fd, stop - start, start)
    began_s = time.perf_counter()
    packed = zstandard.ZstdCompressor(level=1).compress(bytes(raw))
    packed_s = time.perf_counter()
    copies = []
    for fd in ram_fds:
        target = os.memfd_create("ktstr-bench-copy")
        copy_data(fd, target)
        copies.append(target)
    copied_s = time.perf_counter()
    for target in copies:
        os.close(target)
    return {
        "raw_bytes": len(raw),
        "raw_zstd_bytes": len(packed),
        "raw_zstd_ms": (packed_s - began_s) * 1e3,
        "plain_copy_ms": (copied_s - packed_s) * 1e3,
    }
