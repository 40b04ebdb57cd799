"""Going back in time: what a debugger is shown is what it was shown on the way forward, in the other order."""

from __future__ import annotations

import bisect
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from ktstr_tui.capture.debug_access import Resume
from ktstr_tui.capture.stop.debugger import DebuggerStop
from ktstr_tui.capture.watch.debugger_points import Point
from ktstr_tui.guest.observer_page import MAX_NOTES
from ktstr_tui.guest.retracing import Place
from ktstr_tui.model.errors import UsageError
from tests.unit.debug.going_back import BLOCKS, BREAK, CODE, DATA, WATCH, debugging
from tests.unit.debug.history import Block, Store

WROTE, BROKE = DebuggerStop(vcpu=0, watch="watch", address=DATA), DebuggerStop(vcpu=0)
ON_1 = DebuggerStop(vcpu=1, watch="watch", address=DATA)
AT_BEGIN = DebuggerStop(vcpu=0, at_begin=True)


async def test_breakpoints_and_writes_come_in_the_other_order_and_before_they_happen() -> None:
    async with debugging(BLOCKS) as debugger:
        debugger.past.want(BREAK)
        debugger.past.want(WATCH)
        forward = [(await debugger.go_on(), debugger.place.total) for _ in range(6)]
        assert forward == [(WROTE, 7), (BROKE, 7), (ON_1, 14), (BROKE, 16), (WROTE, 21), (WROTE, 21)]
        back = [(await debugger.back(), debugger.place.total) for _ in range(5)]
        # A block's two stores are gone back over at once. The one of vCPU 1 left what there was, so it is none.
        assert back == [(WROTE, 16), (BROKE, 7), (WROTE, 4), (AT_BEGIN, 0), (AT_BEGIN, 0)]
        again = [(await debugger.go_on(), debugger.place.total) for _ in range(6)]
        assert again == forward
        assert "nothing came before but a write: this is the beginning of the run" in debugger.said
        assert debugger.said[-1] == "back at the present"


@settings(max_examples=30)
@given(st.data())
async def test_going_back_meets_what_going_on_met(data: st.DataObject) -> None:
    stores = st.builds(
        Store, st.sampled_from((DATA, DATA + 4, DATA + 64)), st.integers(0, 2), st.sampled_from((4, 8))
    )
    block = st.builds(
        Block,
        st.integers(0, 1),
        st.sampled_from([CODE + 0x10 * it for it in range(4)]),
        st.integers(3, 9),
        st.lists(stores, max_size=2).map(tuple),
    )
    # Where it begins no debugger sets a breakpoint.
    blocks = [Block(0, CODE + 0x100, 1), *data.draw(st.lists(block, min_size=1, max_size=8))]
    async with debugging(blocks) as debugger:
        for point in data.draw(st.sets(st.sampled_from((BREAK, WATCH)), min_size=1)):
            debugger.past.want(point)
        begins = []
        while await debugger.go_on() != DebuggerStop(vcpu=0) or debugger.live.place().hit is not None:
            begins.append(begin_of(blocks, debugger.live.place()))
        back = []
        while not (stop := await debugger.back()).at_begin:
            assert stop.watch is None or stop.address == DATA
            back.append(debugger.place.total)
        assert back == sorted(back, reverse=True)
        assert len(back) == len(set(back))
        assert set(back) <= set(begins)
        # What is missing are stores that may have left what there was, and nothing else.
        for missed in set(begins) - set(back):
            assert all(it.width for it in hits_of(blocks, missed, debugger.live.points))


async def test_breakpoints_of_one_block_come_one_by_one_at_their_own_addresses() -> None:
    breaks = [Point("break", CODE + it, 1) for it in (0x20, 0x22, 0x24)]
    async with debugging(BLOCKS) as debugger:
        for point in breaks:
            debugger.past.want(point)
        forward = [
            (await debugger.go_on(), debugger.place.total, debugger.place.breakpoint) for _ in range(5)
        ]
        assert [it[2] for it in forward] == [CODE + it for it in (0x20, 0x22, 0x24, 0x20, 0x22)]
        back = [(await debugger.back(), debugger.place.total, debugger.place.breakpoint) for _ in range(4)]
        assert back == forward[-2::-1]
        assert (await debugger.back()).at_begin
        again = [(await debugger.go_on(), debugger.place.total, debugger.place.breakpoint) for _ in range(5)]
        assert again == forward
        assert debugger.said[-1] == "back at the present"


