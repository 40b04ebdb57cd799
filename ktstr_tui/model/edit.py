"""A change of the scheduler while its guest runs: what was built, what became of it, how it does now and did before.

A *period* is the time during which one scheduler is loaded. Its health is judged by what samples tell: how long the
oldest runnable task had waited at each of the newest looks, and how often CPUs switched tasks in a second of the
guest's own time.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Literal, TypeAlias

import msgspec

from ktstr_tui.model.scheduler_swap import SwapResult

BuildPhase: TypeAlias = Literal["started", "built", "failed", "cancelled"]
BuildReason: TypeAlias = Literal["start", "save", "asked"]
"""Why something is built: the run begins, a file was saved, somebody asked."""
MAX_CHANGES = 16
"""Changes kept."""
MAX_MARKS = 64
"""Places on the time axis kept."""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How a scheduler did while it was loaded; None for what was never read."""

    scheduler: str
    samples: int = 0
    wait_p50_ms: float | None = None
    """Median, over the newest samples, of the age of the oldest runnable task."""
    wait_max_ms: float | None = None
    switches_per_s: float | None = None
    """Context switches of all CPUs in a second of guest time."""
    ejections: int = 0
    stalls: int = 0


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """The time during which one scheduler is loaded."""

    scheduler: str
    samples: int = 0
    first: tuple[int, int] | None = None
    """Guest time in ns and switches of all CPUs so far, at the first sample; None before."""
    last: tuple[int, int] | None = None
    ejections_before: int = 0
    stalls_before: int = 0

    def health(self, waits_ms: Sequence[float], ejections: int, stalls: int) -> Health:
        """Judge it.

        Args:
            waits_ms: Ages of the oldest runnable task at its newest samples.
            ejections: Of the run so far.
            stalls: Of the run so far.
        """
        rate = None
        if self.first is not None and self.last is not None and self.last[0] > self.first[0]:
            rate = (self.last[1] - self.first[1]) * 1e9 / (self.last[0] - self.first[0])
        return Health(
            scheduler=self.scheduler,
            samples=self.samples,
            wait_p50_ms=median(waits_ms) if waits_ms else None,
            wait_max_ms=max(waits_ms) if waits_ms else None,
            switches_per_s=rate,
            ejections=ejections - self.ejections_before,
            stalls=stalls - self.stalls_before,
        )


class BuildState(msgspec.Struct, frozen=True, kw_only=True):
    """The newest build."""

    number: int
    phase: BuildPhase
    command: str
    since_mono_ns: int
    """When it began."""
    duration_ms: float | None = None
    headline: str = ""
    """Of what it printed, the line that matters; empty for none."""
    log: tuple[str, ...] = ()
    path: str = ""
    """The file that holds what it printed, on the backend's host."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A new scheduler for the running guest."""

    mono_ns: int
    name: str
    outcome: SwapResult
    build: int | None = None
    """That it came of; 0 for a save without a build, None for neither."""
    headline: str = ""
    log: tuple[str, ...] = ()
    since_save_ms: float | None = None
    """From the save to the answer of the guest, the build included."""
    build_ms: float | None = None
    before: Health | None = None
    """How the scheduler before it did; None where there was none."""
    after: Health | None = None
    """How this one did; None while it is loaded."""


class EditState(msgspec.Struct, frozen=True, kw_only=True):
    """Changes of the scheduler. Replaced as a whole by the fold."""

    build: BuildState | None = None
    changes: tuple[Change, ...] = ()
    """Oldest first, at most `MAX_CHANGES`."""
    changes_total: int = 0
    builds_failed: int = 0
    refused: int = 0
    """New schedulers that the guest did not take."""
    period: Period | None = None
    """Of the scheduler that is loaded."""
    closed: Health | None = None
    """How the scheduler before that did."""
    boots: int = 1
    """How often the guest was booted."""
