"""How long a run may last."""

from __future__ import annotations

import time

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ktstr_tui.backend.deadlines import available_ms, watch_duration
from ktstr_tui.backend.outcome import RunEnd


def test_a_scenario_has_the_time_it_is_planned_for() -> None:
    assert available_ms(5000, None, 0) == 5000
    assert available_ms(5000, 1.0, None) == 5000
    assert available_ms(5000, 1e9, time.monotonic_ns()) == 5000


def test_a_scenario_has_no_more_time_than_its_run() -> None:
    assert 0 < available_ms(5_000_000, 1000.0, time.monotonic_ns()) <= 1_000_000
    assert available_ms(5000, 0.0, time.monotonic_ns()) == 0
    assert available_ms(5000, 1.0, time.monotonic_ns() - 10**10) == 0


async def test_a_run_ends_when_its_time_is_over_but_not_before_the_guest_is_up() -> None:
    ready, ending = trio.Event(), RunEnd()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_duration, ready, lambda: 0, ending, 0.001)
        await wait_all_tasks_blocked()
        assert ending.outcome is None
        ready.set()
        outcome = await ending.wait()
    assert outcome.reason == "duration of 0.001 s reached"


async def test_time_in_which_the_guest_stood_does_not_count(autojump_clock: MockClock) -> None:
    ready, ending = trio.Event(), RunEnd()
    ready.set()
    looks = 0

    def frozen_ns() -> int:
        # More than has passed, so that nothing of it counts, until the tenth look.
        nonlocal looks
        looks += 1
        return 10**12 if 1 < looks < 10 else 0

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_duration, ready, frozen_ns, ending, 0.001)
        await ending.wait()
    assert looks >= 10
