"""The early and the late capture of a scheduler's end in one file: every way it may go."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ktstr_tui.capture.coordinator import FreezeState
from ktstr_tui.capture.job import Label
from ktstr_tui.capture.report import pairs
from ktstr_tui.capture.report.pairs import MAX_WAITING, Departure, Pairs
from ktstr_tui.capture.stamp import EarlyRecord, Stamp
from ktstr_tui.capture.stop.seams import Saved as SaveResult
from ktstr_tui.capture.watch.leaving import NAME_STOPPING
from ktstr_tui.guest.engine import Stop
from ktstr_tui.model.errors import root_cause
from ktstr_tui.model.events import CaptureTaken, DualSaved, Event, Logged
from ktstr_tui.model.report import CaptureReport, placeholder
from ktstr_tui.model.report_files import DegradedReport, DualReport, why_alone
from tests.unit.capture.early_rig import Watched, sample, watched
from tests.unit.capture.fakes import SCHED_A, SCHED_B
from tests.unit.capture.rig import Rig, Saved, in_place

pytestmark = pytest.mark.usefixtures("no_threads")


def duals(run: Watched) -> list[tuple[int, DualReport]]:
    return [(number, it) for number, it in run.rig.store.reports if isinstance(it, DualReport)]


def paths(run: Watched) -> list[tuple[str, str]]:
    return [(event.outcome, event.path) for event in run.rig.of(DualSaved)]


@asynccontextmanager
async def taken_early() -> AsyncIterator[Watched]:
    await trio.sleep(1)
    async with watched() as run:
        await run.see(1600.0)
        yield run


async def test_both(autojump_clock: MockClock) -> None:
    async with taken_early() as run:
        await trio.sleep(1)
        late = await run.eject()
    (early,) = run.reports()
    ((number, dual),) = duals(run)
    assert (number, dual.tag, dual.outcome) == (2, late.tag, "both")
    assert (dual.early, dual.late) == (early, late)
    assert (dual.early_max_age_ms, dual.early_threshold_ms) == (1600.0, 1500.0)
    assert (dual.early_skipped_reason, dual.late_skipped_reason, why_alone(dual)) == (None, None, None)
    assert dual.diff is not None
    assert (dual.diff.before, dual.diff.after, dual.diff.between_ms) == (early.tag, late.tag, 1000.0)
    (event,) = run.rig.of(DualSaved)
    assert event.path == "/captures/002-error-002.dual.json"
    assert (event.tag, event.early_tag, event.late_tag) == (late.tag, early.tag, late.tag)
    assert run.rig.coordinator.statistics().finisher.duals == 1


async def test_a_late_capture_alone_has_no_file(autojump_clock: MockClock) -> None:
    async with watched() as run:
        await run.see(100.0)
        await run.eject()
    assert duals(run) == []
    assert run.rig.of(DualSaved) == []


async def test_nothing_is_paired_when_early_captures_are_off(autojump_clock: MockClock) -> None:
    async with watched(off="the sampler is off") as run:
        await run.see(2900.0)
        await run.eject()
    assert duals(run) == []


async def test_an_early_capture_that_failed(autojump_clock: MockClock) -> None:
    async with watched() as run:
        run.rig.engine.stop_delay_s = 2.5
        await run.see(1600.0)
        await trio.sleep(5)
        run.rig.engine.stop_delay_s = 0.0
        late = await run.eject()
    ((number, dual),) = duals(run)
    assert paths(run) == [("early-degraded", "/captures/002-error-002.early-degraded.json")]
    assert (number, dual.outcome, dual.late, dual.diff) == (2, "early-degraded", late, None)
    assert dual.early is not None
    assert dual.early.is_placeholder
    assert "rendezvous timed out" in (why_alone(dual) or "")


async def test_an_early_capture_that_could_not_be_rendered(autojump_clock: MockClock) -> None:
    async with watched() as run:
        run.rig.collect.render_error = LookupError("no such member")
        await run.see(1600.0)
        run.rig.collect.render_error = None
        await run.eject()
    ((_, dual),) = duals(run)
    assert dual.outcome == "early-degraded"
    assert "no such member" in (why_alone(dual) or "")


async def test_a_late_capture_that_failed_for_another_reason_than_time(autojump_clock: MockClock) -> None:
    async with taken_early() as run:
        run.rig.collect.error = LookupError("no such member")
        late = await run.eject()
    assert late.is_placeholder
    ((_, dual),) = duals(run)
    assert paths(run) == [
        ("early-only-late-suppressed", "/captures/002-error-002.early-only-late-suppressed.json")
    ]
    assert (dual.late, dual.diff) == (late, None)
    assert "no such member" in (why_alone(dual) or "")


async def test_a_late_capture_that_is_degraded_and_comes_whole_after_all(autojump_clock: MockClock) -> None:
    async with taken_early() as run:
        engine = run.rig.engine
        engine.stop_delay_s, engine.lost_hits = 60.0, True
        run.rig.view.exit_kinds[SCHED_A] = 1026
        # Slot 0 is armed, so memory is believed at the second look only.
        run.rig.coordinator.poll()
        run.rig.coordinator.poll()
        await trio.sleep(5)
        ((number, dual),) = duals(run)
        assert paths(run) == [
            ("early-pre-late-degraded", "/captures/002-error-002.early-pre-late-degraded.json")
        ]
        assert (number, dual.early) == (2, run.reports()[0])
        assert isinstance(dual.late, DegradedReport)
        assert (why_alone(dual) or "").startswith("rendezvous timed out after 2000 ms")
        engine.stop_delay_s = 0.0
        engine.arrive(Stop("interrupt"))
        await run.rig.settle()
    assert [(it.outcome, it.tag) for _, it in duals(run)] == [
        ("early-pre-late-degraded", "error-002"),
        ("both", "error-003"),
    ]


async def test_a_scheduler_that_leaves_in_good_order(autojump_clock: MockClock) -> None:
    async with taken_early() as run:
        run.rig.view.comm = NAME_STOPPING
        run.rig.engine.write_exit(SCHED_A, 64)
        await run.rig.settle()
        assert duals(run) == []
        run.rig.engine.write_root(None)
        await run.rig.settle()
        ((number, dual),) = duals(run)
        assert paths(run) == [
            ("early-only-late-never-fired", "/captures/001-early-001.early-only-late-never-fired.json")
        ]
        assert (number, dual.tag, dual.early, dual.late) == (1, "early-001", run.reports()[0], None)
        assert (dual.early_max_age_ms, dual.early_threshold_ms) == (1600.0, 1500.0)
        assert why_alone(dual) == "the scheduler was not ejected: it left with exit_kind 64 (UNREG)"
        (event,) = run.rig.of(DualSaved)
        assert (event.tag, event.early_tag, event.late_tag) == ("early-001", "early-001", None)
    assert len(duals(run)) == 1, "not again when the run ends"


async def test_another_scheduler_in_its_place(autojump_clock: MockClock) -> None:
    async with taken_early() as run:
        # The sampler may see it first.
        run.look(sample(10.0, name="beta", seq=2))
        run.rig.engine.write_root(SCHED_B)
        run.rig.coordinator.poll()
        run.rig.coordinator.poll()
        await run.rig.settle()
        ((_, dual),) = duals(run)
        assert dual.outcome == "early-only-late-never-fired"
        assert (dual.early_max_age_ms, dual.early_threshold_ms) == (1600.0, 1500.0)
        assert run.rig.freeze_state() is FreezeState.IDLE
        # Its end has nothing to do with the early capture of the one before.
        run.rig.engine.write_exit(SCHED_B, 1026)
        await run.rig.settle()
    assert len(duals(run)) == 1


async def test_the_run_ends_first(autojump_clock: MockClock) -> None:
    async with taken_early() as run:
        pass
    ((_, dual),) = duals(run)
    assert dual.outcome == "early-only-late-never-fired"
    assert why_alone(dual) == "the run ended before an ejection"


async def test_an_early_capture_that_is_still_rendered_when_its_scheduler_leaves(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched() as run:
        gate = trio.Event()
        monkeypatch.setattr(trio.to_thread, "run_sync", in_place(gate.wait))
        run.look(sample(1600.0))
        await wait_all_tasks_blocked()
        run.rig.view.comm = NAME_STOPPING
        run.rig.engine.write_exit(SCHED_A, 64)
        await wait_all_tasks_blocked()
        run.rig.engine.write_root(None)
        await wait_all_tasks_blocked()
        assert run.rig.of(CaptureTaken) == []
        gate.set()
        await run.rig.settle()
        assert [it.outcome for _, it in duals(run)] == ["early-only-late-never-fired"]


async def test_each_scheduler_has_its_own_pair(autojump_clock: MockClock) -> None:
    async with taken_early() as run:
        await run.eject()
        run.rig.engine.write_root(SCHED_B)
        await run.rig.settle()
        run.look(sample(50.0, name="beta", seq=2))
        run.look(sample(1700.0, name="beta", seq=2))
        await run.rig.settle()
        run.rig.engine.write_exit(SCHED_B, 1026)
        await run.rig.settle()
    assert [(it.outcome, it.early and it.early.tag, it.tag) for _, it in duals(run)] == [
        ("both", "early-001", "error-002"),
        ("both", "early-003", "error-004"),
    ]


async def test_the_late_capture_and_its_requesters_do_not_wait_for_the_comparison(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with taken_early() as run:
        gate = trio.Event()

        def blocked(dual: DualReport) -> DualReport:
            return dual

        async def run_sync(function: object, *args: object) -> object:
            if function is blocked:
                await gate.wait()
            assert callable(function)
            return function(*args)

        monkeypatch.setattr(pairs, "_compared", blocked)
        monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)
        run.rig.engine.write_exit(SCHED_A, 1026)
        await wait_all_tasks_blocked()
        assert run.rig.runs()
        assert [it.report.tag for it in run.rig.of(CaptureTaken)] == ["early-001", "error-002"]
        assert (await run.rig.coordinator.capture("on-demand")).tag == "on-demand-003"
        assert not run.rig.coordinator.busy
        assert duals(run) == []
        gate.set()
        await run.rig.settle()
        assert len(duals(run)) == 1


async def test_what_waits_is_written_when_the_run_ends(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with taken_early() as run:

        async def slow() -> None:
            await trio.sleep(1)

        monkeypatch.setattr(trio.to_thread, "run_sync", in_place(slow))
        run.rig.engine.write_exit(SCHED_A, 1026)
        await trio.sleep(1.5)
        assert duals(run) == []
    assert [it.outcome for _, it in duals(run)] == ["both"]


async def test_too_many_at_once_are_counted_and_told(autojump_clock: MockClock) -> None:
    events: list[Event] = []
    store = Saved()
    it = Pairs(events.append, store)
    for number in range(MAX_WAITING + 2):
        tag = f"early-{number}"
        it.finished(
            Label(number=number, tag=tag, trigger="early"), CaptureReport(tag=tag, trigger="early"), None
        )
        it.departed(Departure(tag, "why", None))
    assert it.dropped == 2
    assert [event.text for event in events if isinstance(event, Logged)] == [
        f"no dual report of early-{number}: 4 others are waiting to be written" for number in (4, 5)
    ]
    await it.write_all()
    await it.wait_idle()
    assert (it.saved, len(store.reports)) == (MAX_WAITING, MAX_WAITING)


async def test_a_file_that_cannot_be_written_is_no_event(autojump_clock: MockClock) -> None:
    class Full(Saved):
        async def save(self, number: int, report: object) -> SaveResult:
            return SaveResult(problem="full")

    events: list[Event] = []
    it = Pairs(events.append, Full())
    it.finished(Label(number=1, tag="e", trigger="early"), CaptureReport(tag="e", trigger="early"), None)
    it.departed(Departure("e", "why", None))
    await it.write_all()
    assert (events, it.saved) == ([], 0)


async def test_without_a_store_nothing_is_kept_waiting() -> None:
    it = Pairs(lambda event: None, None)
    it.finished(Label(number=1, tag="e", trigger="early"), CaptureReport(tag="e", trigger="early"), None)
    it.departed(Departure("e", "why", None))
    with trio.fail_after(5):
        await it.wait_idle()
    assert (it.saved, it.dropped) == (0, 0)


async def test_an_early_placeholder_of_a_scheduler_that_left_is_nothing_new() -> None:
    store = Saved()
    it = Pairs(lambda event: None, store)
    failed = placeholder("e", "early", "why")
    it.finished(Label(number=1, tag="e", trigger="early"), failed, None)
    it.departed(Departure("e", "why", None))
    await it.write_all()
    assert store.reports == []


async def test_a_difference_that_cannot_be_made_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(early: CaptureReport, late: CaptureReport) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(pairs, "diff_reports", fail)
    events: list[Event] = []
    store = Saved()
    it = Pairs(events.append, store)
    stamp = Stamp(early=EarlyRecord(tag="e"))
    it.finished(Label(number=1, tag="e", trigger="early"), CaptureReport(tag="e", trigger="early"), None)
    late = Label(number=2, tag="l", trigger="error", exit_kind=1026, stamp=stamp)
    it.finished(late, CaptureReport(tag="l", trigger="error"), None)
    await it.write_all()
    ((_, dual),) = store.reports
    assert isinstance(dual, DualReport)
    assert (dual.outcome, dual.diff) == ("both", None)
    assert [type(event) for event in events] == [Logged, DualSaved]


async def test_a_defect_at_the_end_of_the_run_does_not_hang_it(
    autojump_clock: MockClock,
) -> None:
    class Broken:
        def record(self, tag: str | None) -> EarlyRecord | None:
            if tag is None:
                return None
            raise ZeroDivisionError("a defect")

        def cgroup_of(self, tag: str | None) -> str | None:
            return None

    rig = Rig(Broken())

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(rig.coordinator.run)
            rig.view.root = SCHED_A
            await rig.attach()
            await rig.coordinator.capture("early")
            nursery.cancel_scope.cancel()

    with trio.fail_after(60), pytest.raises(BaseExceptionGroup) as caught:
        await run()
    assert isinstance(root_cause(caught.value), ZeroDivisionError)
