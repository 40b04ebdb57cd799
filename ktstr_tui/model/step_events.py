"""How far the guest program and its scenario have come."""

from __future__ import annotations

from typing import Literal

from ktstr_tui.model.event_base import RunEvent
from ktstr_tui.model.kinds import GuestPhase


class LifecycleChanged(RunEvent, frozen=True, tag="lifecycle"):
    """The guest program reached another phase."""

    phase: GuestPhase
    reason: str = ""


class ScenarioChanged(RunEvent, frozen=True, tag="scenario"):
    """The scenario started, paused, resumed or ended."""

    state: Literal["started", "paused", "resumed", "ended"]
    elapsed_ms: int = 0
    total_iterations: int = 0


class StepStarted(RunEvent, frozen=True, tag="step"):
    """A step of the scenario began."""

    index: int
    name: str
    scheduler: str
    elapsed_ms: int = 0
    worker_count: int = 0
    total_iterations: int = 0
