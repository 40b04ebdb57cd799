"""Where the scenario is: its step and its time, in one place for all who stamp something with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ktstr_tui.port.scenario_clock import ScenarioClock


class StepInfo(Protocol):
    """What is known of a step beforehand."""

    @property
    def name(self) -> str:
        """As the scenario calls it."""

    @property
    def scheduler(self) -> str:
        """Whose step it is."""


class Now:
    """The scenario's current step and time.

    Args:
        clock: The scenario's time, which the guest's frames start and stop.
        steps: What is planned.
    """

    def __init__(self, clock: ScenarioClock, steps: Sequence[StepInfo] = ()) -> None:
        self.clock = clock
        self.step: str | None = None
        """Name of the current step; None before the first."""
        self.step_index: int | None = None
        """Its number, 0 for the baseline; None before the first."""
        self._steps = steps

    def elapsed_ms(self) -> float | None:
        """Milliseconds of the scenario so far; None before it began."""
        return self.clock.elapsed_ms()

    def begin_step(self, index: int) -> StepInfo | None:
        """Make ``index`` the current step; None when the scenario has no such step."""
        known = self._steps[index] if index < len(self._steps) else None
        self.step_index = index
        self.step = known.name if known else f"step {index}"
        return known
