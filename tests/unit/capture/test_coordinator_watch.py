"""The coordinator follows schedulers through watch slot 0."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ktstr_tui.capture.coordinator import FreezeState
from ktstr_tui.capture.stop.follow import HITS_PER_S, REARM_AFTER_NS
from ktstr_tui.capture.watch.leaving import NAME_RUNNING, NAME_STOPPING
from ktstr_tui.guest.engine import Stop
from ktstr_tui.kernel.scx import ExitText
from ktstr_tui.model.events import (
    AlertCleared,
    AlertRaised,
    CaptureTaken,
    Logged,
    SchedulerChanged,
    WatchpointChanged,
    WatchpointHit,
)
from tests.unit.capture.fakes import (
    EXIT_OFFSET,
    ROOT_SLOT,
    SCHED_A,
    SCHED_B,
)
from tests.unit.capture.rig import running

A_EXIT = SCHED_A + EXIT_OFFSET
pytestmark = pytest.mark.usefixtures("no_threads")


# -- following schedulers --------------------------------------------------------------------------------


async def test_the_view_arms_slot_0_on_scx_root(autojump_clock: MockClock) -> None:
    async with running() as rig:
        assert not rig.coordinator.armed.is_set()
        await rig.attach()
        assert rig.engine.watches == {ROOT_SLOT: 8}
        assert rig.of(WatchpointChanged) == [
            WatchpointChanged(slot=0, expression="scx_root", address=ROOT_SLOT, state="armed")
        ]
        assert rig.changes() == []


async def test_a_scheduler_that_is_loaded_already_is_found_at_attach(autojump_clock: MockClock) -> None:
    async with running() as rig:
        rig.view.root = SCHED_A
        await rig.attach()
        assert rig.engine.watches == {A_EXIT: 4}
        assert rig.changes() == [("attached", "alpha", None)]
        assert rig.of(WatchpointHit) == []


async def test_an_arrival_is_seen_at_once_and_moves_the_watch(autojump_clock: MockClock) -> None:
    async with running() as rig:
        await rig.attach()
        rig.engine.write_root(SCHED_A, vcpu=1)
        await rig.settle()
        assert rig.changes() == [("attached", "alpha", None)]
        assert rig.engine.watches == {A_EXIT: 4}
        (hit,) = rig.of(WatchpointHit)
        assert (hit.expression, hit.vcpu, hit.old, hit.value) == ("scx_root", 1, 0, SCHED_A)
        assert rig.collect.calls == []


async def test_an_ejection_is_captured_while_the_guest_stands_at_the_write(autojump_clock: MockClock) -> None:
    async with running() as rig:
        await rig.attach()
        rig.engine.write_root(SCHED_A)
        await rig.settle()
        rig.engine.write_exit(SCHED_A, 1026, vcpu=1)
        await rig.settle()
        assert rig.changes()[-1] == ("ejected", "alpha", 1026)
        (taken,) = rig.of(CaptureTaken)
        assert (taken.report.tag, taken.report.trigger, taken.report.exit_kind) == (
            "error-001",
            "error",
            1026,
        )
        assert taken.report.trigger_detail == "exit_kind 1026 (ERROR_STALL), at the write by vCPU 1"
        assert taken.path == "/captures/001-error-001.json"
        registers = rig.collect.calls[0]["registers"]
        assert [(it["rip"], it["rax"]) for it in registers] == [(0x1000, 3), (0x1001, 3)]
        assert rig.collect.calls[0]["step"] == "stalling"
        assert rig.engine.watches == {ROOT_SLOT: 8}
        hit = rig.of(WatchpointHit)[-1]
        assert (hit.expression, hit.value, hit.old, hit.capture) == (
            "scx_root->exit_kind",
            1026,
            0,
            "error-001",
        )
        pause = taken.report.pause
        assert pause is not None
        assert pause.stop_us is None
        assert None not in (pause.registers_us, pause.memory_us, pause.resume_us)
        assert rig.freeze_state() is FreezeState.DONE
        (alert,) = rig.of(AlertRaised)
        assert (alert.key, alert.severity, alert.capture) == ("ejected", "error", "error-001")
        assert alert.text == "alpha ejected: ERROR_STALL"
        assert rig.bridge.drain_ordered_with_stats()[0].step_index == 2


async def test_a_second_cpu_writing_the_same_is_counted_and_not_captured_again(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        rig.view.root = SCHED_A
        await rig.attach()
        rig.engine.write_exit(SCHED_A, 1026, vcpu=0)
        rig.engine.write_exit(SCHED_A, 1026, vcpu=1)
        await rig.settle()
        statistics = rig.coordinator.statistics()
        assert (statistics.hits, statistics.repeat_hits, statistics.captures) == (2, 1, 1)
        assert len(rig.of(CaptureTaken)) == 1
        assert len(rig.of(WatchpointHit)) == 1


async def test_a_write_that_leaves_none_is_counted_and_ignored(autojump_clock: MockClock) -> None:
    async with running() as rig:
        rig.view.root = SCHED_A
        await rig.attach()
        rig.engine.write_exit(SCHED_A, 0)
        await rig.settle()
        assert rig.coordinator.statistics().none_hits == 1
        assert rig.engine.watches == {A_EXIT: 4}
        assert rig.changes() == [("attached", "alpha", None)]


@pytest.mark.parametrize(
    ("exit_kind", "comm"), [(64, NAME_STOPPING), (65, NAME_STOPPING), (1, NAME_STOPPING), (64, "init")]
)
async def test_an_end_that_was_asked_for_is_not_captured(
    autojump_clock: MockClock, exit_kind: int, comm: str
) -> None:
    async with running() as rig:
        rig.view.comm = comm
        rig.view.root = SCHED_A
        await rig.attach()
        rig.engine.write_exit(SCHED_A, exit_kind)
        await rig.settle()
        assert rig.changes()[-1] == ("exiting", "alpha", exit_kind)
        assert rig.engine.watches == {ROOT_SLOT: 8}
        rig.engine.write_root(None)
        await rig.settle()
        assert rig.changes()[-1] == ("detached", "alpha", None)
        hit = rig.of(WatchpointHit)[-1]
        assert (hit.value, hit.old) == (0, SCHED_A)
        assert rig.collect.calls == []
        assert rig.freeze_state() is FreezeState.IDLE


@pytest.mark.parametrize(
    ("exit_kind", "comm", "word"),
    [
        (64, NAME_RUNNING, "UNREG"),
        (65, NAME_RUNNING, "UNREG_BPF"),
        (66, NAME_STOPPING, "UNREG_KERN"),
        (66, "init", "UNREG_KERN"),
        (67, NAME_RUNNING, "SYSRQ"),
        (68, NAME_RUNNING, "PARENT"),
        (1024, NAME_STOPPING, "ERROR"),
    ],
)
async def test_every_other_end_is_an_ejection_captured_at_the_write(
    autojump_clock: MockClock, exit_kind: int, comm: str, word: str
) -> None:
    async with running() as rig:
        rig.view.comm = comm
        rig.view.root = SCHED_A
        await rig.attach()
        rig.engine.write_exit(SCHED_A, exit_kind, vcpu=1)
        await rig.settle()
        (taken,) = rig.of(CaptureTaken)
        assert taken.report.exit_kind == exit_kind
        assert taken.report.trigger_detail == f"exit_kind {exit_kind} ({word}), at the write by vCPU 1"
        assert rig.of(AlertRaised)[-1].text == f"alpha ejected: {word}"
        rig.view.exit_infos[SCHED_A] = ExitText(exit_kind, 5, "reason", "cpu 1 going offline")
        rig.engine.write_root(None)
        await rig.settle()
        ejected, detached = rig.of(SchedulerChanged)[-2:]
        assert (ejected.change, ejected.exit_kind_name) == ("ejected", word)
        assert (detached.change, detached.exit_code) == ("detached", 5)
        assert detached.message == "cpu 1 going offline"


async def test_the_memory_of_a_freed_scheduler_is_not_taken_for_its_last_words(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        rig.view.root = SCHED_A
        await rig.attach()
        rig.engine.write_exit(SCHED_A, 66)
        await rig.settle()
        rig.view.exit_infos[SCHED_A] = ExitText(1234, 5, "reason", "another struct")
        rig.engine.write_root(None)
        await rig.settle()
        detached = rig.of(SchedulerChanged)[-1]
        assert (detached.exit_code, detached.message) == (None, None)


async def test_the_next_scheduler_starts_over(autojump_clock: MockClock) -> None:
    async with running() as rig:
        rig.view.root = SCHED_A
        await rig.attach()
        rig.engine.write_exit(SCHED_A, 1026)
        await rig.settle()
        rig.engine.write_root(None)
        await rig.settle()
        rig.engine.write_root(SCHED_B)
        await rig.settle()
        assert rig.of(AlertCleared) == [AlertCleared(key="ejected", kind="ejected")]
        assert rig.freeze_state() is FreezeState.IDLE
        rig.engine.write_exit(SCHED_B, 1025)
        await rig.settle()
        assert [taken.report.tag for taken in rig.of(CaptureTaken)] == ["error-001", "error-002"]
        assert [change[:2] for change in rig.changes()] == [
            ("attached", "alpha"),
            ("ejected", "alpha"),
            ("detached", "alpha"),
            ("attached", "beta"),
            ("ejected", "beta"),
        ]


async def test_a_hit_that_was_not_told_is_found_at_the_stop(autojump_clock: MockClock) -> None:
    async with running() as rig:
        rig.view.root = SCHED_A
        await rig.attach()
        rig.engine.lost_hits = True
        rig.engine.write_exit(SCHED_A, 1026)
        await rig.settle()
        assert rig.changes()[-1] == ("ejected", "alpha", 1026)
        statistics = rig.coordinator.statistics()
        assert (statistics.hits, statistics.late_finds, statistics.unexpected_stops) == (0, 1, 1)


async def test_a_capture_on_demand_that_races_with_the_ejection_gets_both(autojump_clock: MockClock) -> None:
    async with running() as rig:
        rig.view.root = SCHED_A
        await rig.attach()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.coordinator.capture, "on-demand")
            rig.engine.write_exit(SCHED_A, 1026)
        await rig.settle()
        assert {taken.report.trigger for taken in rig.of(CaptureTaken)} == {"on-demand", "error"}
        assert rig.freeze_state() is FreezeState.DONE


async def test_memory_that_cannot_be_read_is_told_once_and_the_guest_runs_on(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        await rig.attach()
        rig.view.error = LookupError("fault")
        for _ in range(3):
            rig.engine.arrive(Stop("watch", 0, ROOT_SLOT))
            await rig.settle()
        rig.coordinator.poll()
        assert len(rig.of(Logged)) == 1
        assert rig.coordinator.statistics().read_failures == 4
        assert rig.runs()


# -- storms, refusals, polling ---------------------------------------------------------------------------


async def test_a_storm_pauses_the_watch_and_polling_takes_over(autojump_clock: MockClock) -> None:
    async with running() as rig:
        rig.view.root = SCHED_A
        await rig.attach()
        for _ in range(HITS_PER_S + 1):
            rig.engine.write_exit(SCHED_A, 0)
            await rig.settle()
        assert rig.engine.watches == {}
        assert rig.of(WatchpointChanged)[-1].state == "paused"
        assert rig.coordinator.statistics().watch_pauses == 1
        rig.engine.write_exit(SCHED_A, 1026)
        rig.coordinator.poll()
        rig.coordinator.poll()
        await rig.settle()
        (taken,) = rig.of(CaptureTaken)
        assert taken.report.trigger == "error"
        assert "late" in taken.report.trigger_detail
        assert rig.engine.watches == {}


async def test_an_ejection_found_when_the_kernel_has_moved_on_keeps_its_kind(
    autojump_clock: MockClock,
) -> None:
    async with running() as rig:
        rig.view.root = SCHED_A
        await rig.attach()
        rig.view.exit_kinds[SCHED_A] = 1
        rig.view.exit_infos[SCHED_A] = ExitText(1026, 0, None, None)
        rig.coordinator.poll()
        await rig.settle()
        assert rig.of(CaptureTaken) == [], "the hit may be on its way"
        rig.coordinator.poll()
        await rig.settle()
        assert rig.changes()[-1] == ("ejected", "alpha", 1026)
        (taken,) = rig.of(CaptureTaken)
        assert taken.report.exit_kind == 1026
        assert "late" in taken.report.trigger_detail
        rig.view.exit_infos.clear()
        rig.coordinator.poll()
        await rig.settle()
        assert len(rig.of(CaptureTaken)) == 1


async def test_an_ejection_whose_capture_fails_is_told_all_the_same(autojump_clock: MockClock) -> None:
    async with running() as rig:
        rig.view.root = SCHED_A
        await rig.attach()
        rig.collect.error = LookupError("torn")
        rig.engine.write_exit(SCHED_A, 1025)
        await rig.settle()
        (taken,) = rig.of(CaptureTaken)
        assert taken.report.is_placeholder
        assert taken.report.exit_kind == 1025
        assert rig.of(AlertRaised)[0].text == "alpha ejected: ERROR_BPF"


async def test_a_paused_watch_is_set_again_after_a_rest(autojump_clock: MockClock) -> None:
    async with running() as rig:
        await rig.attach()
        for _ in range(HITS_PER_S + 1):
            rig.engine.arrive(Stop("watch", 0, ROOT_SLOT))
        await rig.settle()
        assert rig.engine.watches == {}
        rig.coordinator.poll()
        await rig.settle()
        assert rig.engine.watches == {}
        await trio.sleep(REARM_AFTER_NS / 1e9)
        rig.coordinator.poll()
        await rig.settle()
        assert rig.engine.watches == {ROOT_SLOT: 8}
        assert [event.state for event in rig.of(WatchpointChanged)] == ["armed", "paused", "armed"]


async def test_slow_hits_never_pause_the_watch(autojump_clock: MockClock) -> None:
    async with running() as rig:
        rig.view.root = SCHED_A
        await rig.attach()
        for _ in range(3 * HITS_PER_S):
            await trio.sleep(1.01 / HITS_PER_S)
            rig.engine.write_exit(SCHED_A, 0)
            await wait_all_tasks_blocked()
        assert rig.coordinator.statistics().watch_pauses == 0


async def test_a_host_without_debug_registers_is_polled(autojump_clock: MockClock) -> None:
    async with running() as rig:
        rig.engine.refuse_watches = True
        await rig.attach()
        assert rig.of(WatchpointChanged)[-1].state == "failed"
        stops = rig.engine.stops
        rig.coordinator.poll()
        await rig.settle()
        assert rig.engine.stops == stops
        rig.view.root = SCHED_A
        rig.coordinator.poll()
        await rig.settle()
        assert rig.changes() == [("attached", "alpha", None)]


async def test_polling_a_quiet_guest_does_not_stop_it(autojump_clock: MockClock) -> None:
    async with running() as rig:
        rig.view.root = SCHED_A
        await rig.attach()
        stops = rig.engine.stops
        rig.coordinator.poll()
        await rig.settle()
        assert rig.engine.stops == stops


async def test_a_struct_reused_at_the_same_address_is_another_scheduler(autojump_clock: MockClock) -> None:
    async with running() as rig:
        rig.view.comm = NAME_STOPPING
        rig.view.root = SCHED_A
        await rig.attach()
        rig.engine.write_exit(SCHED_A, 64)
        await rig.settle()
        rig.view.exit_kinds[SCHED_A] = 0
        rig.coordinator.poll()
        rig.coordinator.poll()
        await rig.settle()
        assert [change[0] for change in rig.changes()] == ["attached", "exiting", "detached", "attached"]
        assert rig.engine.watches == {A_EXIT: 4}
