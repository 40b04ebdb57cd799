"""Events of a change of the scheduler while the run lasts: builds on the host, new schedulers, new boots."""

from __future__ import annotations

from ktstr_tui.model.edit import BuildPhase, BuildReason
from ktstr_tui.model.event_base import RunEvent
from ktstr_tui.model.scheduler_swap import SwapResult


class BuildChanged(RunEvent, frozen=True, tag="build"):
    """A build of the scheduler on the backend's host began or ended."""

    build: int
    """Counted from 1."""
    phase: BuildPhase
    command: str
    why: BuildReason
    files: tuple[str, ...] = ()
    """Those whose save it is about."""
    exit_code: int | None = None
    """None before its end, and below 0 for the signal that ended it."""
    duration_ms: float | None = None
    headline: str = ""
    """Of what it printed, the line that matters; empty for none."""
    log: tuple[str, ...] = ()
    """The last lines of what it printed."""
    unkept_bytes: int = 0
    """Of what it printed, how much was not kept."""
    path: str = ""
    """The file that holds what it printed, on the backend's host; empty when it could not be written."""


class BuildLoaded(RunEvent, frozen=True, tag="build-loaded"):
    """What was built, or saved, was given to the running guest: how long that took since the save.

    What became of it is in the `SchedulerSwapped` before this, unless it was not given to the guest at all.
    """

    name: str
    """Of the object."""
    result: SwapResult
    build: int = 0
    """That it came of; 0 for none."""
    reason: str = ""
    """Why it was not given to the guest."""
    duration_ms: float = 0.0
    """From the object to the answer of the guest."""
    build_ms: float | None = None
    since_save_ms: float | None = None
    """From the save to the answer, the build included."""


class GuestRestarted(RunEvent, frozen=True, tag="restarted"):
    """The guest is booted again within the same run."""

    boot: int
    """Counted from 1, so that this is at least 2."""
    reason: str
