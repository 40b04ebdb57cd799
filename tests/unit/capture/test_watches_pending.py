"""A watch that waits for memory or a pointer, beside slot 0, and one that the guest asks for."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from ktstr_tui.capture.bridge import WatchRefusedError
from ktstr_tui.capture.watch.scenario_watches import ScenarioWatches
from ktstr_tui.capture.watch.watch_spec import WatchSpec
from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.model.events import CaptureTaken, WatchpointChanged
from tests.unit.capture.fakes import EXIT_OFFSET, ROOT_SLOT, SCHED_A, SCHED_B
from tests.unit.capture.test_watches import COUNT, MEMBER, TARGET
from tests.unit.capture.watching import COUNTER, POINTER, WatchRig, watching

pytestmark = pytest.mark.usefixtures("no_threads")


# -- waiting for memory and for pointers -----------------------------------------------------------------


async def test_before_memory_is_typed_a_watch_is_pending(autojump_clock: MockClock) -> None:
    async with watching(typed=False) as rig:
        assert await rig.coordinator.watches.add(COUNT) == 1
        assert rig.engine.stops == 0
        assert rig.states(1) == [("pending", None)]
        await rig.attach()
        assert rig.states(1) == [("pending", None), ("armed", COUNTER)]


async def test_a_pending_watch_whose_symbol_is_unknown_fails_with_the_reason_and_frees_its_slot(
    autojump_clock: MockClock,
) -> None:
    async with watching(typed=False) as rig:
        for name in ("countr", "odd", "counter"):
            await rig.coordinator.watches.add(WatchSpec(expression=name))
        await rig.attach()
        failed = [it for it in rig.of(WatchpointChanged) if it.state == "failed"]
        assert [(it.slot, it.detail) for it in failed] == [
            (1, "this kernel has no symbol 'countr'; did you mean counter?"),
            (2, "0xffffffff80004001 is not aligned to 4 bytes; watch 0xffffffff80004000 instead"),
        ]
        assert rig.states(3)[-1] == ("armed", COUNTER)
        assert await rig.coordinator.watches.add(WatchSpec(expression="raw")) == 1
        assert rig.states(1)[-2:] == [("removed", None), ("armed", COUNTER + 0x200)]
        assert await rig.coordinator.watches.remove(2)


async def test_a_watch_through_null_waits_and_moves_with_its_pointer(autojump_clock: MockClock) -> None:
    async with watching() as rig:
        rig.view.words[TARGET + 8] = 3
        rig.view.words[TARGET + 0x108] = 4
        await rig.coordinator.watches.add(MEMBER)
        assert rig.of(WatchpointChanged)[-1].detail == "ptr is NULL"
        stops = rig.engine.stops
        rig.coordinator.poll()
        await rig.settle()
        assert rig.engine.stops == stops
        for pointer in (TARGET, TARGET + 0x100, 0):
            rig.view.words[POINTER] = pointer
            rig.coordinator.poll()
            await rig.settle()
        assert rig.states(1) == [
            ("pending", None),
            ("armed", TARGET + 8),
            ("armed", TARGET + 0x108),
            ("pending", None),
        ]
        assert rig.engine.watches == {ROOT_SLOT: 8}
        assert rig.hits() == []
        assert rig.coordinator.watches.statistics().moves == 1


async def test_a_pointer_to_what_cannot_be_watched_does_not_stop_the_guest_over_and_over(
    autojump_clock: MockClock,
) -> None:
    async with watching() as rig:
        await rig.coordinator.watches.add(MEMBER)
        rig.view.words[POINTER] = TARGET + 1
        stops = rig.engine.stops
        for _ in range(5):
            rig.coordinator.poll()
            await rig.settle()
        assert rig.engine.stops == stops


# -- beside slot 0 -----------------------------------------------------------------------------------------


async def test_slot_0_and_a_user_may_watch_the_same_bytes(autojump_clock: MockClock) -> None:
    async with watching() as rig:
        await rig.coordinator.watches.add(WatchSpec(expression="scx_root", length_bytes=8))
        await rig.coordinator.watches.add(WatchSpec(expression="scx_root->exit_kind"))
        rig.engine.write_root(SCHED_A, vcpu=1)
        await rig.settle()
        # Slot 0 has moved on to exit_kind; the user's watch on the pointer stays, and the other one came along.
        assert rig.engine.watches == {ROOT_SLOT: 8, SCHED_A + EXIT_OFFSET: 4}
        assert rig.changes() == [("attached", "alpha", None)]
        assert (rig.hits()[0].slot, rig.hits()[0].value) == (1, SCHED_A)
        rig.engine.write_exit(SCHED_A, 1026)
        await rig.settle()
        assert rig.changes()[-1] == ("ejected", "alpha", 1026)
        assert (rig.hits()[1].slot, rig.hits()[1].value, rig.hits()[1].writer is not None) == (2, 1026, True)
        for root in (None, SCHED_B):
            rig.engine.write_root(root)
            await rig.settle()
        assert rig.changes()[-2:] == [("detached", "alpha", None), ("attached", "beta", None)]
        assert await rig.coordinator.watches.remove(2)
        assert rig.engine.watches == {ROOT_SLOT: 8, SCHED_B + EXIT_OFFSET: 4}
        assert await rig.coordinator.watches.remove(1)
        assert rig.engine.watches == {SCHED_B + EXIT_OFFSET: 4}
        statistics = rig.coordinator.statistics()
        assert (statistics.hits, statistics.none_hits) == (4, 0)


# -- watches of the guest, through the bridge --------------------------------------------------------------


def scenario_watches(rig: WatchRig) -> ScenarioWatches:
    """The guest's watches through the rig's bridge."""
    return ScenarioWatches(rig.coordinator.watches, rig.bridge)


async def test_the_guests_watch_takes_a_bridge_slot_and_captures_under_its_symbol(
    autojump_clock: MockClock,
) -> None:
    async with watching() as rig:
        watches = scenario_watches(rig)
        await watches.watch("counter")
        assert rig.bridge.watch_count() == 1
        rig.write(COUNTER, 2)
        await rig.settle()
        (taken,) = rig.of(CaptureTaken)
        assert (taken.report.tag, taken.report.trigger) == ("counter", "watch")
        assert rig.bridge.has("counter")
        assert await rig.coordinator.watches.remove(1)
        assert rig.bridge.watch_count() == 0


async def test_the_guests_refused_watch_frees_its_bridge_slot(autojump_clock: MockClock) -> None:
    async with watching() as rig:
        watches = scenario_watches(rig)
        with pytest.raises(UsageError, match="no symbol"):
            await watches.watch("countr")
        assert rig.view.compiled == [("countr", False)]
        rig.engine.refuse_watches = True
        with pytest.raises(HostError, match="debug register"):
            await watches.watch("counter")
        assert rig.bridge.watch_count() == 0
        assert rig.coordinator.watches.statistics().slots_taken == 0


async def test_the_guest_gets_no_more_than_what_users_leave(autojump_clock: MockClock) -> None:
    async with watching() as rig:
        watches = scenario_watches(rig)
        await rig.coordinator.watches.add(COUNT)
        await watches.watch("raw")
        await watches.watch("wide")
        with pytest.raises(UsageError, match="all 3 watch slots are taken"):
            await watches.watch("scx_root")
        assert rig.bridge.watch_count() == 2
        await rig.coordinator.watches.remove(1)
        await watches.watch("scx_root")
        with pytest.raises(WatchRefusedError, match="cap exceeded"):
            await watches.watch("ptr->member")
        assert rig.bridge.watch_count() == 3


async def test_the_guests_pending_watch_that_fails_later_gives_its_bridge_slot_back(
    autojump_clock: MockClock,
) -> None:
    async with watching(typed=False) as rig:
        watches = scenario_watches(rig)
        await watches.watch("countr")
        assert rig.bridge.watch_count() == 1
        await rig.attach()
        assert rig.bridge.watch_count() == 0
        assert await rig.coordinator.watches.remove(1)
        assert rig.bridge.watch_count() == 0
