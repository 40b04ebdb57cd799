"""One capture on its way from the stop to its report: what it is called, what was read, who waits for it."""

from __future__ import annotations

from dataclasses import dataclass, field

import trio

from ktstr_tui.capture.stamp import Stamp
from ktstr_tui.capture.stop.rendezvous import Unheard
from ktstr_tui.capture.stop.seams import Rendered
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.errors import GuestError
from ktstr_tui.model.kinds import Trigger
from ktstr_tui.model.report import CaptureReport, Pause


@dataclass(frozen=True, slots=True)
class SavedCapture:
    """A capture and what became of its file."""

    report: CaptureReport
    path: str
    """The file; empty when there is none."""
    unsaved: str
    """Why there is no file; empty when there is one."""


@dataclass(eq=False, slots=True)
class Answer:
    """Where a requester waits for its capture."""

    done: trio.Event
    capture: SavedCapture | None = None
    error: GuestError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What a capture is called and why it was taken."""

    number: int
    """From 1, counting every capture of the run."""
    tag: str
    """Its own: no other capture of the run has it."""
    kept_as: str = ""
    """The bridge's name for it: that of a watch or of the guest may be used again, and the newest counts."""
    trigger: Trigger
    detail: str = ""
    mono_ns: int = 0
    step: str | None = None
    stamp: Stamp = field(default_factory=Stamp)
    keep: bool = True
    """Whether the report goes onto the bridge from here; a placeholder does in any case."""
    scheduler: str | None = None
    """Who was ejected, for the capture of an ejection."""
    cgroup: str | None = None
    """Cgroup of the sub-scheduler that was ejected; None for the loaded scheduler."""
    about: int | None = None
    """Address of that sub-scheduler."""
    exit_kind: int | None = None
    """And how; None for all other captures."""
    exit_kind_name: str = ""
    """The same in the words of the guest's kernel."""
    watchpoint_hit: bool = False
    """A watchpoint stopped the guest for this capture."""
    life: int = 0
    """Which scheduler was loaded, counted from 1; 0 before the first one."""


@dataclass(slots=True, kw_only=True)
class Job:
    """One capture between the stop and its report."""

    label: Label
    registers: list[dict[str, int]]
    raw: Rendered | None = None
    view: KernelView | None = None
    failure: str = ""
    """Why there is no ``raw``."""
    timed_out: bool = False
    """Whether that is because the guest did not stop."""
    unheard: Unheard | None = None
    """Why not every vCPU was heard; None when all were."""
    waited_ms: float = 0.0
    """How long they were waited for."""
    nr_cpus: int = 0
    exit_kind: int | None = None
    """What memory showed of the loaded scheduler when not every vCPU was heard."""
    wall_time: str = ""
    """And when that was."""
    pause: Pause | None = None
    answer: Answer | None = None
