"""Whose turn it is: requests that must wait, and the bare stop that measures the floor."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ktstr_tui.capture.finisher import CaptureTimedOutError
from ktstr_tui.capture.stamp import EarlyRecord, Stamp
from ktstr_tui.model.errors import UsageError
from tests.unit.capture.fakes import SCHED_A
from tests.unit.capture.rig import in_place, running

pytestmark = pytest.mark.usefixtures("no_threads")


async def test_busy_while_another_request_is_served_or_finished(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running() as rig:
        await rig.attach()
        busy = [rig.coordinator.busy]
        rig.engine.stop_delay_s = 1.0
        rendered = trio.Event()
        monkeypatch.setattr(trio.to_thread, "run_sync", in_place(rendered.wait))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.coordinator.capture, "on-demand")
            await trio.sleep(0.5)
            busy.append(rig.coordinator.busy)  # the guest is being stopped
            await trio.sleep(1)
            assert rig.runs()
            busy.append(rig.coordinator.busy)  # its report is not there yet
            rendered.set()
        await wait_all_tasks_blocked()
        assert [*busy, rig.coordinator.busy] == [False, True, True, False]


async def test_a_bare_pause_reads_nothing(autojump_clock: MockClock) -> None:
    async with running() as rig:
        await rig.attach()
        rig.engine.log.clear()
        pause = await rig.coordinator.bare_pause()
        assert rig.engine.log == ["stop", "resume"]
        assert rig.collect.calls == []
        assert pause.stop_us is not None
        assert pause.resume_us is not None
        assert pause.registers_us is None
        await rig.coordinator.freeze("a user")
        with pytest.raises(UsageError, match="the guest is frozen"):
            await rig.coordinator.bare_pause()
        assert rig.coordinator.frozen


async def test_a_hit_that_a_bare_pause_swallows_is_looked_at(autojump_clock: MockClock) -> None:
    async with running() as rig:
        await rig.attach()
        rig.engine.stop_delay_s = 0.1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rig.coordinator.bare_pause)
            await trio.sleep(0.05)
            rig.engine.write_root(SCHED_A)
        await trio.sleep(1)
        assert rig.changes() == [("attached", "alpha", None)]


async def test_a_capture_that_timed_out_has_an_error_of_its_own(autojump_clock: MockClock) -> None:
    async with running() as rig:
        await rig.attach()
        rig.engine.stop_delay_s = 2.5
        with pytest.raises(CaptureTimedOutError, match="rendezvous timed out"):
            await rig.coordinator.capture("periodic")
        await trio.sleep(1)


def test_a_stamp_says_only_what_it_knows() -> None:
    assert all(value is None for value in Stamp().fields().values())
    assert not any(name.startswith("early") for name in Stamp().fields())
    early = Stamp(early=EarlyRecord(tag="early-001", max_age_ms=2.0)).fields()
    assert (early["early_tag"], early["early_max_age_ms"], early["early_skipped_reason"]) == (
        "early-001",
        2.0,
        None,
    )
