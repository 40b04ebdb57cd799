"""A debugger beside everything else that stops the guest: whose stop it is, and who lets it run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ktstr_tui.capture.debug_access import DebugAccess, Resume
from ktstr_tui.capture.stop.debugger import DebuggerStop
from ktstr_tui.capture.watch.debugger_points import Point
from ktstr_tui.guest.engine import Stop, WatchLimits
from ktstr_tui.model.errors import GuestError, UsageError
from ktstr_tui.model.events import CaptureTaken, Frozen, Logged, Thawed, WatchpointChanged
from tests.unit.capture.fakes import EXIT_OFFSET, SCHED_A
from tests.unit.capture.rig import Rig, running

CODE = 0xFFFFFFFF81001000
WORD = 0xFFFFFFFF82001000
EXIT_KIND = SCHED_A + EXIT_OFFSET
BREAK = Point("break", CODE, 1)


@asynccontextmanager
async def attached() -> AsyncIterator[tuple[Rig, DebugAccess]]:
    """A debugger that has just been attached to a guest with a scheduler; the guest is stopped."""
    async with running() as rig:
        rig.engine.write_root(SCHED_A)
        await rig.attach()
        access = rig.coordinator.debug
        assert await access.attach("ada") == DebuggerStop(vcpu=0, interrupted=True)
        assert not rig.runs()
        yield rig, access
        await access.detach("the test is over")


async def run_on(rig: Rig, access: DebugAccess, how: Resume | None = None) -> None:
    await access.resume(how or Resume())
    await rig.settle()
    assert rig.runs()


async def test_a_breakpoint_is_forwarded_and_holds_the_guest(autojump_clock: object) -> None:
    async with attached() as (rig, access):
        access.want(BREAK)
        assert rig.engine.breaks == set()
        await run_on(rig, access)
        assert rig.engine.breaks == {f"0,{CODE:x},1"}
        rig.engine.arrive(Stop("other", 1))
        assert await access.wait_stop() == DebuggerStop(vcpu=1)
        assert not rig.runs()
        assert access.statistics().forwarded == 1
        assert rig.coordinator.statistics().unexpected_stops == 0


async def test_our_own_hit_is_served_and_never_shown(autojump_clock: object) -> None:
    async with attached() as (rig, access):
        await run_on(rig, access)
        rig.engine.write_exit(SCHED_A, 1026)
        await rig.settle()
        assert rig.runs()
        assert not access.holds
        (taken,) = rig.of(CaptureTaken)
        assert taken.report.trigger == "error"
        assert access.statistics().forwarded == 0


async def test_a_capture_of_the_running_guest_is_not_shown_and_one_of_the_held_guest_leaves_it_held(
    autojump_clock: object,
) -> None:
    async with attached() as (rig, access):
        await rig.coordinator.capture("on-demand")
        assert not rig.runs()
        await run_on(rig, access)
        await rig.coordinator.capture("on-demand")
        assert rig.runs()
        assert not access.holds
        assert len(rig.of(CaptureTaken)) == 2


async def test_a_word_that_both_watch_is_captured_and_forwarded(autojump_clock: object) -> None:
    async with attached() as (rig, access):
        access.want(Point("watch", EXIT_KIND, 4))
        await run_on(rig, access)
        rig.engine.write_exit(SCHED_A, 1026, vcpu=1)
        told = await access.wait_stop()
        assert told == DebuggerStop(vcpu=1, watch="watch", address=EXIT_KIND)
        await rig.settle()
        assert [it.report.trigger for it in rig.of(CaptureTaken)] == ["error"]
        assert not rig.runs()


async def test_a_step_that_a_capture_interrupts_is_taken_up_again(autojump_clock: object) -> None:
    async with attached() as (rig, access):
        await run_on(rig, access, Resume(vcpu=1, step=True))
        await rig.coordinator.capture("on-demand")
        assert rig.engine.log[-3:] == ["resume s:2;c", "stop", "resume s:2;c"]
        rig.engine.arrive(Stop("other", 1))
        assert await access.wait_stop() == DebuggerStop(vcpu=1)
        await run_on(rig, access)
        assert rig.engine.log[-1] == "resume"


async def test_a_step_onto_a_watched_write_ends_there(autojump_clock: object) -> None:
    async with attached() as (rig, access):
        await run_on(rig, access, Resume(vcpu=0, step=True))
        rig.engine.write_exit(SCHED_A, 1026)
        assert await access.wait_stop() == DebuggerStop(vcpu=0)
        await rig.settle()
        assert len(rig.of(CaptureTaken)) == 1


async def test_an_interrupt_holds_and_one_that_meets_a_breakpoint_tells_the_breakpoint(
    autojump_clock: object,
) -> None:
    async with attached() as (rig, access):
        await run_on(rig, access)
        await access.interrupt()
        assert await access.wait_stop() == DebuggerStop(vcpu=0, interrupted=True)
        await run_on(rig, access)
        rig.engine._pending.append(Stop("other", 1))  # it arrives with the stop that is asked for
        await access.interrupt()
        assert await access.wait_stop() == DebuggerStop(vcpu=1)


async def test_a_freeze_and_the_debugger_hold_independently(autojump_clock: object) -> None:
    async with attached() as (rig, access):
        assert await rig.coordinator.freeze("key f")
        await access.resume(Resume())
        assert not rig.runs()  # still frozen
        await access.interrupt()
        assert (await access.wait_stop()).interrupted
        assert await rig.coordinator.thaw("key f")
        assert not rig.runs()  # still held
        with pytest.raises(UsageError, match="in the debugger"):
            await rig.coordinator.thaw("key f")
        await run_on(rig, access)
        assert [it.debugger for it in rig.of(Frozen)] == [False, True]
        assert [it.reason for it in rig.of(Thawed)] == ["continued in the debugger"]


async def test_a_hold_is_shown_as_a_freeze_once_it_lasts(autojump_clock: object) -> None:
    async with attached() as (rig, access):
        assert rig.of(Frozen) == []
        await access.show()
        await access.show()
        assert [(it.reason, it.debugger) for it in rig.of(Frozen)] == [("ada", True)]
        await run_on(rig, access)
        assert len(rig.of(Thawed)) == 1
        await access.show()
        assert len(rig.of(Frozen)) == 1


async def test_a_debugger_that_leaves_takes_its_breakpoints_along_and_leaves_a_watched_guest(
    autojump_clock: object,
) -> None:
    for stopped in (True, False):
        async with attached() as (rig, access):
            access.want(BREAK)
            access.want(Point("rwatch", WORD, 8))
            await run_on(rig, access)
            assert len(rig.engine.breaks) == 2
            if stopped:
                rig.engine.arrive(Stop("other"))
                await access.wait_stop()
            await access.detach("killed")
            assert rig.runs()
            assert rig.engine.breaks == set()
            assert not access.attached
            rig.engine.write_exit(SCHED_A, 1026)
            await rig.settle()
            assert len(rig.of(CaptureTaken)) == 1


async def test_slots_are_shared_with_the_users_watches_and_given_back(autojump_clock: object) -> None:
    async with attached() as (rig, access):
        points = [Point("watch", WORD + 8 * k, 8) for k in range(3)]
        for point in points:
            access.want(point)
        with pytest.raises(UsageError, match="wants 4 watch slots, and 3 are free"):
            access.want(Point("hbreak", CODE, 1))
        access.drop(points[0])
        access.want(Point("hbreak", CODE, 1))
        await run_on(rig, access)
        taken = [it for it in rig.of(WatchpointChanged) if "debugger" in it.expression]
        assert sorted(it.slot for it in taken) == [1, 2, 3]
        rig.engine.arrive(Stop("other"))
        await access.wait_stop()
        before = len(rig.engine.asked)
        for point in points[1:]:  # as gdb does at every stop
            access.drop(point)
        for point in points[1:]:
            access.want(point)
        await run_on(rig, access)
        assert len(rig.engine.asked) == before
        await access.detach("left")
        gone = [it for it in rig.of(WatchpointChanged) if it.state == "removed"]
        assert sorted(it.slot for it in gone) == [1, 2, 3]


async def test_what_cannot_be_watched_is_refused(autojump_clock: object) -> None:
    async with attached() as (_, access):
        for address, length in ((WORD + 1, 8), (WORD, 3), (WORD, 16), (WORD, 0)):
            with pytest.raises(UsageError):
                access.want(Point("watch", address, length))


async def test_an_engine_without_slots_has_many_points_of_any_length_and_shows_no_reads(
    autojump_clock: object,
) -> None:
    async with attached() as (rig, access):
        rig.engine.watch_limits = WatchLimits(None, unlimited=True)
        for number in range(100):
            access.want(Point("watch", WORD + 64 * number, 33))
            access.want(Point("hbreak", CODE + number, 1))
        with pytest.raises(UsageError, match="not reads"):
            access.want(Point("rwatch", WORD, 8))
        with pytest.raises(UsageError, match="all vCPUs run, or none"):
            await access.resume(Resume(vcpu=1, alone=True))
        assert access.holds
        await run_on(rig, access, Resume(vcpu=1, step=True, alone=True))
        assert len(rig.engine.breaks) == 100
        # One write hits a watch of ours that begins before, and one of the debugger's.
        rig.engine.arrive(Stop("watch", 1, WORD - 4, frozenset((WORD + 64, WORD + 4))))
        assert await access.wait_stop() == DebuggerStop(vcpu=1, watch="watch", address=WORD + 64)
        await run_on(rig, access)
        # The same place is a breakpoint and a watched call.
        rig.engine.arrive(Stop("watch", 0, CODE))
        assert await access.wait_stop() == DebuggerStop(vcpu=0)
        assert not [it for it in rig.of(WatchpointChanged) if "debugger" in it.expression]


async def test_a_watch_of_ours_that_somebody_removed_is_set_again_and_counted(autojump_clock: object) -> None:
    async with attached() as (rig, access):
        await run_on(rig, access)
        await access.restore_watches()
        assert access.statistics().restored == 0
        del rig.engine.watches[EXIT_KIND]
        await access.restore_watches()
        assert rig.runs()
        assert EXIT_KIND in rig.engine.watches
        assert rig.coordinator.drops()["watches-restored"] == 1
        assert [it.source for it in rig.of(Logged)] == ["debugger"]
        rig.engine.write_exit(SCHED_A, 1026)
        await rig.settle()
        assert len(rig.of(CaptureTaken)) == 1


async def test_requests_need_a_held_guest_and_one_debugger_at_a_time(autojump_clock: object) -> None:
    async with attached() as (rig, access):
        with pytest.raises(UsageError, match="ada has attached a debugger"):
            await access.attach("bob")
        assert await access.ask("Hg1", "g") == ["OK", "00" * 8]
        await run_on(rig, access)
        with pytest.raises(UsageError, match="the guest runs"):
            await access.ask("g")
        with pytest.raises(UsageError, match="the guest runs"):
            access.want(BREAK)


async def test_a_debugger_first_and_the_watch_of_the_scheduler_later(autojump_clock: object) -> None:
    async with running() as rig:
        access = rig.coordinator.debug
        await access.attach("ada")
        rig.engine.write_root(SCHED_A)
        await rig.attach()  # memory is typed while the debugger holds the guest
        assert EXIT_KIND in rig.engine.watches
        assert not rig.runs()
        await run_on(rig, access)
        rig.engine.write_exit(SCHED_A, 1026)
        await rig.settle()
        assert len(rig.of(CaptureTaken)) == 1


async def test_a_guest_that_is_gone_ends_every_request(autojump_clock: object) -> None:
    async with running() as rig:
        access = rig.coordinator.debug
        await access.attach("ada")
        rig.engine.die()
        with pytest.raises(GuestError):
            await access.ask("g")
        await access.detach("gone")
        assert not access.attached
        rig.engine.running = True  # for the check of the rig: nothing can be resumed any more
        rig.coordinator._rendezvous.log.end()


async def test_cancelling_an_attach_leaves_a_running_guest(autojump_clock: object) -> None:
    async with running() as rig:
        rig.engine.stop_delay_s = 1.0
        with trio.move_on_after(0.5):
            await rig.coordinator.debug.attach("ada")
        await trio.sleep(2)
        await wait_all_tasks_blocked()
        assert rig.runs()
        assert not rig.coordinator.debug.attached
