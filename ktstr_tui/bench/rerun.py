"""``bench rerun``: what the observer costs a run with a seed, beside QEMU with the same options and without it.

Three figures, each with its baseline: guest seconds per second of host CPU, of a boot and of work, in guests that
nobody looks at (`rerun_pair`); a hold and go, against stop and continue over the gdb stub; a thousand watches that
nothing hits, against none.
"""

from __future__ import annotations

from typing import Any, Final

import trio

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.live import LiveGuest
from ktstr_tui.backend.prepare import Prepared, prepare
from ktstr_tui.bench.guest import live_guest, summary
from ktstr_tui.bench.rerun_pair import Spent, alone, cpu_s
from ktstr_tui.guest.determinism import Determinism
from ktstr_tui.guest.hold import HoldEngine
from ktstr_tui.model.errors import GuestError
from ktstr_tui.text.output import say

GOAL_SPEED_RATIO: Final = 0.9
GOAL_HOLD_US: Final = 100.0
GOAL_WATCHED_RATIO: Final = 1.1
NR_WATCHES: Final = 1000
WINDOW: Final = 500_000_000
"""Instructions of a window in which watches cost."""
WATCHED_BYTES: Final = 8
LOOK_S: Final = 0.002
PAIRS: Final = 2
TOPOLOGIES: Final = ("1n1l2c1t", "1n1l8c1t", "1n1l32c1t")
_DETERMINISM: Final = Determinism(1)


def bench_rerun(rounds: int) -> dict[str, Any]:
    """Measure all of it."""
    return trio.run(_bench, rounds)


async def _bench(rounds: int) -> dict[str, Any]:
    config = RunConfig(
        scenario="steady", scheduler="demo:fifo", sample_hz=0, determinism=_DETERMINISM, fresh_boot=True
    )
    prepared = await prepare(config, say)
    if not prepared.observed:
        raise GuestError(f"this host has no observer: {prepared.verdict.reason}", "run ktstr-tui doctor")
    with_it, bare = await _pairs(config, prepared)
    async with live_guest(config, prepared) as (guest, _):
        with_watches, without = await _watched(guest)
    machines = [await _holds(rounds, topology) for topology in TOPOLOGIES]
    boot, work = bare.boot_s / with_it.boot_s, bare.work_s / with_it.work_s
    watched = with_watches / without
    return {
        "bench": "rerun",
        "baseline": "the same machine with the same icount options, without the plugin; neither is sampled",
        "pairs": PAIRS,
        "boot_cpu_s": {"observed": with_it.boot_s, "bare": bare.boot_s},
        "work_cpu_s": {"observed": with_it.work_s, "bare": bare.work_s},
        "boot_ratio": boot,
        "work_ratio": work,
        "goal_speed_ratio": GOAL_SPEED_RATIO,
        "speed_met": min(boot, work) >= GOAL_SPEED_RATIO,
        "machines": machines,
        "goal_hold_us": GOAL_HOLD_US,
        "hold_met": all(it["hold_us"]["p50"] <= GOAL_HOLD_US for it in machines),
        "watches": NR_WATCHES,
        "watched_ratio": watched,
        "goal_watched_ratio": GOAL_WATCHED_RATIO,
        "watched_met": watched <= GOAL_WATCHED_RATIO,
    }


async def _pairs(config: RunConfig, prepared: Prepared) -> tuple[Spent, Spent]:
    """CPU seconds with the observer and without, summed over pairs, each in the other order than the one before."""
    spent = {True: Spent(0.0, 0.0), False: Spent(0.0, 0.0)}
    for number in range(PAIRS):
        for observed in (number % 2 == 0, number % 2 != 0):
            took, before = await alone(config, prepared, observed=observed), spent[observed]
            spent[observed] = Spent(before.boot_s + took.boot_s, before.work_s + took.work_s)
            how = "with the observer" if observed else "bare"
            say(f"{how}: {took.boot_s:.2f} s of CPU for the boot, {took.work_s:.2f} s for the work")
    return spent[True], spent[False]


async def _holds(rounds: int, topology: str) -> dict[str, Any]:
    """Measure holds of the observer and stops of the stub, on machines of one size."""
    pauses: dict[bool, list[float]] = {}
    for held in (True, False):
        determinism = _DETERMINISM if held else None
        config = RunConfig(
            scenario="steady",
            scheduler="demo:fifo",
            sample_hz=0,
            topology=topology,
            accelerator="auto" if held else "tcg",
            determinism=determinism,
        )
        async with live_guest(config, await prepare(config, say)) as (guest, _):
            pauses[held] = [(await guest.coordinator.bare_pause()).total_us for _ in range(rounds)]
    hold, stop = summary(pauses[True]), summary(pauses[False])
    return {"topology": topology, "hold_us": hold, "stop_us": stop, "ratio": hold["p50"] / stop["p50"]}


async def _watched(guest: LiveGuest) -> tuple[float, float]:
    """Host CPU seconds of a window of instructions, with watches and without, taken in turn."""
    engine, view = guest.engine, guest.view
    if not isinstance(engine, HoldEngine) or view is None:
        raise GuestError("the guest cannot be watched", "")
    first = view.symbols.find("linux_banner")
    if first is None:
        raise GuestError("the kernel has no linux_banner", "take another kernel")
    spent: dict[bool, float] = {True: 0.0, False: 0.0}
    for watched in (True, False, False, True):
        # Constants: nothing is stored there, so no watch is hit.
        ranges = [
            (first + 2 * WATCHED_BYTES * it, WATCHED_BYTES) for it in range(NR_WATCHES if watched else 0)
        ]
        await guest.coordinator.while_stopped(lambda ranges=ranges: engine.watch_besides(ranges))  # type: ignore[misc]
        spent[watched] += await _window_s(guest.machine.pid, engine)
    await guest.coordinator.while_stopped(lambda: engine.watch_besides([]))
    return spent[True], spent[False]


async def _window_s(pid: int, engine: HoldEngine) -> float:
    begin, begin_s = sum(engine.counts), cpu_s(pid)
    while (done := sum(engine.counts) - begin) < WINDOW:  # noqa: ASYNC110 - nobody tells
        await trio.sleep(LOOK_S)
    return (cpu_s(pid) - begin_s) * WINDOW / done
