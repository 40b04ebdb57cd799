"""Captures at even distances through a scenario, without anybody asking.

The first and the last tenth of the scenario's time are left out, because schedulers settle in the one and
workers wind up in the other. Of the eight tenths between, N captures are due at ``avail/10 + (i+1)·window/(N+1)``
on the scenario's own clock (see `scenario_clock`). A capture that could not be taken when it was due, because
memory was not readable by type yet or the one before took too long, is taken late rather than left out, and
its report says when it was due.

Just before each capture the scheduler is asked for its own statistics. A scheduler that is stuck does not
answer, and that is when captures are wanted most, so the question has a short deadline and its failure a
typed reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec
import trio

from ktstr_tui.capture.finisher import CaptureFailedError, CaptureTimedOutError
from ktstr_tui.capture.snapshots import Stats
from ktstr_tui.capture.stamp import Stamp
from ktstr_tui.model.errors import GuestError, KtstrError
from ktstr_tui.model.events import Event, Logged, Severity
from ktstr_tui.model.kinds import Trigger
from ktstr_tui.model.plan import MIN_GAP_MS, periodic_boundaries_ms, periodic_tag
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.port.scenario_clock import ScenarioClock
from ktstr_tui.port.stats_port import DEFAULT_TIMEOUT_S, StatsError

MAX_TIMEOUTS = 2
"""Consecutive ones, after which nothing more is tried."""
_MIN_STATS_S = 0.05


class StatsSource(Protocol):
    """Who asks the scheduler."""

    async def stats(self, timeout_s: float | None = None) -> Any:  # noqa: ANN401
        """Statistics, or a `StatsError`."""
        ...


class PeriodicStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of the periodic captures."""

    planned: int
    """How many fit, of those asked for."""
    asked: int
    taken: int
    failed: int
    """Placeholders, or refused."""
    timeouts: int
    deferred: int
    """Taken late because memory was not readable by type when they were due."""
    with_stats: int
    without_stats: dict[str, int]
    """Captures without the scheduler's statistics, by reason."""
    abandoned: bool


