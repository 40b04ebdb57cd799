"""The user's watchpoints against a stub and a memory that are not there."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ktstr_tui.capture.finisher import MAX_UNFINISHED
from ktstr_tui.capture.watch.watch_spec import WatchSpec
from ktstr_tui.guest.engine import Stop
from ktstr_tui.model.commands import HITS_PER_S
from ktstr_tui.model.errors import GuestError, HostError, UsageError
from ktstr_tui.model.events import CaptureTaken, Frozen, WatchpointChanged
from tests.unit.capture.fakes import EXIT_OFFSET, ROOT_SLOT, SCHED_A
from tests.unit.capture.watching import COUNTER, WatchRig, watching

pytestmark = pytest.mark.usefixtures("no_threads")
COUNT = WatchSpec(expression="counter")
MEMBER = WatchSpec(expression="ptr->member")
TARGET = 0xFFFF_8880_0001_0000


# -- setting and removing ----------------------------------------------------------------------------------


async def test_a_watch_is_armed_beside_slot_0(autojump_clock: MockClock) -> None:
    async with watching() as rig:
        assert await rig.coordinator.watches.add(COUNT) == 1
        assert rig.engine.watches == {ROOT_SLOT: 8, COUNTER: 4}
        (change,) = [it for it in rig.of(WatchpointChanged) if it.slot == 1]
        assert change == WatchpointChanged(
            slot=1,
            expression="counter",
            address=COUNTER,
            state="armed",
            length_bytes=4,
            budget_per_s=HITS_PER_S,
        )


async def test_eight_bytes_are_watched_when_asked_for(autojump_clock: MockClock) -> None:
    async with watching() as rig:
        await rig.coordinator.watches.add(WatchSpec(expression="wide", length_bytes=8))
        assert rig.engine.watches[COUNTER + 0x100] == 8


async def test_there_are_three_slots(autojump_clock: MockClock) -> None:
    async with watching() as rig:
        watches = rig.coordinator.watches
        assert [await watches.add(WatchSpec(expression=name)) for name in ("counter", "wide", "raw")] == [
            1,
            2,
            3,
        ]
        with pytest.raises(UsageError, match="all 3 watch slots are taken"):
            await watches.add(WatchSpec(expression="scx_root"))
        assert await watches.remove(2)
        assert await watches.add(WatchSpec(expression="scx_root")) == 2
        assert (watches.statistics().slots_taken, watches.statistics().refused) == (3, 1)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (WatchSpec(expression="countr"), "no symbol 'countr'"),
        (WatchSpec(expression="odd"), "not aligned to 4 bytes"),
        (WatchSpec(expression="user"), "user half"),
        (WatchSpec(expression="unmapped"), "is not mapped"),
        (WatchSpec(expression="counter", length_bytes=2), "4 or 8 bytes"),
        (WatchSpec(expression="counter", budget_per_s=0), "budget of 0"),
    ],
)
async def test_what_cannot_be_watched_is_refused_and_takes_no_slot(
    autojump_clock: MockClock, spec: WatchSpec, message: str
) -> None:
    async with watching() as rig:
        stops = rig.engine.stops
        with pytest.raises(UsageError, match=message):
            await rig.coordinator.watches.add(spec)
        statistics = rig.coordinator.watches.statistics()
        assert (statistics.slots_taken, statistics.refused, rig.engine.stops) == (0, 1, stops)
        assert rig.states(1) == []


async def test_the_same_expression_is_not_watched_twice(autojump_clock: MockClock) -> None:
    async with watching() as rig:
        await rig.coordinator.watches.add(COUNT)
        with pytest.raises(UsageError, match="slot 1 watches counter already"):
            await rig.coordinator.watches.add(WatchSpec(expression=" counter "))


async def test_a_host_without_debug_registers_refuses_and_the_slot_is_free_again(
    autojump_clock: MockClock,
) -> None:
    async with watching() as rig:
        rig.engine.refuse_watches = True
        with pytest.raises(HostError, match="no debug register"):
            await rig.coordinator.watches.add(COUNT)
        assert [state for state, _ in rig.states(1)] == ["failed", "removed"]
        rig.engine.refuse_watches = False
        assert await rig.coordinator.watches.add(COUNT) == 1


async def test_a_removed_watch_no_longer_stops_the_guest(autojump_clock: MockClock) -> None:
    async with watching() as rig:
        await rig.coordinator.watches.add(COUNT)
        assert await rig.coordinator.watches.remove(1)
        assert not await rig.coordinator.watches.remove(1)
        assert rig.engine.watches == {ROOT_SLOT: 8}
        assert rig.states(1) == [("armed", COUNTER), ("removed", None)]
        rig.stop_otherwise()
        await rig.settle()
        assert rig.engine.watches == {ROOT_SLOT: 8}


@pytest.mark.parametrize("slot", [0, 4, -1])
async def test_other_slots_are_not_the_users(autojump_clock: MockClock, slot: int) -> None:
    async with watching() as rig:
        with pytest.raises(UsageError, match=f"slot {slot} is not a user slot"):
            await rig.coordinator.watches.remove(slot)
        with pytest.raises(UsageError, match=f"slot {slot} is not a user slot"):
            await rig.coordinator.watches.resume(slot)


async def test_a_watch_is_set_even_if_its_user_leaves(autojump_clock: MockClock) -> None:
    async with watching() as rig:
        with trio.CancelScope() as scope:
            scope.cancel()
            await rig.coordinator.watches.add(COUNT)
        await rig.settle()
        assert rig.states(1) == [("armed", COUNTER)]


async def test_a_guest_that_is_gone_takes_no_watch(autojump_clock: MockClock) -> None:
    async with watching() as rig:
        rig.engine.die()
        await wait_all_tasks_blocked()
        with pytest.raises(GuestError):
            await rig.coordinator.watches.add(COUNT)
        assert rig.coordinator.watches.statistics().slots_taken == 0
        rig.engine.running = True


async def test_watches_are_set_and_removed_while_a_user_holds_the_guest(autojump_clock: MockClock) -> None:
    async with watching() as rig:
        await rig.coordinator.freeze("test")
        await rig.coordinator.watches.add(COUNT)
        assert not rig.engine.running
        assert rig.engine.watches[COUNTER] == 4
        assert await rig.coordinator.watches.remove(1)
        assert COUNTER not in rig.engine.watches
        assert rig.states(1) == [("armed", COUNTER), ("removed", None)]
        assert rig.of(Frozen)
        await rig.coordinator.thaw("test")


# -- hits --------------------------------------------------------------------------------------------------


async def test_a_hit_tells_old_new_and_who_wrote(autojump_clock: MockClock) -> None:
    async with watching() as rig:
        await rig.coordinator.watches.add(COUNT)
        rig.write(COUNTER, 7, vcpu=1)
        await rig.settle()
        rig.write(COUNTER, 9)
        await rig.settle()
        first, second = rig.hits()
        assert (first.slot, first.expression, first.vcpu, first.old, first.value) == (1, "counter", 1, 1, 7)
        assert (second.vcpu, second.old, second.value, second.capture) == (0, 7, 9, None)
        assert first.writer is not None
        assert (first.writer.comm, first.writer.pid, first.writer.cpu) == ("writer", 101, 1)
        assert first.stack is not None
        assert first.stack.frames[0].address == 0x1001
        assert rig.engine.running
        assert rig.of(CaptureTaken) == []
        assert rig.coordinator.statistics().none_hits == 0


async def test_writes_that_change_nothing_are_hits_too(autojump_clock: MockClock) -> None:
    async with watching() as rig:
        await rig.coordinator.watches.add(COUNT)
        rig.write(COUNTER, 1)
        await rig.settle()
        (hit,) = rig.hits()
        assert hit.old == hit.value == 1
        statistics = rig.coordinator.watches.statistics()
        assert (statistics.hits, statistics.unchanged) == (1, 1)


async def test_a_value_is_read_as_wide_as_its_type(autojump_clock: MockClock) -> None:
    async with watching() as rig:
        await rig.coordinator.watches.add(WatchSpec(expression="wide"))
        await rig.coordinator.watches.add(WatchSpec(expression="raw"))
        rig.write(COUNTER + 0x100, 0x1_0000_0005)
        await rig.settle()
        rig.write(COUNTER + 0x200, 0x1_0000_0006)
        await rig.settle()
        assert [hit.value for hit in rig.hits()] == [0x1_0000_0005, 6]


async def test_a_write_that_another_stop_swallowed_is_found_without_its_writer(
    autojump_clock: MockClock,
) -> None:
    async with watching() as rig:
        await rig.coordinator.watches.add(COUNT)
        rig.view.words[COUNTER] = 5
        rig.stop_otherwise()
        await rig.settle()
        (hit,) = rig.hits()
        assert (hit.vcpu, hit.old, hit.value, hit.writer, hit.stack) == (None, 1, 5, None, None)
        assert rig.coordinator.watches.statistics().swallowed == 1


async def test_a_writer_that_cannot_be_unwound_costs_the_stack_only(autojump_clock: MockClock) -> None:
    async with watching() as rig:
        rig.broken_writer = True
        await rig.coordinator.watches.add(COUNT)
        rig.write(COUNTER, 2)
        await rig.settle()
        (hit,) = rig.hits()
        assert hit.value == 2
        assert hit.stack is not None
        assert hit.stack.end == "unwinding failed: ValueError: torn"


async def test_the_last_hit_of_a_watch_that_is_gone_moves_nothing(autojump_clock: MockClock) -> None:
    async with watching() as rig:
        await rig.coordinator.watches.add(COUNT)
        await rig.coordinator.watches.remove(1)
        rig.engine.arrive(Stop("watch", 0, COUNTER))
        await rig.settle()
        assert rig.hits() == []
        assert rig.coordinator.statistics().hits == 0
        assert rig.engine.running


async def test_once_means_once(autojump_clock: MockClock) -> None:
    async with watching() as rig:
        await rig.coordinator.watches.add(WatchSpec(expression="counter", once=True))
        rig.write(COUNTER, 2)
        await rig.settle()
        rig.write(COUNTER, 3)
        await rig.settle()
        assert [hit.value for hit in rig.hits()] == [2]
        assert rig.engine.watches == {ROOT_SLOT: 8}
        assert [state for state, _ in rig.states(1)] == ["armed", "removed"]
        assert rig.coordinator.watches.statistics().slots_taken == 0


# -- the budget --------------------------------------------------------------------------------------------


async def storm(rig: WatchRig, writes: int) -> None:
    for number in range(writes):
        rig.write(COUNTER, 100 + number)
        await wait_all_tasks_blocked()


async def test_too_many_hits_pause_the_watch_until_its_user_resumes_it(autojump_clock: MockClock) -> None:
    async with watching() as rig:
        watches = rig.coordinator.watches
        await watches.add(COUNT)
        await storm(rig, HITS_PER_S + 30)
        assert len(rig.hits()) == HITS_PER_S + 1
        assert COUNTER not in rig.engine.watches
        assert [state for state, _ in rig.states(1)] == ["armed", "paused"]
        await trio.sleep(3600)
        rig.coordinator.poll()
        await rig.settle()
        assert COUNTER not in rig.engine.watches
        assert await watches.resume(1)
        assert not await watches.resume(1)
        rig.write(COUNTER, 7)
        await rig.settle()
        # What was written while it was paused is nobody's hit.
        assert (rig.hits()[-1].old, rig.hits()[-1].value) == (100 + HITS_PER_S + 29, 7)
        assert watches.statistics().pauses == 1


async def test_hits_within_the_budget_go_on_for_ever(autojump_clock: MockClock) -> None:
    async with watching() as rig:
        await rig.coordinator.watches.add(WatchSpec(expression="counter", budget_per_s=2))
        for number in range(50):
            rig.write(COUNTER, number)
            await rig.settle()
            await trio.sleep(0.6)
        assert len(rig.hits()) == 50
        assert rig.coordinator.watches.statistics().pauses == 0


async def test_few_hits_pause_the_watch_where_each_makes_the_guest_stand_for_long(
    autojump_clock: MockClock,
) -> None:
    async with watching() as rig:
        watches = rig.coordinator.watches
        await watches.add(COUNT)
        # A user's own freeze is not the watch's fault.
        await rig.coordinator.freeze("a look around")
        await trio.sleep(0.9)
        await rig.coordinator.thaw("enough")
        rig.engine.register_delay_s = 0.1
        for number in range(4):
            assert rig.states(1)[-1][0] == "armed", number
            rig.write(COUNTER, 100 + number)
            await trio.sleep(0.2)
        assert len(rig.hits()) == 4
        told = rig.of(WatchpointChanged)[-1]
        assert (told.state, told.detail) == (
            "paused",
            "its hits stopped the guest for 400 ms of a second; resume it to continue",
        )
        assert await watches.resume(1)
        rig.write(COUNTER, 7)
        await trio.sleep(0.2)
        assert rig.states(1)[-1][0] == "armed"


async def test_slow_hits_that_are_far_between_go_on_for_ever(autojump_clock: MockClock) -> None:
    async with watching() as rig:
        await rig.coordinator.watches.add(COUNT)
        rig.engine.register_delay_s = 0.1
        for number in range(20):
            rig.write(COUNTER, number + 2)
            await trio.sleep(0.6)
        assert len(rig.hits()) == 20
        assert rig.coordinator.watches.statistics().pauses == 0


async def test_one_slots_storm_leaves_the_others_alone(autojump_clock: MockClock) -> None:
    async with watching() as rig:
        rig.load()
        rig.coordinator.poll()
        await rig.coordinator.watches.add(COUNT)
        await rig.coordinator.watches.add(WatchSpec(expression="raw"))
        await storm(rig, HITS_PER_S + 10)
        assert rig.engine.watches == {SCHED_A + EXIT_OFFSET: 4, COUNTER + 0x200: 4}
        rig.engine.write_exit(SCHED_A, 1026)
        await rig.settle()
        assert rig.changes()[-1] == ("ejected", "alpha", 1026)
        assert rig.coordinator.statistics().watch_pauses == 0


# -- captures ----------------------------------------------------------------------------------------------


async def test_a_watch_may_capture_at_each_hit(autojump_clock: MockClock) -> None:
    async with watching() as rig:
        await rig.coordinator.watches.add(WatchSpec(expression="counter", capture=True))
        rig.write(COUNTER, 2, vcpu=1)
        await rig.settle()
        (taken,) = rig.of(CaptureTaken)
        assert (taken.report.trigger, taken.report.tag) == ("watch", "watch-001")
        assert taken.report.trigger_detail == "counter = 0x2, was 0x1, by vCPU 1"
        assert rig.hits()[0].capture == "watch-001"


async def test_captures_are_left_out_while_many_wait_to_be_finished(autojump_clock: MockClock) -> None:
    async with watching() as rig:
        await rig.coordinator.watches.add(WatchSpec(expression="counter", capture=True))
        for number in range(10):
            rig.view.words[COUNTER] = number + 2
            rig.engine.arrive(Stop("watch", 0, COUNTER))
        await rig.settle()
        skipped = rig.coordinator.watches.statistics().captures_skipped
        taken = [hit.capture for hit in rig.hits() if hit.capture]
        assert len(taken) + skipped == len(rig.hits()) == 10
        assert len(rig.of(CaptureTaken)) == len(taken)
        assert not any(it.report.is_placeholder for it in rig.of(CaptureTaken))
        assert rig.coordinator.statistics().finisher.overflowed == 0
        assert len(taken) >= MAX_UNFINISHED // 2
