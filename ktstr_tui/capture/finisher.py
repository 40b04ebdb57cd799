"""Finishes captures when the guest runs again: renders, saves, keeps, emits and answers them.

Rendering walks types and formats text for a long time compared with the pause, so it runs in a worker
thread, one capture at a time, while the coordinator is free for the next stop. Whatever fails on the way,
something comes out: a report, or a placeholder that says why there is none. A stop that did not hear every
vCPU leaves a degraded report as well (`degraded`); its file is then the only one of the placeholder.

What is finished may belong together with another capture; that is the last thing done to it (`pairs`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import trio

from ktstr_tui.capture.bridge import SnapshotBridge
from ktstr_tui.capture.job import Job, Label, SavedCapture
from ktstr_tui.capture.report.degraded import degraded_report
from ktstr_tui.capture.report.pairs import Departure, Pairs
from ktstr_tui.capture.stamp import HostLog
from ktstr_tui.capture.stop.last_words import LastWords
from ktstr_tui.capture.stop.seams import Saved, Store
from ktstr_tui.model.cause import cause_of, shown_wait_ms
from ktstr_tui.model.errors import GuestError
from ktstr_tui.model.events import AlertRaised, CaptureTaken, Event
from ktstr_tui.model.report import (
    EXIT_CODE_RESTART,
    CaptureReport,
    VcpuReport,
    exit_kind_name,
    placeholder,
)
from ktstr_tui.model.report_files import DegradedReport
from ktstr_tui.model.text import runnable_for

MAX_UNFINISHED = 8
"""Captures that may wait for rendering; each holds the raw state of one stop."""
EJECTED_ALERT = "ejected"


def ejected_alert(cgroup: str | None) -> str:
    """Return the key of the alert of an ejection.

    Args:
        cgroup: Of the sub-scheduler that was ejected; None for the loaded scheduler.
    """
    return EJECTED_ALERT if cgroup is None else f"{EJECTED_ALERT} {cgroup}"


STALL = "ERROR_STALL"
"""The one kind that is about a task that waited."""


def ejection_alert(report: CaptureReport, label: Label) -> AlertRaised:
    """Say who was ejected and why; a scheduler that asks in its exit code to be attached again is only a warning."""
    word = label.exit_kind_name or exit_kind_name(label.exit_kind)
    scheduler = report.scheduler
    why = "" if scheduler is None else scheduler.message or scheduler.reason or ""
    if not why and word == STALL and report.stalled is not None:
        task = report.stalled
        why = runnable_for(task.comm, task.pid, task.age_ms)
    restarts = scheduler is not None and bool((scheduler.exit_code or 0) & EXIT_CODE_RESTART)
    what = "ejected, to be attached again" if restarts else "ejected"
    who = (label.scheduler or "scheduler") + (f" ({label.cgroup})" if label.cgroup else "")
    cause = cause_of(report)
    pid = cause.pid if cause is not None else None
    if pid is None and (cause is None or cause.stall) and report.stalled is not None:
        pid = report.stalled.pid
    return AlertRaised(
        key=ejected_alert(label.cgroup),
        kind="ejected",
        severity="warning" if restarts else "error",
        text=f"{who} {what}: {word}" + (f", {why}" if why else ""),
        pid=pid,
        capture=report.tag,
    )


class CaptureFailedError(GuestError):
    """A capture could not be taken; a placeholder takes its place."""


class CaptureTimedOutError(CaptureFailedError):
    """The guest did not stop in time to be captured."""


class FinisherStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of the finisher."""

    finished: int
    placeholders: int
    overflowed: int
    """Captures given up because too many waited."""
    duals: int
    """Dual reports saved."""
    duals_dropped: int
    """Dual reports given up because too many waited."""
    last_render_ms: float | None


