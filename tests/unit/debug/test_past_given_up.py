"""Going back in time takes as long as the run: who waits is told how far it is, and can give it up at every stage."""

from __future__ import annotations

import trio
import trio.testing
from trio.testing import wait_all_tasks_blocked

from ktstr_tui.capture.debug_access import Resume
from ktstr_tui.capture.stop.debugger import DebuggerStop
from ktstr_tui.debug.again import TELL_EACH_S
from ktstr_tui.debug.spare import Spare
from tests.unit.debug.going_back import BLOCKS, BREAK, debugging
from tests.unit.debug.history import VCPUS, Histories


async def test_a_way_back_can_be_given_up_and_leaves_everything_as_it_was() -> None:
    async with debugging(BLOCKS) as debugger:
        debugger.past.want(BREAK)
        await debugger.go_on()
        before, debugger.histories.wait = debugger.place, True
        await debugger.past.go_back(0, step=True)
        await wait_all_tasks_blocked()
        await debugger.past.interrupt()
        assert await debugger.stop() == DebuggerStop(vcpu=0, interrupted=True)
        assert debugger.place == before
        debugger.histories.wait = False
        for spare in debugger.histories.open:
            spare.waits = False
        assert await debugger.back(0, step=True) == DebuggerStop(vcpu=0)


async def test_a_way_back_can_be_given_up_before_it_is_begun() -> None:
    async with debugging(BLOCKS) as debugger:
        debugger.past.want(BREAK)
        await debugger.go_on()
        await debugger.past.go_back(0, step=True)
        await debugger.past.interrupt()
        assert await debugger.stop() == DebuggerStop(vcpu=0, interrupted=True)
        assert debugger.live.interrupts == 0


async def test_who_interrupts_when_the_present_goes_on_already_interrupts_the_guest() -> None:
    async with debugging(BLOCKS) as debugger:
        debugger.past.want(BREAK)
        await debugger.go_on()
        await debugger.back(0, step=True)
        debugger.past.drop(BREAK)
        debugger.live.waits = True
        debugger.live.may_resume = trio.Event()
        await debugger.past.resume(Resume())
        await wait_all_tasks_blocked()
        await debugger.past.interrupt()
        debugger.live.may_resume.set()
        assert await debugger.stop() == DebuggerStop(vcpu=0, interrupted=True)
        assert debugger.live.interrupts == 1


async def test_whoever_waits_for_the_run_that_is_on_its_way_is_told_how_far_it_is(
    autojump_clock: trio.testing.MockClock,
) -> None:
    told: list[float] = []

    async def tell(share: float) -> None:
        told.append(share)

    async with trio.open_nursery() as nursery:
        histories = Histories(BLOCKS, nursery)
        histories.wait = True
        spare = Spare(histories.again, VCPUS, 7)
        nursery.start_soon(spare.run)
        with trio.move_on_after(3 * TELL_EACH_S + 1):
            await spare.take(tell)
        assert told == [0] * 3
        spare.end()


async def test_whoever_waits_is_told_how_far_it_is(autojump_clock: trio.testing.MockClock) -> None:
    async with debugging(BLOCKS) as debugger:
        debugger.past.want(BREAK)
        await debugger.go_on()
        debugger.histories.wait = True
        await debugger.past.go_back(0, step=True)
        await trio.sleep(3 * TELL_EACH_S + 1)
        # It does not get anywhere, and is let run again each time.
        await debugger.past.interrupt()
        assert (await debugger.stop()).interrupted
        assert debugger.said[1:] == ["0% of the way"] * 3


async def test_a_past_that_goes_on_is_interrupted_where_it_is() -> None:
    async with debugging(BLOCKS) as debugger:
        debugger.past.want(BREAK)
        await debugger.go_on()
        await debugger.back(0, step=True)
        shown = next(it for it in debugger.histories.open if it.place().total == 4)
        shown.waits = True
        await debugger.past.resume(Resume())
        await wait_all_tasks_blocked()
        await debugger.past.interrupt()
        assert await debugger.stop() == DebuggerStop(vcpu=0, interrupted=True)
        assert debugger.place.total == 4
