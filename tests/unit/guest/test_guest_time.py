"""The time of a run with a seed: it stands between stations, and wakes one after the other."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from ktstr_tui.guest.guest_time import START_NS, STUCK_S, GuestTime, come_to_rest, sleep_or

SECOND_NS = 1_000_000_000


class Diary:
    """What those who wait do, in order."""

    def __init__(self, time: GuestTime) -> None:
        self.time = time
        self.lines: list[str] = []

    async def every(self, name: str, seconds: float) -> None:
        while True:
            await self.time.sleep(seconds)
            self.lines.append(f"{name} {(self.time.now_ns() - START_NS) / 1e9:g}")

    async def in_thread(self, seconds: float) -> None:
        await self.time.sleep(seconds)
        self.lines.append("begun")
        await trio.to_thread.run_sync(lambda: None)
        self.lines.append("read")


async def test_the_guest_s_own_time_leaves_out_what_it_stood(autojump_clock: MockClock) -> None:
    time = GuestTime()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(time.go_with_host, lambda: True)
        await trio.sleep(3.01)
        nursery.cancel_scope.cancel()
    assert time.now_ns() == START_NS + 3 * SECOND_NS
    assert time.guest_ns() == START_NS
    time.note(START_NS + SECOND_NS)
    assert (time.now_ns(), time.guest_ns()) == (START_NS + 4 * SECOND_NS, START_NS + SECOND_NS)


async def test_who_asks_for_something_does_not_wait_for_a_guest_that_is_stuck(
    autojump_clock: MockClock,
) -> None:
    time, woken = GuestTime(), []

    async def decide() -> None:
        while True:
            await time.sleep_hastily(0.1)
            woken.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        begun_s = trio.current_time()
        nursery.start_soon(decide)
        nursery.start_soon(time.hasten_when_stuck)
        for station in range(1, 80):
            await trio.sleep(0.1)
            time.note(START_NS + station)
        assert woken == [], "it goes on, however slowly"
        await trio.sleep(2 * STUCK_S)
        nursery.cancel_scope.cancel()
    assert len(woken) in (1, 2)
    assert woken[0] - begun_s >= 7.9 + STUCK_S - 0.1


async def test_it_stands_whatever_the_host_does(autojump_clock: MockClock) -> None:
    time = GuestTime()
    await trio.sleep(100)
    assert time.now_ns() == START_NS
    time.note(START_NS + 5)
    time.note(START_NS + 3)
    assert time.now_ns() == START_NS + 5, "it never goes back"


async def test_waiters_are_woken_in_the_order_of_their_instants(autojump_clock: MockClock) -> None:
    time = GuestTime()
    diary = Diary(time)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(diary.every, "slow", 0.3)
        nursery.start_soon(diary.every, "quick", 0.1)
        await come_to_rest()
        for tenth in range(1, 4):
            time.note(START_NS + tenth * SECOND_NS // 10)
            await time.wake(come_to_rest)
        nursery.cancel_scope.cancel()
    assert diary.lines == ["quick 0.1", "quick 0.2", "slow 0.3", "quick 0.3"]


async def test_the_next_is_woken_when_a_thread_of_the_one_before_is_done(autojump_clock: MockClock) -> None:
    time = GuestTime()
    diary = Diary(time)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(diary.in_thread, 0.1)
        nursery.start_soon(diary.every, "next", 0.2)
        await come_to_rest()
        time.note(START_NS + SECOND_NS)
        await time.wake(come_to_rest)
        nursery.cancel_scope.cancel()
    assert diary.lines == ["begun", "read", "next 1"]


async def test_only_those_who_wait_hastily_are_woken_early(autojump_clock: MockClock) -> None:
    time = GuestTime()
    woken: list[str] = []

    async def wait(name: str, *, hasty: bool) -> None:
        await (time.sleep_hastily(9) if hasty else time.sleep(9))
        woken.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: wait("patient", hasty=False))
        nursery.start_soon(lambda: wait("hasty", hasty=True))
        await come_to_rest()
        time.hasten()
        await come_to_rest()
        assert woken == ["hasty"]
        time.note(START_NS + 9 * SECOND_NS)
        await time.wake(come_to_rest)
    assert woken == ["hasty", "patient"]


async def test_it_goes_with_the_host_while_the_guest_stands(autojump_clock: MockClock) -> None:
    time, stands = GuestTime(), True
    diary = Diary(time)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(diary.every, "tick", 1.0)
        nursery.start_soon(time.go_with_host, lambda: stands)
        await trio.sleep(2.5)
        assert len(diary.lines) == 2
        stands = False
        await trio.sleep(5)
        assert len(diary.lines) == 2
        # The guest goes on where it was frozen, and the clock with it: it does not wait for the guest to catch up.
        time.note(START_NS + SECOND_NS)
        await time.wake(come_to_rest)
        await come_to_rest()
        assert len(diary.lines) == 3
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("is_set", [False, True])
async def test_a_wait_that_an_event_ends(is_set: bool, autojump_clock: MockClock) -> None:
    event = trio.Event()
    if is_set:
        event.set()
    before_s = trio.current_time()
    await sleep_or(event, trio.sleep, 3)
    assert trio.current_time() - before_s == (0 if is_set else 3)
