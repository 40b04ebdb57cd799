"""What the flight recorder costs: decoding, following it live, the guest's work, the pause of a capture, seeking.

The guest's work is compared in runs with a seed: there time is the number of instructions, so that the iterations of
the workers in a second of the guest's time are exact, whatever else this host does, and nothing is gained by turns.
Recording off is the baseline. Workers that switch most pay most, so the ratio is also told for each kind.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, get_args

import trio

from ktstr_tui._native import ffi
from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.prepare import prepare
from ktstr_tui.bench.guest import attached, live_guest, next_event, summary
from ktstr_tui.bench.seek import bench_seek
from ktstr_tui.bench.trace_live import live_cost
from ktstr_tui.capture.report.past import mark_stop
from ktstr_tui.capture.report.raw import RawCapture
from ktstr_tui.guest.determinism import Determinism
from ktstr_tui.guest.recorder import RecorderConfig, TraceMode
from ktstr_tui.kernel.trace.decode import DecodeCounts, Decoder
from ktstr_tui.kernel.trace.reader import TraceReader
from ktstr_tui.kernel.trace.rings import RingCopy
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.link.stream import Stream
from ktstr_tui.model.errors import GuestError
from ktstr_tui.model.events import WorkersReported
from ktstr_tui.text.output import say

GOAL_EVENTS_PER_S: Final = 2_000_000.0
GOAL_WORK_RATIO: Final = 0.97
GOAL_PAUSE_US: Final = 200.0
SEED: Final = 42
REPORTS: Final = 6
"""Of the guest's workers, about a second of its time apart."""
BUFFER_KIB: Final = 4096
"""Of each CPU: room for all events of `RUN_S`."""
RUN_S: Final = 8.0
"""How long events are gathered before they are decoded."""
_LEAST_S: Final = 0.5


def bench_trace(rounds: int) -> dict[str, Any]:
    """Measure decoding, the pause and the guest's work."""
    return trio.run(_bench_trace, rounds)


async def _bench_trace(rounds: int) -> dict[str, Any]:
    decoding = await _bench_reading(rounds)
    by_kind = {mode: await _work(mode) for mode in get_args(TraceMode)}
    work = {mode: sum(rates.values()) for mode, rates in by_kind.items()}
    ratios = {mode: rate / work["off"] for mode, rate in work.items() if mode != "off"}
    return {
        "bench": "trace",
        **decoding,
        **bench_seek(),
        "work_baseline": f"iterations of the workers in a second of the guest's time, recording off, seed {SEED}",
        "work_per_s": work,
        "work_ratio": ratios["sched"],
        "work_ratio_scx": ratios["scx"],
        "work_ratio_by_kind": _by_kind(by_kind["sched"], by_kind["off"]),
        "goal_work_ratio": GOAL_WORK_RATIO,
        "work_met": ratios["sched"] >= GOAL_WORK_RATIO,
    }


async def _bench_reading(rounds: int) -> dict[str, Any]:
    recorder = RecorderConfig(buffer_kib=BUFFER_KIB)
    config = RunConfig(scenario="steady", scheduler="demo:fifo", sample_hz=0, recorder=recorder)
    prepared = await prepare(config, say)
    async with live_guest(config, prepared) as (guest, stream):
        view = guest.view
        assert view is not None
        await attached(stream)
        await trio.sleep(RUN_S)
        reader = view.trace
        if not isinstance(reader, TraceReader):
            raise GuestError(reader)
        space = view.fresh_space()
        rings = [reader.rings.copy(space, cpu) for cpu in range(view.nr_cpus)]
        figures = _decoding(rings, reader.decoder(space), rounds)
        pause = summary(_pauses(view, 200))
        await guest.coordinator.freeze("bench")
        live = live_cost(view, reader, rounds)
    say(f"{figures['events']} events of {view.nr_cpus} CPUs")
    return {
        "accelerator": prepared.verdict.accelerator,
        **figures,
        **live,
        "pause_us": pause,
        "goal_pause_us": GOAL_PAUSE_US,
        "pause_met": pause["p50"] <= GOAL_PAUSE_US,
    }


def _decoding(rings: list[RingCopy], decoder: Decoder, rounds: int) -> dict[str, Any]:
    """Measure how many events a second become records, and how many become values of Python."""
    counts = ffi.new("struct ktt_counts *")

    def raw() -> int:
        return sum(decoder.decode_raw(page, ring.cpu, counts)[1] for ring in rings for page in ring.pages)

    def values() -> int:
        seen = DecodeCounts()
        for ring in rings:
            for page in ring.pages:
                decoder.decode(page, ring.cpu, seen, (1 << 64) - 1)
        return seen.events

    records = summary([_rate(raw) for _ in range(rounds)])
    return {
        "events": raw(),
        "buffer_bytes_per_event": sum(len(page.data) for ring in rings for page in ring.pages)
        / max(1, raw()),
        "records_per_s": records,
        "values_per_s": summary([_rate(values) for _ in range(rounds)]),
        "goal_records_per_s": GOAL_EVENTS_PER_S,
        "records_met": records["p50"] >= GOAL_EVENTS_PER_S,
    }


def _rate(work: Callable[[], int]) -> float:
    """Repeat for `_LEAST_S` of CPU time; events a second of it."""
    done, start = 0, time.process_time()
    while (spent := time.process_time() - start) < _LEAST_S:
        done += work()
    return done / spent


def _pauses(view: KernelView, times: int) -> list[float]:
    """Measure what a capture does for its history while the guest is frozen, in microseconds."""
    found, raw = [], RawCapture("bench", "on-demand")
    for _ in range(times):
        start = time.perf_counter_ns()
        mark_stop(view, view.fresh_space(), raw)
        found.append((time.perf_counter_ns() - start) / 1e3)
    return found


def _by_kind(rates: Mapping[str, float], off: Mapping[str, float]) -> dict[str, float]:
    return {kind: rate / off[kind] for kind, rate in rates.items() if off.get(kind)}


async def _work(mode: TraceMode) -> dict[str, float]:
    """Iterations a second of the guest's own time, by kind of worker."""
    config = RunConfig(
        scenario="steady",
        scheduler="demo:fifo",
        sample_hz=0,
        recorder=RecorderConfig(mode=mode),
        determinism=Determinism(seed=SEED),
    )
    prepared = await prepare(config, say)
    async with live_guest(config, prepared) as (_, stream):
        await attached(stream)
        reports = [await _report(stream) for _ in range(REPORTS)]
    # The guest reports once a second of its own time.
    rates = {kind: (count - reports[0][kind]) / (REPORTS - 1) for kind, count in reports[-1].items()}
    say(f"recording {mode}: {sum(rates.values()):,.0f} iterations a second")
    return rates


async def _report(stream: Stream) -> Counter[str]:
    event = await next_event(stream, lambda it: isinstance(it, WorkersReported))
    assert isinstance(event, WorkersReported)
    found = Counter[str]()
    for worker in event.workers:
        found[worker.comm.partition("-")[0]] += worker.iterations
    return found
