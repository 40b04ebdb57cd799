from __future__ import annotations

import gc

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from ktstr_tui.capture.stop.rendezvous import (
    FrozenLog,
    GuestLostError,
    Rendezvous,
    RendezvousTimeoutError,
    Stopwatch,
    collector_off,
)
from tests.unit.capture.fakes import FakeEngine, FakeView, clock_ns


class Ticks:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=20),
    st.integers(0, 800),
    st.integers(0, 800),
    st.booleans(),
)
def test_frozen_time_adds_up(gaps: list[tuple[int, int]], start: int, length: int, still: bool) -> None:
    ticks = Ticks()
    log = FrozenLog(ticks)
    frozen: set[int] = set()
    for index, (runs, stands) in enumerate(gaps):
        ticks.now_ns += runs
        log.begin()
        log.begin()
        frozen |= set(range(ticks.now_ns, ticks.now_ns + stands))
        ticks.now_ns += stands
        if not (still and index == len(gaps) - 1):
            log.end()
            log.end()
    assert log.total_ns() == len(frozen)
    assert log.between_ns(start, start + length) == len(frozen & set(range(start, start + length)))
    assert (log.since_ns is not None) == (still and bool(gaps))


def test_the_total_outlives_the_intervals() -> None:
    ticks = Ticks()
    log = FrozenLog(ticks)
    for _ in range(3000):
        log.begin()
        ticks.now_ns += 2
        log.end()
    assert log.total_ns() == 6000
    assert len(log.intervals) == 1024


def test_a_stopwatch_adds_up_its_parts() -> None:
    watch = Stopwatch()
    for name in ("stop", "memory", "memory"):
        with watch.part(name):
            sum(range(1000))
    pause = watch.pause()
    assert (pause.registers_us, pause.resume_us) == (None, None)
    assert pause.stop_us is not None
    assert pause.memory_us is not None
    assert pause.total_us >= pause.stop_us + pause.memory_us > 0


def test_the_collector_is_off_inside_only() -> None:
    assert gc.isenabled()
    with collector_off():
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with collector_off():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


async def test_a_stop_is_not_left_half_done_by_a_cancelled_caller(autojump_clock: MockClock) -> None:
    engine = FakeEngine(FakeView())
    engine.stop_delay_s = 1.0
    rendezvous = Rendezvous(engine, FrozenLog(clock_ns), 2.0)
    with trio.move_on_after(0.5):
        await rendezvous.stop()
    assert rendezvous.stopped
    assert engine.log == ["stop"]
    with trio.CancelScope() as scope:
        scope.cancel()
        await rendezvous.resume()
    assert engine.log == ["stop", "resume"]
    assert rendezvous.log.total_ns() == 0


async def test_a_stop_that_does_not_come_is_a_timeout(autojump_clock: MockClock) -> None:
    engine = FakeEngine(FakeView())
    engine.stop_delay_s = 10.0
    rendezvous = Rendezvous(engine, FrozenLog(clock_ns), 2.0)
    with pytest.raises(RendezvousTimeoutError, match="stopping the vCPUs took longer than 2 s"):
        await rendezvous.stop()
    assert not rendezvous.stopped
    assert rendezvous.timeouts == 1


async def test_a_guest_that_cannot_go_on_is_lost(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine(FakeView())
    rendezvous = Rendezvous(engine, FrozenLog(clock_ns), 2.0)
    await rendezvous.stop()
    monkeypatch.setattr(engine, "resume", trio.sleep_forever)
    with pytest.raises(GuestLostError, match="resuming the vCPUs took longer"):
        await rendezvous.resume()
    assert rendezvous.stopped
