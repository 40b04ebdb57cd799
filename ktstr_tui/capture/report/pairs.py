"""The early and the late capture of one scheduler's end, brought together in one file.

early capture finished ─▶ kept ─┬─ its scheduler was ejected and captured ─▶ both, and their difference
                                ├─ … but that capture failed or is degraded ─▶ the early one, and why it is alone
                                └─ its scheduler left, or the run ended ─────▶ the early one, and that none followed

Both captures are finished, saved, announced and answered before anything happens here, and comparing and writing is
done by a task of its own in a worker thread: nobody waits for it but the end of the run. One early capture is kept, of
the scheduler loaded last; which one belongs to which end the count of schedulers in their labels says.

A late capture without an early one gets no file: it says by itself that it is alone, and why.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import trio

from ktstr_tui.capture.job import Label
from ktstr_tui.capture.stamp import EarlyRecord
from ktstr_tui.capture.stop.seams import Store
from ktstr_tui.model.diff import diff_reports
from ktstr_tui.model.events import DualSaved, Event, Logged
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.report_files import DegradedReport, DualOutcome, DualReport

MAX_WAITING = 4
"""Files that may wait to be written; each holds two captures."""


@dataclass(slots=True)
class _Early:
    label: Label
    report: CaptureReport
    told: bool = False
    """Whether a file has it already."""


@dataclass(frozen=True, slots=True)
class Departure:
    """A scheduler that went away after its early capture and was not ejected."""

    early_tag: str
    why: str
    record: EarlyRecord | None


class Pairs:
    """Makes dual reports of the captures that the finisher has finished.

    Args:
        emit: Takes events.
        store: Saves reports; None saves nothing, and then nothing is paired.
    """

    def __init__(self, emit: Callable[[Event], object], store: Store | None) -> None:
        self.saved = 0
        self.dropped = 0
        """Files given up because too many waited."""
        self._emit = emit
        self._store = store
        self._early: _Early | None = None
        self._departed: Departure | None = None
        self._waiting: deque[tuple[int, DualReport]] = deque()
        self._writing = 0
        self._wake = trio.Event()
        self._idle = trio.Event()
        self._idle.set()

    # -- what happened ---------------------------------------------------------------------------------

    def finished(self, label: Label, report: CaptureReport, degraded: DegradedReport | None) -> None:
        """A capture is finished. Quick.

        Args:
            label: What it is called.
            report: The capture, or its placeholder.
            degraded: What is known of its stop, when not every vCPU was heard.
        """
        if label.trigger == "early":
            self._early = _Early(label, report)
            if self._departed is not None and self._departed.early_tag == label.tag:
                self.departed(self._departed)
        elif label.exit_kind is not None and label.stamp.early is not None:
            self._ejected(label, report, degraded, label.stamp.early)

    def departed(self, departure: Departure) -> None:
        """A scheduler went away, and no late capture will follow its early one."""
        early = self._early
        if early is None or early.label.tag != departure.early_tag:
            # It is still being rendered.
            self._departed = departure
            return
        self._early = self._departed = None
        if not early.told and not early.report.is_placeholder:
            tag, number = early.label.tag, early.label.number
            self._queue(
                number, "early-only-late-never-fired", tag, early, None, departure.record, departure.why
            )

    def _ejected(
        self, label: Label, report: CaptureReport, degraded: DegradedReport | None, record: EarlyRecord
    ) -> None:
        early = self._early
        if early is None or early.label.life != label.life:
            self._early = None
            return
        late: CaptureReport | DegradedReport = report
        outcome: DualOutcome = "both"
        why = None
        if report.is_placeholder:
            why = next(iter(report.unavailable.values()), "the capture failed")
            outcome = "early-only-late-suppressed"
            if degraded is not None:
                late, why, outcome = degraded, degraded.reason, "early-pre-late-degraded"
        if early.report.is_placeholder:
            outcome = "early-degraded"
        elif record.tag != early.label.tag:
            # Both are of one and the same stop, so there is nothing between them.
            self._early = None
            return
        # The guest may still be stopped after all, and then there is a whole late capture to come.
        self._early = early if isinstance(late, DegradedReport) else None
        early.told = True
        self._queue(label.number, outcome, label.tag, early, late, record, why)

    def _queue(
        self,
        number: int,
        outcome: DualOutcome,
        tag: str,
        early: _Early,
        late: CaptureReport | DegradedReport | None,
        record: EarlyRecord | None,
        late_skipped: str | None,
    ) -> None:
        if self._store is None:
            return
        if len(self._waiting) >= MAX_WAITING:
            self.dropped += 1
            text = f"no dual report of {tag}: {MAX_WAITING} others are waiting to be written"
            self._emit(Logged(severity="warning", source="captures", text=text))
            return
        skipped = None if record is None else record.skipped_reason
        if early.report.is_placeholder:
            skipped = skipped or next(iter(early.report.unavailable.values()), "the capture failed")
        dual = DualReport(
            tag=tag,
            outcome=outcome,
            early=early.report,
            late=late,
            early_max_age_ms=None if record is None else record.max_age_ms,
            early_threshold_ms=None if record is None else record.threshold_ms,
            early_skipped_reason=skipped,
            late_skipped_reason=late_skipped,
        )
        self._waiting.append((number, dual))
        if self._idle.is_set():
            self._idle = trio.Event()
        self._wake.set()

    # -- writing ---------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write what waits, until cancelled; what was begun is written even then."""
        while True:
            await self._wake.wait()
            await self.write_all()

    async def write_all(self) -> None:
        """Write what waits now."""
        self._wake = trio.Event()
        while self._waiting:
            number, dual = self._waiting.popleft()
            self._writing += 1
            try:
                with trio.CancelScope(shield=True):
                    await self._write(number, dual)
            finally:
                self._writing -= 1
        if not self._writing:
            self._idle.set()

    async def wait_idle(self) -> None:
        """Wait until everything is written."""
        await self._idle.wait()

    async def _write(self, number: int, dual: DualReport) -> None:
        if self._store is None:
            return
        if dual.outcome == "both":
            try:
                dual = await trio.to_thread.run_sync(_compared, dual)
            except Exception as error:
                text = f"the captures of {dual.tag} cannot be compared: {type(error).__name__}: {error}"
                self._emit(Logged(severity="error", source="captures", text=text))
        path = (await self._store.save(number, dual)).path
        if path:
            self.saved += 1
            self._emit(
                DualSaved(
                    tag=dual.tag,
                    outcome=dual.outcome,
                    early_tag=dual.early.tag if dual.early is not None else None,
                    late_tag=dual.late.tag if dual.late is not None else None,
                    path=path,
                )
            )


def _compared(dual: DualReport) -> DualReport:
    early, late = dual.early, dual.late
    if early is None or not isinstance(late, CaptureReport):
        return dual
    return msgspec.structs.replace(dual, diff=diff_reports(early, late))
