"""What belongs to a capture besides the guest's memory: when in the scenario it was taken, and what went before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from ktstr_tui.capture.snapshots import Stats
from ktstr_tui.model.host import HostWait
from ktstr_tui.model.missing_stats import MissingStats


class EarlyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What there is of the early capture when its scheduler is ejected."""

    tag: str | None = None
    max_age_ms: float | None = None
    """The longest that a task was seen waiting; None without samples."""
    threshold_ms: float | None = None
    skipped_reason: str | None = None
    """Why there is no ``tag``."""


class EarlyRecords(Protocol):
    """What is known of early captures."""

    def record(self, tag: str | None) -> EarlyRecord | None:
        """Return what there is to say of an early capture now that its scheduler goes.

        Args:
            tag: The capture; None if none was taken.
        """

    def cgroup_of(self, tag: str | None) -> str | None:
        """Return the sub-scheduler for whose task an early capture was taken; None for the loaded scheduler's."""


class NoEarly:
    """For a guest of which no early captures are taken, and no reason is recorded."""

    def record(self, tag: str | None) -> EarlyRecord | None:
        """Return nothing."""
        return None

    def cgroup_of(self, tag: str | None) -> str | None:
        """Return nothing."""
        return None


NO_EARLY: Final = NoEarly()


class Moment(Protocol):
    """Where the scenario is."""

    @property
    def step(self) -> str | None:
        """Name of the current step; None before the first."""

    @property
    def step_index(self) -> int | None:
        """Its number, 0 for the baseline."""

    def elapsed_ms(self) -> float | None:
        """Milliseconds of the scenario so far; None before it began."""


class NoScenario:
    """The moment of a guest that runs no scenario."""

    step: str | None = None
    step_index: int | None = None

    def elapsed_ms(self) -> float | None:
        """Nothing: no scenario begins."""
        return None


NO_SCENARIO: Final = NoScenario()


class HostLog(Protocol):
    """What is known of the host."""

    def part_in(self, start_ns: int, end_ns: int) -> HostWait | None:
        """Look at the host, and work out its part in a wait.

        Args:
            start_ns: Begin of the wait, on the host's monotonic clock.
            end_ns: Its end.

        Returns:
            None when the host has no part in it.
        """


class NoHost:
    """For a guest whose host is not looked at."""

    def part_in(self, start_ns: int, end_ns: int) -> HostWait | None:
        """Return nothing."""
        return None


NO_HOST: Final = NoHost()


@dataclass(frozen=True, slots=True)
class Beside:
    """Who knows what belongs to a capture besides the guest's memory."""

    now: Moment = NO_SCENARIO
    """Where the scenario is."""
    early: EarlyRecords = NO_EARLY
    """What is known of early captures, for the captures of ejections."""
    host: HostLog = NO_HOST
    """What is known of the host, for captures with a task that waits."""


NOTHING_BESIDE: Final = Beside()


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """Goes onto a report as it is finished."""

    step_index: int | None = None
    elapsed_ms: float | None = None
    """Time of the scenario at the stop."""
    boundary_offset_ms: float | None = None
    """When a periodic capture was due, on the same clock."""
    stats: Stats | None = None
    """The scheduler's own statistics, or why they are missing; None when they were not asked for."""
    early: EarlyRecord | None = None

    def fields(self) -> dict[str, Any]:
        """As fields of a report; ``None`` stays away from fields that say nothing here."""
        missing = self.stats if isinstance(self.stats, MissingStats) else None
        values = {
            "step_index": self.step_index,
            "elapsed_ms": self.elapsed_ms,
            "boundary_offset_ms": self.boundary_offset_ms,
            "scheduler_stats": None if missing is not None else self.stats,
            "scheduler_stats_unavailable": None if missing is None else str(missing),
        }
        if self.early is not None:
            values |= {f"early_{name}": value for name, value in msgspec.structs.asdict(self.early).items()}
        return values
