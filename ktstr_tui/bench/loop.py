"""How fast the control loop is: events folded, the length of a tick under load, and the way from publishing to reading.

The stream of a guest of 64 CPUs is made up: ten samples a second and otherwise what programs print and count. The fold
has as its baseline the same events through a bare queue; a tick has its period, in which it must be over; a reader
cannot see anything before the next tick, so half of the period is its baseline.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from typing import Any, Final

import trio

from ktstr_tui.control.executor import Executor
from ktstr_tui.control.fold import fold
from ktstr_tui.control.ledger import Ledger
from ktstr_tui.control.loop import ControlLoop
from ktstr_tui.control.queue import EventQueue, LoopHandle, QueueFullError
from ktstr_tui.control.state import LoopState
from ktstr_tui.control.ticker import TICK_S, ClockTicker, TickTime
from ktstr_tui.link.stream import Stream
from ktstr_tui.model import events as ev
from ktstr_tui.model.control import ControlPlan, PendingAction
from ktstr_tui.model.facts import FrameCounters
from ktstr_tui.model.sample import CpuSample, Sample, SchedulerSample
from ktstr_tui.text.output import say

CPUS: Final = 64
EVENTS_PER_S: Final = 10_000
ROUNDS: Final = 7
FOLDED: Final = 20_000
GOAL_FOLDED_PER_S: Final = 200_000.0
GOAL_TICK_P99_MS: Final = 5.0
_BATCH_S: Final = 0.005
_LOOKS: Final = 20


class _Nothing:
    async def dispatch(self, pending: PendingAction) -> None:
        await trio.lowlevel.checkpoint()


class _TimedLoop(ControlLoop):
    """Measures its ticks."""

    ticks_ns: list[int]

    async def _tick(self) -> None:
        start = time.perf_counter_ns()
        await super()._tick()
        self.ticks_ns.append(time.perf_counter_ns() - start)


def made_up_events(count: int) -> list[ev.Event]:
    """Events of a guest of 64 CPUs, numbered from 1: one sample among a thousand others."""
    cpus = tuple(CpuSample(cpu=cpu, nr_running=1, idle=False) for cpu in range(CPUS))
    sampled = ev.Sampled(sample=Sample(cpus=cpus, scheduler=SchedulerSample(name="bench", enable_seq=1)))
    others: list[ev.Event] = [
        ev.OutputText(stream="sched_log", text="a line of the scheduler\n"),
        ev.FramesCounted(counters=FrameCounters()),
        ev.BackendBeat(viewers=1),
        ev.OutputText(stream="stdout", text="a line\n"),
    ]
    kinds = itertools.cycle(others)
    return [
        _numbered(sampled if seq % (EVENTS_PER_S // 10) == 0 else next(kinds), seq)
        for seq in range(1, count + 1)
    ]


def _numbered(event: ev.Event, seq: int) -> ev.Event:
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    return type(event)(**{**fields, "seq": seq, "mono_ns": seq * 100_000})


def _fold_all(events: list[ev.Event]) -> float:
    queue, state = EventQueue(), LoopState(plan=ControlPlan(name="bench", early=True))
    handle = LoopHandle(queue)
    start = time.perf_counter()
    for event in events:
        handle.publish_nowait(event)
        item = queue.take()
        if item is not None:
            fold(state, item)  # type: ignore[arg-type]
    return time.perf_counter() - start


def _bare(events: list[ev.Event]) -> float:
    queue: deque[ev.Event] = deque()
    seq = 0
    start = time.perf_counter()
    for event in events:
        queue.append(event)
        item = queue.popleft()
        seq = item.seq
    spent = time.perf_counter() - start
    return spent if seq else 0.0


def measure_fold() -> dict[str, Any]:
    """Events that go through the queue and are folded in a second, beside a bare queue; the best round counts."""
    events = made_up_events(FOLDED)
    subject = baseline = float("inf")
    for _ in range(ROUNDS):
        baseline = min(baseline, _bare(events))
        subject = min(subject, _fold_all(events))
    per_s = FOLDED / subject
    return {
        "events_per_s": per_s,
        "bare_queue_per_s": FOLDED / baseline,
        "ratio": baseline / subject,
        "goal_events_per_s": GOAL_FOLDED_PER_S,
        "met": per_s >= GOAL_FOLDED_PER_S,
    }


def measure_ticks(seconds: float) -> dict[str, Any]:
    """Length of ticks while 10,000 events a second come in, and how soon a reader sees what was published."""
    return trio.run(_measure_ticks, seconds)


async def _measure_ticks(seconds: float) -> dict[str, Any]:
    stream = Stream()
    ledger = Ledger(stream.emit)
    executor = Executor(_Nothing(), ledger, stream.emit, time.monotonic_ns)
    ticker = ClockTicker(lambda: TickTime(now_ns=time.monotonic_ns()))
    loop = _TimedLoop(ControlPlan(name="bench"), ticker, stream.emit, executor, ledger=ledger)
    loop.ticks_ns = []
    handle, latencies, refused = loop.handle(), [], 0

    async def flood() -> None:
        nonlocal refused
        events = itertools.cycle(made_up_events(EVENTS_PER_S))
        begun, sent = trio.current_time(), 0
        while True:
            for _ in range(round((trio.current_time() - begun) * EVENTS_PER_S) - sent):
                sent += 1
                try:
                    handle.publish_nowait(next(events))
                except QueueFullError:
                    refused += 1
            await trio.sleep(_BATCH_S)

    async def look() -> None:
        reader = loop.reader()
        for number in range(round(min(_LOOKS, seconds * 5))):
            await trio.sleep(0.137 * (number % 3))
            version, start = reader.version, time.perf_counter_ns()
            handle.publish_nowait(ev.HoldChanged(held=number % 2 == 0, by="bench", until_ns=1 << 62))
            await reader.wait_changed(version)
            latencies.append(time.perf_counter_ns() - start)

    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(executor.run)
            nursery.start_soon(loop.run)
            nursery.start_soon(flood)
            await look()
            await trio.sleep_forever()
    return _figures(loop, latencies, refused)


def _figures(loop: _TimedLoop, latencies: list[int], refused: int) -> dict[str, Any]:
    ticks, ways = sorted(loop.ticks_ns), sorted(latencies)
    p99_ms = _at(ticks, 0.99) / 1e6
    half_ms = TICK_S * 1e3 / 2
    return {
        "cpus": CPUS,
        "events_per_s": EVENTS_PER_S,
        "ticks": len(ticks),
        "refused": refused,
        "tick_p50_ms": _at(ticks, 0.5) / 1e6,
        "tick_p99_ms": p99_ms,
        "period_ms": TICK_S * 1e3,
        "tick_ratio": p99_ms / (TICK_S * 1e3),
        "goal_tick_p99_ms": GOAL_TICK_P99_MS,
        "met": p99_ms <= GOAL_TICK_P99_MS,
        "publish_to_reader_p50_ms": _at(ways, 0.5) / 1e6,
        "publish_to_reader_max_ms": ways[-1] / 1e6 if ways else None,
        "publish_to_reader_ratio": _at(ways, 0.5) / 1e6 / half_ms,
    }


def _at(ordered: list[int], share: float) -> int:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0


def run(seconds: int | None) -> dict[str, Any]:
    """Measure everything; ``seconds`` is how long the load is borne."""
    folded = measure_fold()
    say("fold measured")
    return {"bench": "loop", "fold": folded, "load": measure_ticks(seconds or 10)}
