"""The event that tells what became of an operation of the scenario."""

from __future__ import annotations

from ktstr_tui.model.event_base import RunEvent
from ktstr_tui.model.stimulus import Outcome, StimulusKind


class StimulusApplied(RunEvent, frozen=True, kw_only=True, tag="stimulus"):
    """An operation of the scenario was done, failed or was not reached."""

    step: int | None
    """Index of its step, as in ``step`` events; None for what is done before the first."""
    op: int
    """Its place among the operations of that step, from 0."""
    kind: StimulusKind
    text: str
    """What was to be done, in words."""
    outcome: Outcome
    cpu: int | None = None
    """The CPU that was taken offline or brought online."""
    error: str = ""
    """Name of an error of Linux, such as EBUSY; empty when it was done."""
    detail: str = ""
    """What the guest program says of it."""
    elapsed_ms: int = 0
    """When it was over, on the scenario's own clock."""
    took_ms: float = 0.0
    """In guest time."""
