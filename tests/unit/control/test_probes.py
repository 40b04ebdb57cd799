"""Probes and recovery handlers: read in order, isolated, pruned only when all of them answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

import pytest
import trio
from trio.testing import MockClock

from ktstr_tui.control.probes import STUCK_AFTER, InThread, Probes, StuckError
from ktstr_tui.model import events as ev
from tests.unit.control.rig import Rig

Values = Mapping[str, float | None]


class Scripted:
    """A probe that gives one thing after the other, and then the last one for ever."""

    def __init__(self, name: str, *script: Values | Exception | None) -> None:
        self.name = name
        self.every_s = 0.0
        self._script = list(script)
        self.reads = 0

    async def read(self) -> Values:
        self.reads += 1
        now = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if isinstance(now, Exception):
            raise now
        if now is None:
            await trio.sleep_forever()
        return now or {}


async def after(rig: Rig, seconds: float, *probes: Scripted) -> Mapping[str, Mapping[str, float | None]]:
    for probe in probes:
        rig.loop.probes.install(probe)
    async with rig.running():
        await trio.sleep(seconds)
        return rig.reader.read().probes


async def test_panicking_probe_does_not_kill_the_loop(autojump_clock: MockClock) -> None:
    rig = Rig()
    await after(rig, 0.65, Scripted("bad", RuntimeError("boom from probe")))
    assert rig.loop.statistics().reconciles == 6
    assert {it.reason for it in rig.of(ev.ProbeFailed)} == {"RuntimeError: boom from probe"}
    assert rig.reader.read().broken_probes == {"bad": "RuntimeError: boom from probe"}
    assert rig.loop.drops()["probes-failed"] == 6


async def test_a_probe_that_hangs_costs_its_time_and_nothing_else(autojump_clock: MockClock) -> None:
    rig = Rig()
    seen = await after(rig, 1.0, Scripted("stuck", None), Scripted("well", {"x": 1.0}))
    assert seen == {"well": {"x": 1.0}}
    assert rig.loop.statistics().reconciles >= 6
    assert {it.reason for it in rig.of(ev.ProbeFailed)} == {"no answer within 50 ms"}


async def test_inventory_gc_drops_peers_no_probe_samples_anymore(autojump_clock: MockClock) -> None:
    less = {"b": 0.2, "c": 0.3}
    seen = await after(Rig(), 0.35, Scripted("inventory", {"a": 0.1, **less}, less))
    assert seen == {"inventory": less}


async def test_inventory_gc_does_not_wipe_peers_when_one_of_two_probes_panics(
    autojump_clock: MockClock,
) -> None:
    steady, shaky = Scripted("steady", {"a": 0.1}), Scripted("shaky", {"b": 0.2}, RuntimeError("off"))
    seen = await after(Rig(), 0.35, steady, shaky)
    assert seen == {"steady": {"a": 0.1}, "shaky": {"b": 0.2}}
    # The one that answers keeps everything too, for nobody knows what the other would have said.
    steady, shaky = Scripted("steady", {"a": 0.1, "c": 1}, {"a": 0.3}), Scripted("shaky", RuntimeError("off"))
    assert await after(Rig(), 0.35, steady, shaky) == {"steady": {"a": 0.3, "c": 1}}


async def test_inventory_gc_does_not_wipe_on_a_transient_empty_probe(autojump_clock: MockClock) -> None:
    both = {"a": 0.1, "b": 0.2}
    assert await after(Rig(), 0.35, Scripted("inventory", both, {})) == {"inventory": both}


async def test_locality_probe_samples_fold_into_actual_rtt_via_snapshot(autojump_clock: MockClock) -> None:
    rig = Rig()
    seen = await after(rig, 0.15, Scripted("viewers", {"one.lag_ms": 33.0, "two.lag_ms": 150.0}))
    assert seen == {"viewers": {"one.lag_ms": 33.0, "two.lag_ms": 150.0}}
    assert rig.stream.state.control.probes == seen


async def test_health_probe_samples_fold_into_actual_health_via_snapshot(autojump_clock: MockClock) -> None:
    seen = await after(Rig(), 0.15, Scripted("host", {"steal": 0.25, "psi.memory": None}))
    assert seen == {"host": {"steal": 0.25, "psi.memory": None}}


async def test_probe_registry_attached_post_construction_is_polled_on_next_tick(
    autojump_clock: MockClock,
) -> None:
    rig = Rig()
    async with rig.running():
        await trio.sleep(0.25)
        late = Scripted("late", {"x": 7.0})
        rig.loop.probes.install(late)
        await trio.sleep(0.1)
        assert late.reads == 1
        assert rig.reader.read().probes == {"late": {"x": 7.0}}


async def test_a_later_probe_overwrites_an_earlier_ones_value_of_the_same_name(
    autojump_clock: MockClock,
) -> None:
    seen = await after(Rig(), 0.15, Scripted("first", {"x": 1.0, "y": 1.0}), Scripted("second", {"x": 2.0}))
    assert seen == {"first": {"y": 1.0}, "second": {"x": 2.0}}


async def test_what_probes_read_stands_before_the_word_of_their_tick(autojump_clock: MockClock) -> None:
    rig = Rig()
    await after(rig, 0.25, Scripted("a", {"x": 1.0}), Scripted("b", {"y": 1.0}))
    told = [(type(it).__name__, it.tick) for it in rig.events if isinstance(it, (ev.ProbeRead, ev.Ticked))]
    assert told == [("ProbeRead", n) if kind else ("Ticked", n) for n in (1, 2) for kind in (1, 1, 0)]


async def test_a_probe_is_read_as_often_as_it_says(autojump_clock: MockClock) -> None:
    rig, slow = Rig(), Scripted("slow", {"x": 1.0})
    slow.every_s = 1.0
    await after(rig, 3.05, slow)
    assert slow.reads == 3


@pytest.mark.parametrize("values", [{"x": "text"}, {str(n): 1.0 for n in range(1000)}])
async def test_values_of_a_wrong_shape_are_the_probes_failure(
    autojump_clock: MockClock, values: Values
) -> None:
    rig = Rig()
    await after(rig, 0.15, Scripted("odd", values))
    assert len(rig.of(ev.ProbeFailed)) == 1


async def test_clear_inventory_probes_drops_installed_probes_only(autojump_clock: MockClock) -> None:
    probes = Probes()
    for name in ("locality", "health", "inventory", "inventory"):
        probes.install(Scripted(name, {}))
    probes.clear("inventory")
    assert probes.names() == ("locality", "health")
    probes.clear("locality")
    assert probes.names() == ("health",)
    probes.clear()
    assert probes.names() == ()
    again = Scripted("inventory", {"x": 1.0})
    probes.install(again)
    assert len(await probes.poll(1, 0)) == 1


async def test_a_thread_that_hangs_has_failed_after_a_while_and_its_late_answer_is_taken() -> None:
    release, begun, calls = threading.Event(), threading.Event(), 0

    def read() -> Values:
        nonlocal calls
        calls += 1
        begun.set()
        release.wait()
        return {"x": 1.0}

    probe, probes = InThread("disk", 0, read), Probes(answer_s=0.01)
    probes.install(probe)
    for tick in range(STUCK_AFTER):
        assert await probes.poll(tick, 3600_000_000_000 * tick) == [], "a busy host may take as long"
    assert probes.drops() == {"probes-failed": 0}
    (stuck,) = await probes.poll(STUCK_AFTER, 3600_000_000_000 * STUCK_AFTER)
    assert isinstance(stuck, ev.ProbeFailed)
    assert StuckError.__name__ in stuck.reason
    assert probes.drops() == {"probes-failed": 1}
    begun.wait()
    release.set()
    while probe.busy:
        await trio.lowlevel.checkpoint()
    (late,) = await probes.poll(99, 3600_000_000_000 * 99)
    assert isinstance(late, ev.ProbeRead)
    assert (late.values, calls) == ({"x": 1.0}, 1)


class Immediate:
    """A probe of what is known already, which other tasks keep from its turn for longer than a probe may take."""

    name, every_s = "immediate", 0.0

    async def read(self) -> Values:
        await trio.lowlevel.checkpoint()
        return {"x": 1.0}


async def test_a_process_that_had_no_cpu_is_no_failure_of_a_probe() -> None:
    probes, over = Probes(answer_s=0.001), trio.Event()
    probes.install(Immediate())

    async def hold_the_loop() -> None:
        while not over.is_set():
            time.sleep(0.002)  # noqa: ASYNC251 -- as a host does that runs something else
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(hold_the_loop)
        read = [await probes.poll(tick, tick) for tick in range(10)]
        over.set()
    assert {type(event) for (event,) in read} == {ev.ProbeRead}
    assert probes.drops() == {"probes-failed": 0}


async def test_what_a_thread_raises_late_is_a_failure_of_its_own() -> None:
    release = threading.Event()

    def read() -> Values:
        release.wait()
        raise OSError("gone")

    probe, probes = InThread("disk", 0, read), Probes(answer_s=0.01)
    probes.install(probe)
    assert await probes.poll(1, 0) == []
    release.set()
    while probe.busy:
        await trio.lowlevel.checkpoint()
    (event,) = await probes.poll(2, 1)
    assert isinstance(event, ev.ProbeFailed)
    assert event.reason == "OSError: gone"


def handler(*script: Values | Exception | None) -> Callable[[], object]:
    steps = list(script)

    async def run() -> Values | None:
        now = steps.pop(0) if len(steps) > 1 else steps[0]
        if isinstance(now, Exception):
            raise now
        return now

    return run


async def test_recovery_handlers_run_between_probes_and_decisions(autojump_clock: MockClock) -> None:
    rig = Rig()
    rig.loop.recovery.register("audit", handler({"appended": 2.0}, None))  # type: ignore[arg-type]
    await after(rig, 0.25, Scripted("host", {"x": 1.0}))
    names = [it.probe if isinstance(it, ev.ProbeRead) else "tick" for it in rig.events
             if isinstance(it, (ev.ProbeRead, ev.Ticked))]  # fmt: skip
    assert names == ["host", "recovery: audit", "tick", "host", "tick"]
    assert rig.reader.read().probes["recovery: audit"] == {"appended": 2.0}


async def test_a_recovery_handler_that_raises_is_skipped_and_said(autojump_clock: MockClock) -> None:
    rig = Rig()
    rig.loop.recovery.register("bad", handler(RuntimeError("no")))  # type: ignore[arg-type]
    await after(rig, 0.15)
    assert rig.reader.read().broken_probes == {"recovery: bad": "RuntimeError: no"}
    assert rig.loop.drops()["recoveries-failed"] == 1
