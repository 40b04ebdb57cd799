"""The loop that follows the trace: once a second, not while the guest is frozen, and saying nothing but once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
import trio.testing

from ktstr_tui.guest.guest_time import GuestTime
from ktstr_tui.health.task_rates import TaskRatesLoop
from ktstr_tui.model.events import Event, TasksMeasured
from ktstr_tui.model.rates import TaskRates


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at once: the mock clock would jump on while a thread works."""

    async def here(look: Callable[[], TaskRates]) -> TaskRates:
        await trio.lowlevel.checkpoint()
        return look()

    monkeypatch.setattr(trio.to_thread, "run_sync", here)


class Rig:
    """A loop, what it is given to look at, and what it emits."""

    def __init__(self) -> None:
        self.next = TaskRates(events=5)
        self.looks, self.frozen = 0, False
        self.said: list[Event] = []
        self.loop = TaskRatesLoop(self.look, self.said.append, lambda: self.frozen)

    def look(self) -> TaskRates:
        """Count it."""
        self.looks += 1
        return self.next


async def run(rig: Rig, seconds: float) -> None:
    """Let the loop run for so long."""
    with trio.move_on_after(seconds):
        await rig.loop.run()


async def test_it_looks_once_a_second(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig()
    await run(rig, 5.5)
    assert rig.looks == 5
    assert rig.said == [TasksMeasured(rates=rig.next)] * 5


async def test_a_frozen_guest_is_not_looked_at(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig()
    rig.frozen = True
    await run(rig, 5.5)
    assert rig.looks == 0
    rig.frozen = False
    await run(rig, 2.5)
    assert rig.looks == 2


async def test_nothing_is_said_once(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig()
    rig.next = TaskRates(unavailable="torn")
    await run(rig, 5.5)
    assert [event.rates.unavailable for event in rig.said if isinstance(event, TasksMeasured)] == ["torn"]
    rig.next = TaskRates(events=1)
    await run(rig, 1.5)
    assert len(rig.said) == 2


async def test_it_ends_when_it_is_stopped(autojump_clock: trio.testing.MockClock) -> None:
    rig = Rig()
    rig.loop.stop()
    await rig.loop.run()
    assert rig.said == []


async def test_a_second_is_one_of_the_runs_time() -> None:
    rig, time = Rig(), GuestTime()
    loop = TaskRatesLoop(rig.look, rig.said.append, lambda: False, sleep=time.sleep)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.run)
        await trio.testing.wait_all_tasks_blocked()
        for looks in (0, 1, 1, 2):
            time.note(time.now_ns() + 500_000_000)
            await time.wake(trio.testing.wait_all_tasks_blocked)
            assert rig.looks == looks
        loop.stop()
