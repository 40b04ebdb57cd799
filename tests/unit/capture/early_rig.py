"""An early capture with a real coordinator over a fake guest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from ktstr_tui.capture.report.dual import EarlyCapture, EarlySamples
from ktstr_tui.model.events import CaptureTaken
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

    def __init__(self, rig: Rig, samples: EarlySamples) -> None:
        self.rig = rig
        self.early = EarlyCapture(rig.coordinator, samples, rig.emit)

    async def see(self, *ages_ms: float | None) -> None:
        for age_ms in ages_ms:
            self.early.observe(sample(age_ms))
            await self.rig.settle()

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
        found = Watched(rig, samples)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(found.early.run)
            yield found
            nursery.cancel_scope.cancel()
