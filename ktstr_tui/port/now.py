"""Where the scenario is: its step and its time, in one place for all who stamp something with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ktstr_tui.model.stimulus import StimulusKind
from ktstr_tui.port.scenario_clock import ScenarioClock


class OpInfo(Protocol):
    """What is known of an operation beforehand."""

    @property
    def kind(self) -> StimulusKind:
        """What it does."""

    @property
    def text(self) -> str:
        """The same in words."""

    @property
    def hotplug_cpu(self) -> int | None:
        """The CPU that it takes away or brings back."""


class StepInfo(Protocol):
    """What is known of a step beforehand."""

    @property
    def name(self) -> str:
        """As the scenario calls it."""

    @property
    def scheduler(self) -> str:
        """Whose step it is."""

    @property
    def ops(self) -> Sequence[OpInfo]:
        """What is done in it, in order."""


class Now:
    """The scenario's current step and time.

    Args:
        clock: The scenario's time, which the guest's frames start and stop.
        steps: What is planned.
        before: What is done before the first step.
    """

    def __init__(
        self, clock: ScenarioClock, steps: Sequence[StepInfo] = (), before: Sequence[OpInfo] = ()
    ) -> None:
        self.clock = clock
        self.step: str | None = None
        """Name of the current step; None before the first."""
        self.step_index: int | None = None
        """Its number, 0 for the baseline; None before the first."""
        self._steps = steps
        self._before = before

    def elapsed_ms(self) -> float | None:
        """Milliseconds of the scenario so far; None before it began."""
        return self.clock.elapsed_ms()

    def begin_step(self, index: int) -> StepInfo | None:
        """Make ``index`` the current step; None when the scenario has no such step."""
        known = self._steps[index] if index < len(self._steps) else None
        self.step_index = index
        self.step = known.name if known else f"step {index}"
        return known

    def planned_op(self, step_index: int | None, op_index: int) -> OpInfo | None:
        """The operation at a place of the scenario, before the first step for None; None when there is none."""
        ops: Sequence[OpInfo] = ()
        if step_index is None:
            ops = self._before
        elif step_index < len(self._steps):
            ops = self._steps[step_index].ops
        return ops[op_index] if op_index < len(ops) else None
