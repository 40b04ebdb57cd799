"""An early capture with a real coordinator over a fake guest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import trio

from ktstr_tui.capture.coordinator import FreezeState
from ktstr_tui.capture.report.dual import EarlyCapture, EarlySamples
from ktstr_tui.control.fold import fold
from ktstr_tui.control.fold_actions import note_emitted
from ktstr_tui.control.reconcile import decide
from ktstr_tui.control.state import LoopState
from ktstr_tui.model.control import ControlPlan, TakeCapture
from ktstr_tui.model.errors import KtstrError
from ktstr_tui.model.events import CaptureTaken, Sampled
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.sample import RunnableTask, Sample, SchedulerSample
from tests.unit.capture.fakes import SCHED_A
from tests.unit.capture.rig import Rig, running

TIMEOUT_MS = 3000.0


def sample(
    age_ms: float | None,
    *,
    name: str | None = "alpha",
    seq: int = 1,
    timeout_ms: float | None = TIMEOUT_MS,
    exit_kind: int = 0,
    unreadable: str | None = None,
) -> Sample:
    oldest = None if age_ms is None else RunnableTask(pid=42, comm="spin", age_ms=age_ms, cpu=0, dsq="0x7")
    scheduler = SchedulerSample(
        name=name,
        enable_seq=seq,
        exit_kind=exit_kind,
        watchdog_timeout_ms=timeout_ms,
        oldest_runnable=oldest,
        unreadable=unreadable,
    )
    return Sample(cpus=(), scheduler=scheduler)


class Watched:
    """An early capture with a real coordinator over a fake guest."""

    def __init__(self, rig: Rig, samples: EarlySamples, nursery: trio.Nursery, early: bool) -> None:
        self.rig = rig
        self.nursery = nursery
        self.state = LoopState(plan=ControlPlan(name="run", early=early))
        self.early = EarlyCapture(rig.coordinator, samples, rig.emit)

    async def see(self, *ages_ms: float | None) -> None:
        for age_ms in ages_ms:
            self.look(sample(age_ms))
            await self.rig.settle()

    def look(self, seen: Sample) -> None:
        """Show a sample to both who look at it: the loop decides, and what it decides on is taken."""
        self.early.observe(seen)
        fold(self.state, Sampled(sample=seen))
        for pending in decide(self.state):
            note_emitted(self.state, pending)
            action = pending.action
            assert isinstance(action, TakeCapture)
            if self.rig.coordinator.freeze_state is FreezeState.IDLE:
                self.nursery.start_soon(self._take, action.detail)

    async def _take(self, detail: str) -> None:
        with suppress(KtstrError):
            await self.early.take(detail)

    async def eject(self) -> CaptureReport:
        self.rig.engine.write_exit(SCHED_A, 1026)
        await self.rig.settle()
        return self.reports("error")[-1]

    def reports(self, trigger: str = "early") -> list[CaptureReport]:
        return [taken.report for taken in self.rig.of(CaptureTaken) if taken.report.trigger == trigger]


@asynccontextmanager
async def watched(off: str | None = None) -> AsyncIterator[Watched]:
    samples = EarlySamples(off=off)
    async with running(samples) as rig:
        rig.view.root = SCHED_A
        await rig.attach()
        async with trio.open_nursery() as nursery:
            yield Watched(rig, samples, nursery, off is None)
            nursery.cancel_scope.cancel()
