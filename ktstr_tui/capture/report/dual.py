"""The early capture: the state of the machine while an ejection is still only under way.

The kernel throws a scheduler out when a task has waited for the whole of the watchdog timeout. By then whatever
went wrong is old. So a capture is taken when the oldest runnable task has waited for half of it, once for each
scheduler. When the ejection comes, its capture names this early one, and the difference of the two shows who
waited all along, who joined, and what moved meanwhile (`ktstr_tui.model.diff`); `pairs` saves both with it.

The sampler sees ages, so without samples there is no early capture; whenever there is none, the capture of the
ejection says why.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ktstr_tui.capture.coordinator import Coordinator, FreezeState
from ktstr_tui.capture.stamp import EarlyRecord
from ktstr_tui.model.errors import KtstrError
from ktstr_tui.model.events import Event, Logged
from ktstr_tui.model.plan import EARLY_SHARE
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.sample import RunnableTask, Sample, SchedulerSample


class EarlyStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of the early captures."""

    due: int
    """Schedulers of which a task passed the threshold."""
    taken: int
    failed: int


class EarlySamples:
    """Remembers what samples showed of the scheduler that is loaded, and of its early capture.

    Args:
        off: Why no early captures are taken at all; None when they are.
    """

    def __init__(self, *, off: str | None = None) -> None:
        self._off = off
        self._scheduler: tuple[str | None, int | None] | None = None
        self._tag: str | None = None
        self._former = EarlyRecord()
        self._max_age_ms: float | None = None
        self._threshold_ms: float | None = None
        self._failure = ""
        self._asked: RunnableTask | None = None
        self._asked_cgroup: str | None = None
        self._cgroup: str | None = None
        """Of ``_tag``."""

    @property
    def scheduler(self) -> tuple[str | None, int | None] | None:
        """Name and number of the scheduler that was sampled last; None before the first one."""
        return self._scheduler

    @property
    def asked(self) -> tuple[RunnableTask, float] | None:
        """The task for which its early capture was asked, and the threshold in milliseconds that it passed."""
        if self._asked is None or self._threshold_ms is None:
            return None
        return self._asked, self._threshold_ms

    def see(self, sample: Sample) -> RunnableTask | None:
        """Look at one more sample; returns a task past the threshold for which no capture was asked yet."""
        scheduler = sample.scheduler
        if self._off is not None or scheduler.name is None or scheduler.unreadable is not None:
            return None
        self._follow(scheduler)
        if self._asked is not None and scheduler.is_leaving(self._asked.sub):
            # The next sub-scheduler has an early capture of its own.
            self._asked, self._failure = None, ""
        oldest = scheduler.oldest_runnable
        if oldest is None or self._threshold_ms is None:
            return None
        self._max_age_ms = max(self._max_age_ms or 0.0, oldest.age_ms)
        if self._asked is not None or scheduler.is_leaving(oldest.sub):
            return None
        return oldest if oldest.age_ms > self._threshold_ms else None

    def ask(self, task: RunnableTask) -> None:
        """Note that a capture is asked for because of a task."""
        self._asked, self._asked_cgroup = task, task.sub

    def took(self, scheduler: tuple[str | None, int | None] | None, tag: str) -> None:
        """Note the early capture of a scheduler."""
        if scheduler == self._scheduler:
            self._tag, self._cgroup = tag, self._asked_cgroup

    def failed(self, scheduler: tuple[str | None, int | None] | None, message: str) -> None:
        """Note that the early capture of a scheduler failed."""
        if scheduler == self._scheduler:
            self._failure = message

    def record(self, tag: str | None) -> EarlyRecord:
        """Return what to say of the early capture now that its scheduler goes.

        The next scheduler may have been sampled already; what was seen of the one before is kept for that.

        Args:
            tag: The capture, if one was taken.
        """
        if tag is not None and tag == self._former.tag:
            return self._former
        return EarlyRecord(
            tag=tag,
            max_age_ms=self._max_age_ms,
            threshold_ms=self._threshold_ms,
            skipped_reason=None if tag is not None else self._skipped_reason(),
        )

    def cgroup_of(self, tag: str | None) -> str | None:
        """Return the sub-scheduler for whose task an early capture was taken; None for the loaded scheduler's."""
        return self._cgroup if tag is not None and tag == self._tag else None

    def _follow(self, scheduler: SchedulerSample) -> None:
        identity = (scheduler.name, scheduler.enable_seq)
        if identity != self._scheduler:
            self._former = EarlyRecord(
                tag=self._tag, max_age_ms=self._max_age_ms, threshold_ms=self._threshold_ms
            )
            self._scheduler, self._tag = identity, None
            self._max_age_ms = self._threshold_ms = self._asked = None
            self._failure = ""
        if scheduler.oldest_timeout_ms:
            self._threshold_ms = EARLY_SHARE * scheduler.oldest_timeout_ms

    def _skipped_reason(self) -> str:
        if self._off is not None:
            return self._off
        if self._failure:
            return self._failure
        if self._threshold_ms is None:
            return "no sample of this scheduler had its watchdog timeout"
        if self._asked is not None:
            return "the ejection came before the early capture"
        if self._max_age_ms is None:
            return "no task was seen waiting"
        return (
            f"no task was seen waiting for more than {self._max_age_ms / 1000:.3f} s, "
            f"and {self._threshold_ms / 1000:g} s would have been early"
        )


class EarlyCapture:
    """Takes one capture of each scheduler that is about to be ejected.

    Args:
        coordinator: Takes captures.
        samples: What samples showed; the coordinator puts it on captures of ejections.
        emit: Takes events.
    """

    def __init__(
        self, coordinator: Coordinator, samples: EarlySamples, emit: Callable[[Event], object]
    ) -> None:
        self._coordinator = coordinator
        self._samples = samples
        self._emit = emit
        self._due = self._taken = self._failed = 0

    def observe(self, sample: Sample) -> None:
        """Look at one more sample. The control loop sees the same samples, and decides by the same rule."""
        task = self._samples.see(sample)
        if task is not None and not sample.scheduler.exit_kind and self._may_take():
            self._samples.ask(task)
            self._due += 1

    async def take(self, detail: str) -> CaptureReport:
        """Take the capture that is due.

        Args:
            detail: Who waited, and for how long.

        Raises:
            KtstrError: There is none; the capture of the ejection will say so.
        """
        scheduler = self._samples.scheduler
        try:
            report = await self._coordinator.capture("early", detail)
        except KtstrError as error:
            self._failed += 1
            self._samples.failed(scheduler, error.message)
            text = f"no early capture: {error.message}"
            self._emit(Logged(severity="warning", source="early", text=text))
            raise
        self._taken += 1
        self._samples.took(scheduler, report.tag)
        return report

    def _may_take(self) -> bool:
        return self._coordinator.freeze_state is FreezeState.IDLE

    def drops(self) -> dict[str, int]:
        """Return what was lost so far, by reason."""
        return {"early-failed": self._failed}

    def statistics(self) -> EarlyStatistics:
        """Counters so far."""
        return EarlyStatistics(due=self._due, taken=self._taken, failed=self._failed)