class PeriodicCaptures:
    """Takes the captures of one scenario.

    Args:
        count: How many are wanted.
        clock: The scenario's time.
        avail_ms: How long the scenario will take; asked when it begins.
        ready: Set when the guest can be captured.
        capture: Takes one: trigger, detail, tag, stamp.
        stats: Asks the scheduler; None when there is no way to.
        emit: Takes events.
    """

    def __init__(
        self,
        count: int,
        *,
        clock: ScenarioClock,
        avail_ms: Callable[[], float],
        ready: trio.Event,
        capture: Callable[[Trigger, str, str, Stamp], Awaitable[CaptureReport]],
        stats: StatsSource | None,
        emit: Callable[[Event], object],
    ) -> None:
        self._count = count
        self._clock = clock
        self._avail_ms = avail_ms
        self._ready = ready
        self._capture = capture
        self._stats = stats
        self._emit = emit
        self._due: list[float] = []
        self._taken = self._failed = self._timeouts = self._timeouts_in_a_row = self._deferred = 0
        self._last_ms = self._not_before_ms = 0.0
        self._ready_ms = 0.0
        self._gone = False
        self._with_stats = 0
        self._without_stats: Counter[str] = Counter()

    async def run(self) -> None:
        """Say how many fit when the scenario begins, and how many were taken when it ended before all were."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._note_ready)
            await self._say_what_becomes_of_them()
            nursery.cancel_scope.cancel()

    async def _note_ready(self) -> None:
        await self._ready.wait()
        self._ready_ms = self._clock.elapsed_ms() or 0.0

    async def _say_what_becomes_of_them(self) -> None:
        await self._clock.started.wait()
        self._due = periodic_boundaries_ms(self._avail_ms(), self._count)
        if len(self._due) < self._count:
            self._say(
                "warning",
                f"{len(self._due)} of {self._count} captures fit into {self._avail_ms() / 1000:.1f} s, "
                f"{MIN_GAP_MS:.0f} ms apart",
            )
        await self._clock.ended.wait()
        if self._taken + self._failed < len(self._due) and not self._abandoned and not self._gone:
            self._say("info", f"the scenario ended after {self._taken} of {len(self._due)} captures")

    async def take(self, index: int, due_ms: float) -> CaptureReport | None:
        """Take one when its time has come, which is soon; None when the scenario ended before.

        Args:
            index: Which, from 0.
            due_ms: When it is due on the scenario's clock.

        Raises:
            CaptureFailedError: There is none; `CaptureTimedOutError` when the guest did not stop.
            GuestError: The guest is gone.
        """
        if not await self._is_time(max(due_ms, self._not_before_ms)):
            return None
        # The loop waits for memory to be readable before it decides; later ones are late because of the first.
        self._deferred += index == 0 and self._ready_ms > due_ms
        try:
            return await self._take(index, due_ms)
        except CaptureFailedError:
            raise
        except GuestError as error:
            self._gone = True
            self._say("warning", f"no more captures: {error.message}")
            raise
        finally:
            self._not_before_ms = self._last_ms + MIN_GAP_MS
            if self._abandoned:
                self._say(
                    "error",
                    f"abandoned after {MAX_TIMEOUTS} consecutive timeouts, {self._taken} of {len(self._due)} taken",
                )

    @property
    def _abandoned(self) -> bool:
        return self._timeouts_in_a_row >= MAX_TIMEOUTS

    async def _is_time(self, due_ms: float) -> bool:
        if not await self._clock.wait_until(round(due_ms * 1e6)):
            return False
        await self._ready.wait()
        return not self._clock.ended.is_set()

    async def _take(self, index: int, due_ms: float) -> CaptureReport:
        stats = await self._ask()
        detail = f"{index + 1} of {len(self._due)}, due at {due_ms / 1000:.3f} s"
        stamp = Stamp(boundary_offset_ms=due_ms, stats=stats)
        self._last_ms = self._clock.elapsed_ms() or 0.0
        try:
            report = await self._capture("periodic", detail, periodic_tag(index), stamp)
        except CaptureTimedOutError:
            self._failed += 1
            self._timeouts += 1
            self._timeouts_in_a_row += 1
            raise
        except CaptureFailedError:
            self._failed += 1
            self._timeouts_in_a_row = 0
            raise
        except GuestError:
            raise
        except KtstrError as error:
            self._failed += 1
            self._timeouts_in_a_row = 0
            self._say("warning", f"{periodic_tag(index)} was not taken: {error.message}")
            raise
        self._taken += 1
        self._timeouts_in_a_row = 0
        # The stop, which the question to the scheduler and a busy coordinator put off.
        self._last_ms = self._last_ms if report.elapsed_ms is None else report.elapsed_ms
        return report

    async def _ask(self) -> Stats:
        stats: Stats
        try:
            if self._stats is None:
                raise StatsError("this guest has no statistics port")
            stats = await self._stats.stats(self._patience_s())
        except StatsError as error:
            stats = error.missing
            self._without_stats[error.reason] += 1
        else:
            self._with_stats += 1
        return stats

    def _patience_s(self) -> float:
        # A scheduler that does not answer must not cost the captures their rhythm.
        gap_s = (self._due[1] - self._due[0]) / 1000 if len(self._due) > 1 else DEFAULT_TIMEOUT_S
        return min(DEFAULT_TIMEOUT_S, max(_MIN_STATS_S, gap_s / 2))

    def _say(self, severity: Severity, text: str) -> None:
        self._emit(Logged(severity=severity, source="periodic", text=text))

    def drops(self) -> dict[str, int]:
        """Return what was lost so far, by reason."""
        abandoned = len(self._due) - self._taken - self._failed if self._abandoned else 0
        return {
            "periodic-failed": self._failed,
            "periodic-timed-out": self._timeouts,
            "periodic-abandoned": abandoned,
        }

    def statistics(self) -> PeriodicStatistics:
        """Counters so far."""
        return PeriodicStatistics(
            planned=len(self._due),
            asked=self._count,
            taken=self._taken,
            failed=self._failed,
            timeouts=self._timeouts,
            deferred=self._deferred,
            with_stats=self._with_stats,
            without_stats=dict(self._without_stats),
            abandoned=self._abandoned,
        )