@pytest.mark.parametrize("kept", [0, 1, 2])
async def test_the_present_is_met_whichever_breakpoint_of_its_block_is_left(kept: int) -> None:
    breaks = [Point("break", CODE + it, 1) for it in (0x20, 0x22, 0x24)]
    async with debugging(BLOCKS[4:]) as debugger:
        for point in breaks:
            debugger.past.want(point)
        for _ in range(3):
            await debugger.go_on()
        for _ in range(2):
            await debugger.back()
        assert (debugger.place.total, debugger.place.breakpoint) == (2, CODE + 0x20)
        assert debugger.viewers[-1] == "0 instructions before the present"
        for point in breaks[:kept] + breaks[kept + 1 :]:
            debugger.past.drop(point)
        assert await debugger.go_on() == BROKE
        # The first of them is where it is, so the next stop is where the guest itself ends.
        assert debugger.place.breakpoint == (breaks[kept].address if kept else None)
        assert debugger.past._guest is None or kept == 1
        assert (debugger.viewers[-1] == "") == (kept != 1)


async def test_a_step_back_is_to_the_block_before_of_that_vcpu_and_a_step_leads_on() -> None:
    async with debugging(BLOCKS) as debugger:
        debugger.past.want(Point("break", CODE + 0x60, 1))
        await debugger.go_on()
        assert debugger.place.total == 27
        assert await debugger.back(1, step=True) == DebuggerStop(vcpu=1)
        assert debugger.place.total == 14
        assert debugger.past.describe(1) == "CPU 1: spin[1], in the past"
        assert await debugger.back(0, step=True) == DebuggerStop(vcpu=0)
        assert debugger.place.total == 7
        assert await debugger.go_on(Resume(vcpu=0, step=True)) == DebuggerStop(vcpu=0)
        assert debugger.place.total == 16
        assert debugger.viewers == [
            "13 instructions before the present",
            "20 instructions before the present",
        ]
        # The step ends behind the present: it is the guest itself that makes it.
        assert await debugger.go_on(Resume(vcpu=1, step=True)) == DebuggerStop(vcpu=1)
        assert debugger.place.total == 27
        assert debugger.viewers[-1] == ""
        assert debugger.past.describe(1) == "CPU 1: spin[1]"


async def test_the_next_step_needs_one_run_more_which_is_there_before_it_is_asked_for() -> None:
    async with debugging(BLOCKS) as debugger:
        debugger.past.want(Point("break", CODE + 0x50, 1))
        await debugger.go_on()
        await debugger.back(0, step=True)
        await wait_all_tasks_blocked()
        opened = debugger.histories.opened
        assert (opened, len(debugger.histories.open)) == (
            3,
            2,
        )  # noted, went there; the spare one is in its place
        await debugger.back(0, step=True)
        await wait_all_tasks_blocked()
        assert debugger.histories.opened == opened + 1
        assert len(debugger.histories.open) == 2
        # What is looked for is another thing, so it is noted anew.
        debugger.past.want(WATCH)
        await debugger.back()
        assert debugger.histories.opened > opened + 2


async def test_the_past_is_not_written_to_and_the_present_is() -> None:
    async with debugging(BLOCKS) as debugger:
        debugger.past.want(BREAK)
        await debugger.go_on()
        assert await debugger.past.write(0, "M0,1:00") == "OK"
        await debugger.back(0, step=True)
        with pytest.raises(UsageError, match="the past cannot be changed"):
            await debugger.past.write(0, "M0,1:00")
        assert debugger.live.written == ["M0,1:00"]
        assert debugger.histories.open[0].written == []


