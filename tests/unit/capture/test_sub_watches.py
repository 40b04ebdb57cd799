"""Sub-schedulers through the coordinator: watched in free slots, captured at the write, polled when no slot is free."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from ktstr_tui.capture.watch.leaving import NAME_STOPPING
from ktstr_tui.capture.watch.lent_slots import POLLED_SLOT
from ktstr_tui.capture.watch.slots import WatchTarget
from ktstr_tui.capture.watch.sub_table import LIST_EXPRESSION, SubChange, SubLook, SubTable
from ktstr_tui.capture.watch.watch_spec import WatchSpec
from ktstr_tui.kernel.scx import ExitText
from ktstr_tui.model.events import (
    AlertCleared,
    AlertRaised,
    CaptureTaken,
    Event,
    SchedulerChanged,
    WatchpointChanged,
)
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import RunState
from ktstr_tui.model.verdict import end_reason, exit_code
from tests.unit.capture.fakes import EXIT_OFFSET, LIST_SLOT, SCHED_A, SCHED_B
from tests.unit.capture.sub_rig import STALL, SUB, SubRig
from tests.unit.capture.watching import COUNTER, watching

ERROR_BPF, UNREG, PARENT = 1025, 64, 68
WORDS = {ERROR_BPF: "ERROR_BPF", STALL: "ERROR_STALL", UNREG: "UNREG", PARENT: "PARENT"}


def look(number: int, kind: int = 0, cgroup: str | None = None) -> SubLook:
    return SubLook(SUB + number, f"sub{number}", cgroup or f"/{number}", kind)


def kinds(changes: list[SubChange]) -> list[tuple[str, str, int]]:
    return [(it.kind, it.sub.cgroup, it.sub.exit_kind) for it in changes]


def test_the_life_of_a_sub_scheduler() -> None:
    table = SubTable()
    assert kinds(table.look([look(1)], lambda gone: 0)) == [("attached", "/1", 0)]
    assert table.differs([look(1, STALL)], cut=False)
    assert kinds(table.look([look(1, STALL)], lambda gone: 0)) == [("left", "/1", STALL)]
    assert not table.differs([look(1, STALL)], cut=False)
    assert table.look([look(1, STALL)], lambda gone: 0) == []
    assert table.differs([], cut=False)
    assert kinds(table.look([], lambda gone: 0)) == [("detached", "/1", STALL)]


def test_one_that_is_gone_before_its_exit_was_seen_is_looked_at_once_more() -> None:
    table = SubTable()
    table.look([look(1), look(2)], lambda gone: 0)
    last = {SUB + 1: STALL}
    assert kinds(table.look([], lambda gone: last.get(gone.address, 0))) == [
        ("left", "/1", STALL),
        ("detached", "/1", STALL),
        ("detached", "/2", 0),
    ]


def test_another_one_in_the_same_memory_is_another_one() -> None:
    table = SubTable()
    table.look([look(1, STALL)], lambda gone: 0)
    assert kinds(table.look([look(1, 0)], lambda gone: 0)) == [
        ("detached", "/1", STALL),
        ("attached", "/1", 0),
    ]
    assert table.differs([look(1, 0, "/other")], cut=False)
    assert kinds(table.look([look(1, 0, "/other")], lambda gone: 0)) == [
        ("detached", "/1", 0),
        ("attached", "/other", 0),
    ]


def test_of_a_tree_that_was_cut_none_is_taken_for_gone() -> None:
    table = SubTable()
    table.look([look(1), look(2)], lambda gone: 0)
    assert not table.differs([look(1)], cut=True)
    assert table.look([look(1)], lambda gone: 0, cut=True) == []
    many = [look(k) for k in range(3, 600)]
    table.look(many, lambda gone: 0, cut=True)
    assert kinds(table.look(many, lambda gone: 0, cut=True))[:2] == [
        ("detached", "/1", 0),
        ("detached", "/2", 0),
    ]


def test_the_oldest_and_the_list_are_watched_before_the_others() -> None:
    table = SubTable()
    assert table.targets(None, lambda at: at) == []
    assert table.targets(0x99, lambda at: at) == [WatchTarget(LIST_EXPRESSION, 0x99, 8)]
    table.look([look(1, STALL), look(2), look(3)], lambda gone: 0)
    assert [it.expression for it in table.targets(0x99, lambda at: at)] == [
        "exit_kind of /2",
        LIST_EXPRESSION,
        "exit_kind of /3",
    ]


# -- through the coordinator


async def test_an_ejection_is_captured_at_the_write_and_the_parent_goes_on() -> None:
    async with watching() as rig:
        subs = SubRig(rig)
        await rig.attach()
        assert LIST_SLOT in rig.engine.watches
        address = subs.enter(1, "/box")
        await rig.settle()
        assert rig.engine.watches.get(address + EXIT_OFFSET) == 4
        subs.exit(address, ERROR_BPF, vcpu=1)
        await rig.settle()
        assert subs.changes() == [("attached", "/box", ""), ("ejected", "/box", "ERROR_BPF")]
        (call,) = rig.collect.calls
        assert call["detail"] == "exit_kind 1025 (ERROR_BPF) of /box, at the write by vCPU 1"
        assert call["about"] == address
        (alert,) = rig.of(AlertRaised)
        assert (alert.key, alert.capture) == ("ejected /box", call["tag"])
        assert alert.text.startswith("sub1 (/box) ejected: ERROR_BPF")
        assert address + EXIT_OFFSET not in rig.engine.watches
        # The loaded scheduler is untouched, and its own end would still be captured.
        assert rig.freeze_state().value == "idle"
        subs.leave(address, ERROR_BPF, "child broke in task 7")
        await subs.poll()
        (gone,) = [it for it in rig.of(SchedulerChanged) if it.change == "detached"]
        assert (gone.cgroup, gone.message, gone.exit_code) == ("/box", "child broke in task 7", 0x42)


async def test_the_alert_is_cleared_when_another_one_attaches_for_the_cgroup() -> None:
    async with watching() as rig:
        subs = SubRig(rig)
        await rig.attach()
        await subs.stall(1, "/box")
        subs.enter(2, "/box")
        await rig.settle()
        assert [it.key for it in rig.of(AlertCleared)] == ["ejected /box"]


@pytest.mark.parametrize(("kind", "comm"), [(PARENT, None), (UNREG, NAME_STOPPING)])
async def test_one_that_was_asked_to_leave_or_goes_with_its_parent_is_not_ejected(
    kind: int, comm: str | None
) -> None:
    async with watching() as rig:
        subs = SubRig(rig)
        rig.view.comm = comm or rig.view.comm
        await rig.attach()
        address = subs.enter(1, "/box")
        await rig.settle()
        subs.exit(address, kind)
        await rig.settle()
        assert subs.changes()[1:] == [("exiting", "/box", WORDS[kind])]
        assert rig.collect.calls == []


async def test_without_a_free_slot_it_is_polled_and_said_so() -> None:
    async with watching() as rig:
        subs = SubRig(rig)
        await rig.attach()
        for name in ("counter", "wide", "raw"):
            await rig.coordinator.watches.add(WatchSpec(expression=name))
        address = subs.enter(1, "/box")
        await subs.poll()
        assert address + EXIT_OFFSET not in rig.engine.watches
        assert LIST_SLOT not in rig.engine.watches
        row = [it for it in rig.of(WatchpointChanged) if it.slot == POLLED_SLOT][-1]
        assert (row.state, row.expression) == ("polled", "exit_kind of /box and 1 more watch")
        assert row.detail == "no slot is free: memory is read at every sample instead"
        subs.exit(address, STALL, hit=False)
        await subs.poll()
        assert subs.changes() == [("attached", "/box", ""), ("ejected", "/box", "ERROR_STALL")]
        assert rig.collect.calls[0]["detail"].endswith("late: noticed after the write")
        await rig.coordinator.watches.remove(1)
        await subs.poll()
        # The slot that is free again goes to the list, and nothing is polled any more.
        assert LIST_SLOT in rig.engine.watches
        assert [it.state for it in rig.of(WatchpointChanged) if it.slot == POLLED_SLOT][-1] == "removed"


async def test_one_that_was_polled_and_is_gone_is_still_known_to_be_ejected() -> None:
    async with watching() as rig:
        subs = SubRig(rig)
        await rig.attach()
        for name in ("counter", "wide", "raw"):
            await rig.coordinator.watches.add(WatchSpec(expression=name))
        address = subs.enter(1, "/box")
        await subs.poll()
        subs.leave(address, STALL, "x[1] failed to run for 1.000s")
        await subs.poll()
        assert subs.changes()[1:] == [("ejected", "/box", "ERROR_STALL"), ("detached", "/box", "")]


async def test_a_users_watch_takes_a_lent_slot_back() -> None:
    async with watching() as rig:
        subs = SubRig(rig)
        await rig.attach()
        for number in (1, 2, 3):
            subs.enter(number, f"/{number}")
            await rig.settle()
        assert len(rig.engine.watches) == 4
        slots = [
            await rig.coordinator.watches.add(WatchSpec(expression=name)) for name in ("counter", "wide")
        ]
        assert slots == [1, 2]
        assert rig.engine.watches.get(COUNTER) == 4
        assert len(rig.engine.watches) == 4
        state = folded(rig.events)
        assert [(it.slot, it.expression, it.state) for _, it in sorted(state.watchpoints.items())] == [
            (0, "scx_root->exit_kind", "armed"),
            (1, "counter", "armed"),
            (2, "wide", "armed"),
            (3, "exit_kind of /1", "armed"),
            (4, f"{LIST_EXPRESSION} and 2 more watches", "polled"),
        ]
        assert state.watchpoints[2].hits == 0
        # A write that a user's watch notices is no news of a scheduler.
        before = len(subs.changes())
        rig.write(COUNTER, 5)
        await rig.settle()
        assert len(subs.changes()) == before


async def test_when_the_loaded_scheduler_goes_those_below_it_go() -> None:
    async with watching() as rig:
        subs = SubRig(rig)
        await rig.attach()
        address = subs.enter(1, "/box")
        await rig.settle()
        rig.engine.write_exit(SCHED_A, STALL)
        await rig.settle()
        assert rig.engine.watches.keys() == {*rig.engine.watches} - {LIST_SLOT, address + EXIT_OFFSET}
        subs.exit(address, PARENT, hit=False)
        rig.view.below = []
        rig.view.exit_infos[address] = ExitText(PARENT, 0, None, None)
        rig.engine.write_root(SCHED_B)
        await rig.settle()
        assert subs.changes() == [
            ("attached", "/box", ""),
            ("exiting", "/box", "PARENT"),
            ("detached", "/box", ""),
        ]
        assert len(rig.collect.calls) == 1


async def test_a_storm_of_hits_makes_them_polled_for_a_while(autojump_clock: MockClock) -> None:
    async with watching() as rig:
        subs = SubRig(rig)
        await rig.attach()
        for _ in range(41):
            rig.engine.hit(LIST_SLOT)
            await rig.settle()
        assert LIST_SLOT not in rig.engine.watches
        row = [it for it in rig.of(WatchpointChanged) if it.slot == POLLED_SLOT][-1]
        assert row.detail.startswith("more than 40 hits in a second")
        assert rig.coordinator.drops()["sub-pauses"] == 1
        subs.enter(1, "/box")
        await subs.poll()
        assert subs.changes() == [("attached", "/box", "")]
        autojump_clock.jump(6)
        await subs.poll()
        assert LIST_SLOT in rig.engine.watches


def folded(events: list[Event]) -> RunState:
    """What is known after some events."""
    state = RunState()
    for event in events:
        state = fold(state, event)
    return state


async def test_an_ejected_sub_scheduler_fails_the_run() -> None:
    async with watching() as rig:
        subs = SubRig(rig)
        await rig.attach()
        await subs.stall(1, "/box")
        await subs.poll()
        state = folded(rig.events)
        assert (state.ejections, state.stalls, state.left_unasked) == (1, 1, False)
        assert exit_code(state, None) == 1
        assert end_reason(state, "as asked") == (
            'sub-scheduler "sub1" of /box was ejected: ERROR_STALL: x[1] failed to run for 1.000s, '
            "exit code 0x42 (as asked)"
        )


async def test_an_ejection_that_no_stop_shows_is_degraded_once_and_whole_when_one_does(
    autojump_clock: MockClock,
) -> None:
    async with watching() as rig:
        subs = SubRig(rig)
        await rig.attach()
        address = subs.enter(1, "/box")
        await rig.settle()
        rig.engine.stop_delay_s = 60.0
        subs.exit(address, STALL, hit=False)
        for _ in range(2):
            await subs.poll()
            await trio.sleep(3)
        (taken,) = rig.of(CaptureTaken)
        assert taken.degraded is not None
        assert (taken.degraded.cgroup, taken.degraded.scheduler) == ("/box", "sub1")
        assert taken.degraded.exit_kind_name == "ERROR_STALL"
        assert taken.degraded.trigger_detail == (
            f"exit_kind {STALL} (ERROR_STALL) of /box, seen in memory: the guest could not be stopped"
        )
        (alert,) = rig.of(AlertRaised)
        assert alert.key == "ejected /box"
        # The guest stops after all.
        rig.engine.stop_delay_s = 0.0
        await subs.poll()
        late = rig.of(CaptureTaken)[-1]
        assert late.degraded is None
        assert subs.changes() == [("attached", "/box", ""), ("ejected", "/box", "ERROR_STALL")]
        state = folded(rig.events)
        assert (state.ejections, exit_code(state, None)) == (1, 1)