class Finisher:
    """Renders and hands on captures, one after the other.

    Args:
        emit: Takes events.
        store: Saves reports; None saves nothing.
        bridge: Keeps reports by tag; None keeps nothing.
        host: What is known of the host.
        exit_info: Waits for the exit info of an ejection before it is rendered; None when rendering does.
    """

    def __init__(
        self,
        emit: Callable[[Event], object],
        *,
        store: Store | None,
        bridge: SnapshotBridge | None,
        host: HostLog,
        exit_info: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.words = LastWords()
        """Of schedulers that are gone, for captures that are rendered late."""
        self._host = host
        self._exit_info = exit_info
        self._emit = emit
        self._store = store
        self._bridge = bridge
        self._pairs = Pairs(emit, store)
        self._jobs: list[Job] = []
        self._life = 0
        self._wake = trio.Event()
        self._idle = trio.Event()
        self._idle.set()
        self._finished = self._placeholders = self._overflowed = 0
        self._last_render_ms: float | None = None

    def submit(self, job: Job) -> None:
        """Queue a capture. When the queue is full it becomes a placeholder and what was copied is freed."""
        if len(self._jobs) >= MAX_UNFINISHED:
            self._overflowed += 1
            job.raw = None
            job.failure = f"{MAX_UNFINISHED} captures were already waiting to be rendered"
        self._jobs.append(job)
        self._idle = trio.Event() if self._idle.is_set() else self._idle
        self._wake.set()

    def departed(self, departure: Departure) -> None:
        """A scheduler went away after its early capture and was not ejected."""
        self._pairs.departed(departure)

    def attached(self, life: int) -> None:
        """Another scheduler was attached: what is still to be said of the one before is no alert any more."""
        self._life = life

    @property
    def idle(self) -> bool:
        """Whether nothing is left to finish."""
        return not self._jobs

    @property
    def crowded(self) -> bool:
        """Whether so many captures wait that one that is not urgent had better not be taken."""
        return len(self._jobs) >= MAX_UNFINISHED // 2

    async def wait_idle(self) -> None:
        """Wait until every capture handed over is finished, and everything saved that follows from it."""
        await self._idle.wait()
        await self._pairs.wait_idle()

    async def run(self) -> None:
        """Finish captures until cancelled; those already taken are finished even then."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pairs.run)
            try:
                while True:
                    await self._wake.wait()
                    await self._finish_all()
            finally:
                with trio.CancelScope(shield=True):
                    await self._finish_all()
                    await self._pairs.write_all()

    async def _finish_all(self) -> None:
        self._wake = trio.Event()
        while self._jobs:
            with trio.CancelScope(shield=True):
                await self._finish(self._jobs[0])
            del self._jobs[0]
        self._idle.set()

    async def _finish(self, job: Job) -> None:
        report = self._with_host(self.words.complete(await self._report(job), job.label.life))
        self._placeholders += report.is_placeholder
        degraded = degraded_report(job)
        saved = await self._save(job.label.number, report, degraded)
        self._keep(job, report)
        self._emit(CaptureTaken(report=report, path=saved.path, unsaved=saved.problem, degraded=degraded))
        if job.label.exit_kind is not None and job.label.life >= self._life:
            self._emit(ejection_alert(report, job.label))
        self._finished += 1
        if job.answer is not None:
            if report.is_placeholder:
                failed = CaptureTimedOutError if job.timed_out else CaptureFailedError
                job.answer.error = failed(f"capture {report.tag} failed: {job.failure}")
            job.answer.capture = SavedCapture(report, saved.path, saved.problem)
            job.answer.done.set()
        self._pairs.finished(job.label, report, degraded)

    def _with_host(self, report: CaptureReport) -> CaptureReport:
        """Add the host's part in the wait that the capture shows."""
        wait_ms = shown_wait_ms(report)
        if not wait_ms:
            return report
        part = self._host.part_in(report.mono_ns - int(wait_ms * 1e6), report.mono_ns)
        return report if part is None else msgspec.structs.replace(report, host=part)

    async def _save(self, number: int, report: CaptureReport, degraded: DegradedReport | None) -> Saved:
        if self._store is None:
            return Saved()
        saved = Saved() if degraded is None else await self._store.save(number, degraded)
        if degraded is not None and report.is_placeholder:
            # It holds all that the placeholder does.
            return saved
        return await self._store.save(number, report)

    async def _report(self, job: Job) -> CaptureReport:
        label = job.label
        if job.raw is not None and job.view is not None:
            if self._exit_info is not None and label.exit_kind is not None:
                await self._exit_info()
            started_s = trio.current_time()
            try:
                report = await trio.to_thread.run_sync(job.raw.render, job.view)
            except Exception as error:
                job.failure = f"rendering failed: {type(error).__name__}: {error}"
            else:
                self._last_render_ms = (trio.current_time() - started_s) * 1e3
                return _completed(report, job)
        report = placeholder(label.tag, label.trigger, job.failure, mono_ns=label.mono_ns)
        report = msgspec.structs.replace(report, trigger_detail=label.detail, step=label.step)
        vcpus = tuple(
            VcpuReport(cpu=cpu, registers=registers, unavailable=job.failure)
            for cpu, registers in enumerate(job.registers)
        )
        return _completed(msgspec.structs.replace(report, vcpus=vcpus), job)

    def _keep(self, job: Job, report: CaptureReport) -> None:
        bridge, stamp = self._bridge, job.label.stamp
        elapsed_ms = None if stamp.elapsed_ms is None else round(stamp.elapsed_ms)
        name = job.label.kept_as or report.tag
        wanted = not bridge.has(name) if bridge and report.is_placeholder else job.label.keep
        if bridge is None or not wanted:
            return
        if stamp.step_index is None:
            bridge.store_with_stats(name, report, stamp.stats, elapsed_ms)
        else:
            bridge.store_with_stats_and_step(name, report, stamp.stats, elapsed_ms, stamp.step_index)

    def drops(self) -> dict[str, int]:
        """Return what was lost so far, by reason."""
        return {
            "captures-not-rendered": self._overflowed,
            "dual-reports-not-made": self._pairs.dropped,
        }

    def statistics(self) -> FinisherStatistics:
        """Counters so far."""
        return FinisherStatistics(
            finished=self._finished,
            placeholders=self._placeholders,
            overflowed=self._overflowed,
            duals=self._pairs.saved,
            duals_dropped=self._pairs.dropped,
            last_render_ms=self._last_render_ms,
        )


def _completed(report: CaptureReport, job: Job) -> CaptureReport:
    # What only the coordinator knows: the pause, registers that did not come, and what belongs to the capture.
    unavailable = report.unavailable
    if job.unheard is not None and "registers" not in unavailable:
        unavailable = {**unavailable, "registers": job.unheard.text}
    # A late look at an ejection finds DONE in memory, or nothing at all.
    exit_kind = report.exit_kind if job.label.exit_kind is None else job.label.exit_kind
    return msgspec.structs.replace(
        report, pause=job.pause, unavailable=unavailable, exit_kind=exit_kind, **job.label.stamp.fields()
    )