async def test_a_run_that_is_gone_leads_back_to_the_present() -> None:
    async with debugging(BLOCKS) as debugger:
        debugger.past.want(BREAK)
        await debugger.go_on()
        present = debugger.place
        await debugger.back(0, step=True)
        for stream in debugger.histories.streams:
            await stream.aclose()
        # What the debugger has read stays true until it is told of a stop: it is not answered from another instant.
        for _ in range(2):
            with pytest.raises(UsageError, match="the rerun ended") as refusal:
                await debugger.past.ask(0, "g")
            assert "continue leads back" in refusal.value.hint
        assert (await debugger.go_on()).interrupted
        assert debugger.said[-1] == "the rerun ended before it got there; back at the present"
        assert debugger.place == present
        assert debugger.viewers[-1] == ""
        assert await debugger.past.ask(0, "g") == f"{present.rip:x}"


async def test_where_a_run_is_gone_the_way_back_is_that_of_another() -> None:
    async with debugging(BLOCKS) as debugger:
        debugger.past.want(Point("break", CODE + 0x60, 1))
        await debugger.go_on()
        await debugger.back(0, step=True)
        assert debugger.place.total == 21
        await wait_all_tasks_blocked()
        for stream in debugger.histories.streams:
            await stream.aclose()
        assert await debugger.back(0, step=True) == DebuggerStop(vcpu=0)
        assert debugger.place.total == 16
        await wait_all_tasks_blocked()
        assert len(debugger.histories.open) == 2


async def test_another_history_is_noticed_and_named() -> None:
    async with debugging(BLOCKS) as debugger:
        debugger.past.want(BREAK)
        await debugger.go_on()
        debugger.histories.blocks = [Block(0, CODE, 4), Block(0, CODE, 3), *BLOCKS[3:]]
        assert (await debugger.back(0, step=True)).interrupted
        assert "it is not the same run" in debugger.said[-1]
        debugger.histories.blocks = [Block(0, CODE, 5), *BLOCKS[1:]]
        assert (await debugger.back(0, step=True)).interrupted
        assert "it is not the same" in debugger.said[-1]


async def test_stores_that_change_nothing_are_passed_over_as_far_as_is_noted() -> None:
    same = Block(0, CODE, 3, (Store(DATA, 1),))
    async with debugging([same] * (MAX_NOTES + 100)) as debugger:
        debugger.past.want(WATCH)
        for _ in range(MAX_NOTES + 50):
            await debugger.go_on()
        # Whether the oldest that is noted changed something is for the debugger to see.
        assert (await debugger.back(), debugger.place.total) == (WROTE, 3 * 50)
        assert (await debugger.back(), debugger.place.total) == (WROTE, 0)
        assert (await debugger.back()).at_begin


async def test_an_instruction_that_stores_more_often_than_is_noted_is_named() -> None:
    stores = tuple(Store(DATA, it) for it in range(MAX_NOTES + 10))
    async with debugging([Block(0, CODE, 3), Block(0, CODE, 3, stores)]) as debugger:
        debugger.past.want(WATCH)
        assert await debugger.go_on() == WROTE
        assert (await debugger.back()).interrupted
        assert "stores too often" in debugger.said[-1]


def begins_of(blocks: list[Block]) -> list[int]:
    """Instructions before each block."""
    return [0, *itertools.accumulate(it.instructions for it in blocks)]


def begin_of(blocks: list[Block], place: Place) -> int:
    """Instructions before the block that a place is in, or where one begins."""
    begins = begins_of(blocks)
    return begins[bisect.bisect_left(begins, place.total) - place.in_block]


def hits_of(blocks: list[Block], began: int, points: set[Point]) -> list[Store]:
    """What a debugger would be told of in a block: its stores, and one without a width for a breakpoint."""
    block = blocks[begins_of(blocks).index(began)]
    broken = [Store(block.rip, 0, 0)] if BREAK in points and block.rip == BREAK.address else []
    return [*broken, *(it for it in block.stores if it.address < DATA + 8)]
