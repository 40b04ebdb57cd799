"""Events of watchpoints, part of the union in ``events``: a slot's arming, a write, a call of a function."""

from __future__ import annotations

from ktstr_tui.model.event_base import RunEvent
from ktstr_tui.model.kinds import WatchState
from ktstr_tui.model.report import Argument, RunningTask, Stack


class WatchpointChanged(RunEvent, frozen=True, tag="watchpoint"):
    """A watch slot's arming changed. Slot 0 is reserved by ktstr-tui."""

    slot: int
    expression: str
    address: int | None = None
    state: WatchState = "armed"
    detail: str = ""
    length_bytes: int | None = None
    """How many bytes are watched; None where that is not told."""
    once: bool = False
    """The watch goes away after its first hit."""
    capture: bool = False
    """Every hit makes a capture."""
    budget_per_s: int | None = None
    """Hits per second above which the watch is paused; calls above it are counted, and not shown."""


class WatchpointHit(RunEvent, frozen=True, tag="watchpoint-hit"):
    """Something was written to what a slot watches, maybe what ``old`` was; or the function was called."""

    slot: int
    expression: str
    vcpu: int | None
    """Who wrote; None for a write that was found at a stop made for something else."""
    value: int | None = None
    old: int | None = None
    capture: str | None = None
    writer: RunningTask | None = None
    """The task of that vCPU, which in an interrupt is the one that was interrupted."""
    stack: Stack | None = None
    """Its kernel stack, beginning behind the instruction that wrote, or with the function that was called."""
    arguments: tuple[Argument, ...] | None = None
    """What the function was called with; None for a write."""
    untold: int = 0
    """Calls since the hit before that came too often to be shown."""
