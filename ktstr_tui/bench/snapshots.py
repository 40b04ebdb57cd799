"""``bench store`` and ``bench restore``: what snapshots cost, and how soon a guest runs again from one.

Beside each figure is what the host takes for the least that could do: packing the raw memory with zstd in one piece,
copying it, stopping the guest and letting it run. All of it on the memory of the same guest, in turns.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import trio
import zstandard

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.live import LiveGuest
from ktstr_tui.backend.prepare import prepare
from ktstr_tui.backend.prepare_restore import config_of
from ktstr_tui.backend.restoring import Origin
from ktstr_tui.bench.guest import live_guest, summary
from ktstr_tui.guest.ram import copy_data, data_ranges
from ktstr_tui.kernel.scx_helpers import scx_runnable_tasks, scx_task_age_ms
from ktstr_tui.link.stream import Stream
from ktstr_tui.memory.shot import MemoryShot, StateOfStop
from ktstr_tui.model.control import TakeCapture
from ktstr_tui.model.errors import GuestError
from ktstr_tui.model.events import Event
from ktstr_tui.model.snapshot_events import GuestRestored, SnapshotStored
from ktstr_tui.text.output import say

GOAL_SECOND_SHARE: Final = 0.05
GOAL_RUNNING_MS: Final = 150.0
SETTLE_S: Final = 2.0
"""Before the first snapshot, so that the guest has come to rest."""
_CONFIG: Final = RunConfig(scenario="idle", sample_hz=0)


def bench_store(rounds: int) -> dict[str, Any]:
    """Measure the pause, the time and the disk of snapshots."""
    return trio.run(_store, rounds)


def bench_restore(rounds: int) -> dict[str, Any]:
    """Measure the way from a snapshot to a guest that runs and answers."""
    return trio.run(_restore, rounds)


async def _store(rounds: int) -> dict[str, Any]:
    async with live_guest(_CONFIG, await prepare(_CONFIG, say)) as (guest, stream):
        await trio.sleep(SETTLE_S)
        floors = await trio.to_thread.run_sync(_floors, guest.machine.ram_fds)
        taken = [await _snapshot(guest, stream) for _ in range(rounds + 1)]
        unprepared_us = [await _unprepared(guest) for _ in range(rounds)]
        bare_us = [(await guest.coordinator.bare_pause()).total_us for _ in range(10 * rounds)]
    first, others = taken[0], taken[1:]
    pauses = summary([pause_us for _, pause_us in others])
    second = summary([event.new_bytes for event, _ in others])
    return {
        "pages": first[0].pages,
        "first": {
            "bytes": first[0].new_bytes,
            "of_raw_zstd": first[0].new_bytes / floors["raw_zstd_bytes"],
            "ms": first[0].took_ms,
            "ms_of_raw_zstd": first[0].took_ms / floors["raw_zstd_ms"],
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
        "pause_of_plain_copy": pauses["p50"] / 1e3 / floors["plain_copy_ms"],
        "floors": floors,
    }


async def _restore(rounds: int) -> dict[str, Any]:
    async with live_guest(_CONFIG, await prepare(_CONFIG, say)) as (guest, stream):
        await trio.sleep(SETTLE_S)
        floors = await trio.to_thread.run_sync(_floors, guest.machine.ram_fds)
        stored, _ = await _snapshot(guest, stream)
        config = config_of(Path(stored.path))
        prepared = await prepare(config, say)
        times: dict[str, list[float]] = {}
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as directory, _phases(times) as hear:
                origin = Origin(Path(stored.path), Path(directory), hear)
                try:
                    async with live_guest(config, prepared, origin) as (restored, _stream):
                        _answer(restored, origin, times)
                finally:
                    origin.close()
    found = {f"{phase}_ms": summary(values) for phase, values in times.items()}
    return {
        "pages": stored.pages,
        **found,
        "goal_running_ms": GOAL_RUNNING_MS,
        "fill_of_plain_copy": found["filled_ms"]["p50"] / floors["plain_copy_ms"],
        "floors": floors,
    }


@contextmanager
def _phases(times: dict[str, list[float]]) -> Iterator[Callable[[Event], object]]:
    def hear(event: Event) -> None:
        if isinstance(event, GuestRestored) and event.phase != "filling":
            times.setdefault(event.phase, []).append(event.took_ms)

    yield hear


def _answer(guest: LiveGuest, origin: Origin, times: dict[str, list[float]]) -> None:
    """All runnable tasks with their ages: the first question to a restored guest."""
    view = guest.view
    assert view is not None
    began_s = time.perf_counter()
    for task in scx_runnable_tasks(view.prog):
        scx_task_age_ms(task)
    times.setdefault("first_answer", []).append((time.perf_counter() - began_s) * 1e3)
    times.setdefault("since_begin", []).append((time.monotonic_ns() - origin.began_ns) / 1e6)


async def _snapshot(guest: LiveGuest, stream: Stream) -> tuple[SnapshotStored, float]:
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


def _floors(ram_fds: tuple[int, ...]) -> dict[str, float]:
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
