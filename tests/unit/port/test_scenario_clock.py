"""The scenario's own time: it stands while the scenario pauses or the guest is frozen."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from ktstr_tui.port.scenario_clock import ScenarioClock
from tests.unit.capture.fakes import clock_ns


class Frozen:
    """Frozen time, as the coordinator counts it."""

    def __init__(self) -> None:
        self.total_ns = 0
        self._since_ns: int | None = None

    def __call__(self) -> int:
        return self.total_ns + (0 if self._since_ns is None else clock_ns() - self._since_ns)

    async def freeze(self, seconds: float) -> None:
        self._since_ns = clock_ns()
        await trio.sleep(seconds)
        self.total_ns, self._since_ns = self(), None


async def test_pauses_and_frozen_time_are_no_time_of_the_scenario(autojump_clock: MockClock) -> None:
    frozen = Frozen()
    clock = ScenarioClock(clock_ns, frozen)
    assert clock.elapsed_ms() is None
    await frozen.freeze(3)
    clock.start()
    await trio.sleep(1)
    clock.start()
    await frozen.freeze(5)
    assert clock.elapsed_ms() == pytest.approx(1000)
    clock.pause()
    clock.pause()
    await frozen.freeze(2)
    await trio.sleep(2)
    clock.resume()
    clock.resume()
    await trio.sleep(0.5)
    clock.end()
    clock.resume()
    await trio.sleep(9)
    assert clock.elapsed_ms() == pytest.approx(1500)


async def test_waiting_is_extended_by_pauses_and_frozen_time(autojump_clock: MockClock) -> None:
    frozen = Frozen()
    clock = ScenarioClock(clock_ns, frozen)
    came_s: list[float] = []

    async def wait() -> None:
        assert await clock.wait_until(4_000_000_000)
        came_s.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(1)
        clock.start()
        started_s = trio.current_time()
        await trio.sleep(1)
        await frozen.freeze(10)
        clock.pause()
        await trio.sleep(100)
        clock.resume()
    assert came_s[0] - started_s == pytest.approx(114, abs=0.02)


async def test_waiting_ends_with_the_scenario(autojump_clock: MockClock) -> None:
    clock = ScenarioClock(clock_ns)
    clock.start()
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            assert not await clock.wait_until(10**15)

        nursery.start_soon(wait)
        await trio.sleep(1)
        clock.end()
