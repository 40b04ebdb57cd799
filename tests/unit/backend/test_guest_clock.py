"""The time of a guest that is held, and the order in which trio takes tasks in a run with a seed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import trio

from ktstr_tui.backend.guest_clock import HUNG_NS, Executed, FrozenByHand, GuestClock
from ktstr_tui.backend.in_order import tasks_in_order
from ktstr_tui.guest.determinism import Determinism

if TYPE_CHECKING:
    from ktstr_tui.capture.coordinator import Coordinator
    from ktstr_tui.guest.hold import HoldEngine
    from ktstr_tui.kernel.view import KernelView

HZ = 250
TICK_NS = 4_000_000


class View:
    """Memory with jiffies in it."""

    hz = HZ

    def __init__(self, jiffies: int) -> None:
        self.now = jiffies

    def jiffies(self) -> int:
        return self.now


def read(clock: GuestClock, total: int, view: View | None) -> int:
    return clock.read_ns(total, cast("KernelView | None", view))


def test_it_is_that_of_the_instructions_until_memory_can_be_read() -> None:
    clock, view = GuestClock(Determinism(1, 4), 1000), View(4_294_892_296)
    assert read(clock, 100, None) == 1400
    assert read(clock, 200, view) == 1800
    view.now += 10
    assert read(clock, 300, view) == 1800 + 10 * TICK_NS, "idle time that was skipped counts, too"


def test_a_guest_whose_jiffies_stand_gets_older_all_the_same() -> None:
    clock, view = GuestClock(Determinism(1, 4), 0), View(1)
    begin_ns = read(clock, 0, view)
    most = HUNG_NS // 4
    assert read(clock, most, view) == begin_ns
    assert read(clock, most + 1000, view) == begin_ns + 4000
    view.now += 1
    assert read(clock, most + 2000, view) == begin_ns + TICK_NS, "it never goes back"


def test_a_vcpu_has_run_for_as_long_as_its_instructions_take() -> None:
    executed = Executed(cast("HoldEngine", SimpleNamespace(counts=(10, 20))), 4)
    assert executed() == {0: 40, 1: 80}


def test_only_a_freeze_hides_a_guest_that_is_held() -> None:
    polled: list[int] = []
    coordinator = SimpleNamespace(
        frozen=True, frozen_reason=None, frozen_between_ns=lambda start, end: 0, poll=lambda: polled.append(1)
    )
    sight = FrozenByHand(cast("Coordinator", coordinator))
    sight.poll()
    assert (sight.frozen, sight.blind, sight.frozen_between_ns(0, 9), polled) == (False, "", 0, [1])
    coordinator.frozen_reason, coordinator.frozen_between_ns = "by me", lambda start, end: 7
    assert (sight.frozen, sight.blind, sight.frozen_between_ns(0, 9)) == (True, "", 7)


async def test_tasks_are_taken_in_their_order() -> None:
    taken: list[int] = []

    async def take(number: int) -> None:
        for turn in range(20):
            taken.append(number + turn)
            await trio.lowlevel.checkpoint()

    with tasks_in_order(True):
        await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as nursery:
            for number in (100, 200, 300):
                nursery.start_soon(take, number)
    turns = [taken[at : at + 3] for at in range(0, len(taken), 3)]
    assert all([it // 100 for it in turn] == [1, 2, 3] for turn in turns)
