"""The events of a run: one tagged union, the only thing that is published, recorded and folded.

Every event has ``seq`` (from 1, without gaps), ``mono_ns`` (host monotonic clock; the guest's in a run with a seed) and
``guest_ns`` (the guest's clock, or None). Text may come from the guest: whoever shows it must not treat it as markup.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from ktstr_tui.model.beat_events import BeatRecovered, BeatRefused, BeatsEnded, BeatsObserved, BeatStalled
from ktstr_tui.model.control_events import (
    ActionAsked,
    ActionChanged,
    BackpressureChanged,
    CommandDecided,
    HoldChanged,
    LoopStarted,
    ProbeFailed,
    ProbeRead,
    RunPhaseChanged,
    Ticked,
)
from ktstr_tui.model.edit_events import BuildChanged, BuildLoaded, GuestRestarted
from ktstr_tui.model.event_base import RunEvent
from ktstr_tui.model.facts import FrameCounters, KernelOpPlace, RunInfo, WorkerProgress
from ktstr_tui.model.host import HostPressure
from ktstr_tui.model.kinds import AlertKind, OutputStream
from ktstr_tui.model.rates import TasksMeasured as TasksMeasured  # noqa: PLC0414
from ktstr_tui.model.report import CaptureReport, Pause
from ktstr_tui.model.report_files import DegradedReport, DualOutcome
from ktstr_tui.model.sample import Sample
from ktstr_tui.model.scheduler_swap import ReplaceOutcome, SwapOp
from ktstr_tui.model.scheduler_values import SchedulerValuesRead as SchedulerValuesRead  # noqa: PLC0414
from ktstr_tui.model.snapshot_events import GuestRestored, SnapshotStored
from ktstr_tui.model.step_events import LifecycleChanged, ScenarioChanged, StepStarted
from ktstr_tui.model.stimulus_events import StimulusApplied
from ktstr_tui.model.stop_events import DebuggerChanged, Frozen, Thawed
from ktstr_tui.model.tasks import TaskEvent
from ktstr_tui.model.tasks import TasksListed as TasksListed  # noqa: PLC0414 - is an event too
from ktstr_tui.model.trace_block import TraceRead as TraceRead  # noqa: PLC0414
from ktstr_tui.model.watch_events import WatchpointChanged, WatchpointHit

Severity: TypeAlias = Literal["info", "warning", "error"]
SchedulerChange: TypeAlias = Literal["attached", "exiting", "ejected", "detached", "process-exit"]
Verdict: TypeAlias = Literal["ok", "degraded", "stalled", "inconclusive"]


class RunStarted(RunEvent, frozen=True, tag="run-started"):
    """A run began."""

    info: RunInfo


class GuestReady(RunEvent, frozen=True, tag="guest-ready"):
    """The guest program has set itself up (SysRdy)."""

    boot_ms: float
    from_saved_boot: bool = False
    """Whether the guest started from a saved boot, so that its kernel did not boot in this run."""


class KernelTyped(RunEvent, frozen=True, tag="kernel-typed"):
    """The guest's memory is readable by type."""

    release: str
    hz: int
    cpus: int
    btf_types: int
    typed_ms: float
    """From SysRdy to the first typed answer."""


class Sampled(RunEvent, frozen=True, tag="sample"):
    """The sampler read the kernel once."""

    sample: Sample


class SchedulerChanged(RunEvent, frozen=True, tag="scheduler"):
    """A scheduler came, went or was ejected, seen at the very write."""

    change: SchedulerChange
    """``exiting`` is an end that the scenario asked for, ``ejected`` every other one."""
    name: str | None = None
    cgroup: str | None = None
    """Of a sub-scheduler; None for the loaded scheduler."""
    exit_kind: int | None = None
    exit_kind_name: str = ""
    """In the words of the guest's kernel, without ``SCX_EXIT_``; empty where it was not read."""
    exit_code: int | None = None
    """``exit_info->exit_code``, which the kernel keeps after the write of ``exit_kind``: known when it is detached."""
    message: str | None = None
    """``exit_info->msg``, or ``exit_info->reason`` where that is empty, as with SysRq-S; known at the same time."""
    detail: str = ""


class SchedulerSwapped(RunEvent, frozen=True, tag="scheduler-swapped"):
    """A wish to attach, detach or replace the scheduler of the running guest came to its end."""

    op: SwapOp
    outcome: ReplaceOutcome
    name: str = ""
    """What the new scheduler is called; empty for the one of the step."""
    replaces: str = ""
    """The scheduler of the scenario in whose place it comes; empty for that of the step."""
    who: str = ""
    """Who asked."""
    size_bytes: int | None = None
    """Of the object; None without one."""
    digest: str = ""
    """SHA-256 of the object, in hex."""


class HealthChanged(RunEvent, frozen=True, tag="health"):
    """The verdict on the run changed."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()


class HostStood(RunEvent, frozen=True, tag="host-stood"):
    """The host gave the guest no CPU for a while, so that nothing can be said of who waited meanwhile."""

    start_ns: int
    """On the host's monotonic clock."""
    end_ns: int
    reason: str
    pressure: HostPressure = HostPressure()


class AlertRaised(RunEvent, frozen=True, tag="alert"):
    """Something needs a look; stays until cleared. The same key replaces the alert of that key."""

    key: str
    kind: AlertKind
    severity: Severity
    text: str
    cpu: int | None = None
    pid: int | None = None
    capture: str | None = None


class AlertCleared(RunEvent, frozen=True, tag="alert-cleared"):
    """The condition of an alert has ended."""

    key: str
    kind: AlertKind


class KernelOpDone(RunEvent, frozen=True, tag="kernel-op"):
    """A write to the guest's kernel, or the refusal of one."""

    who: str
    """``guest``, or the viewer who asked."""
    mode: Literal["hot", "cold"]
    """While the guest ran, or while it stood."""
    ok: bool
    reason: str = ""
    tag: str = ""
    entries: tuple[KernelOpPlace, ...] = ()
    pause: Pause | None = None
    """How long the guest stood for it."""


class CaptureTaken(RunEvent, frozen=True, tag="capture"):
    """A capture, or its placeholder, is there."""

    report: CaptureReport
    path: str = ""
    """The JSON file on the backend's host, of a stop that failed the degraded report; empty when `unsaved` says why."""
    unsaved: str = ""
    degraded: DegradedReport | None = None
    """What is known of the stop when not every vCPU was heard."""


class DualSaved(RunEvent, frozen=True, tag="dual"):
    """The early and the late capture of a scheduler's end were saved as one file."""

    tag: str
    """Of the late capture; of the early one when there is no late one."""
    outcome: DualOutcome
    path: str
    """The JSON file on the backend's host."""
    early_tag: str | None = None
    late_tag: str | None = None


class FramesCounted(RunEvent, frozen=True, tag="frames"):
    """The counters of the guest's frames, as they are now."""

    counters: FrameCounters


class DropsCounted(RunEvent, frozen=True, tag="drops"):
    """Everything that any bounded queue of the backend gave up so far, by ``place: reason``."""

    drops: dict[str, int]


class OutputText(RunEvent, frozen=True, tag="output"):
    """Text of the guest."""

    stream: OutputStream
    text: str


class WorkersReported(RunEvent, frozen=True, tag="workers"):
    """The guest's workers reported their progress."""

    workers: tuple[WorkerProgress, ...]


class Logged(RunEvent, frozen=True, tag="log"):
    """A line for the log."""

    severity: Severity
    source: str
    text: str


class BackendBeat(RunEvent, frozen=True, tag="beat"):
    """Sent every second, so that a silent stream can be told from a quiet guest."""

    samples: int = 0
    samples_missed: int = 0
    """Ticks of the sampler that were skipped because it was late or the guest was frozen."""
    torn: int = 0
    frozen_total_ms: float = 0.0
    viewers: int = 0
    freezer_gone: bool = False
    """The viewer that the guest is frozen for has left, or has said nothing for a while."""


class RunConcluded(RunEvent, frozen=True, kw_only=True, tag="concluded"):
    """What was left on the snapshot bridge and in the bucket of the guest's frames when the machine was gone."""

    captures: tuple[str, ...] = ()
    """Tags of the captures kept, in the order of their last insertion."""
    periodic_real: int = 0
    """Periodic captures among them that carry real state."""
    periodic: dict[str, int] = {}
    """Periodic captures of the run: ``asked``, ``planned``, ``taken``, ``failed``, ``timeouts``, ``deferred``, …"""
    early: dict[str, int] = {}
    """Early captures of the run: ``due``, ``taken``, ``failed``."""
    bridge_events: dict[str, int] = {}
    """What happened on the bridge, by kind: ``eviction``, ``overwrite``, ``capture-unavailable``, …"""
    kernel_ops: int = 0
    """Replies of the scenario's kernel operations."""
    guest_exit: int | None = None
    scheduler_exits: tuple[int | None, ...] = ()
    """Exit codes of the schedulers' processes."""
    torn: dict[str, int] = {}
    """Frames with a wrong CRC that were kept, by type."""
    results: dict[str, int] = {}
    """Frames that nobody read before the end, by type."""
    index_path: str = ""
    """The JSON file that lists captures, bridge events and replies; empty without any."""
    results_path: str = ""
    """The file with those frames, a JSON line each; empty without any."""


class BootMaking(RunEvent, frozen=True, tag="boot-making"):
    """The boot that a run with a seed goes on from is being made, since there was none, by a machine of its own."""

    spent_ms: float
    """Since that machine started, on the host's clock."""
    guest_ms: float
    """How far it has come on its own."""


class RunCompared(RunEvent, frozen=True, kw_only=True, tag="compared"):
    """How far a run with a seed was the same as an earlier one; a checkpoint is a look at all that the guest is."""

    run: str
    """The earlier one."""
    kept: int
    """Checkpoints of this run."""
    run_kept: int
    """Checkpoints of that one."""
    identical: int
    """How many were the same, from the first on."""
    until_ms: float
    """Time of the run at the last of them, as ``rerun --to`` takes it; 0 without any."""
    left: str = ""
    """Where and in what this run differs from then on; empty where no difference was seen."""


class RunEnded(RunEvent, frozen=True, tag="run-ended"):
    """The run ended; nothing follows."""

    exit_code: int
    reason: str
    """One line: ended as asked, scheduler ejected, guest panicked, …"""
    fault: str = ""
    hint: str = ""
    console_tail: tuple[str, ...] = ()
    not_attached: str = ""
    """The scheduler that was still being loaded when the duration was over; empty for none."""
    early: bool = False
    """Whether somebody ended it before its scenario or its duration was over."""


Event: TypeAlias = (
    RunStarted
    | GuestReady
    | KernelTyped
    | LifecycleChanged
    | ScenarioChanged
    | StepStarted
    | StimulusApplied
    | Sampled
    | TaskEvent
    | SchedulerChanged
    | SchedulerSwapped
    | HealthChanged
    | HostStood
    | AlertRaised
    | AlertCleared
    | WatchpointChanged
    | WatchpointHit
    | KernelOpDone
    | DebuggerChanged
    | Frozen
    | Thawed
    | CaptureTaken
    | SnapshotStored
    | GuestRestored
    | DualSaved
    | FramesCounted
    | DropsCounted
    | OutputText
    | WorkersReported
    | Logged
    | BackendBeat
    | BeatsObserved
    | BeatStalled
    | BeatRecovered
    | BeatsEnded
    | BeatRefused
    | LoopStarted
    | Ticked
    | ProbeRead
    | ProbeFailed
    | CommandDecided
    | ActionAsked
    | ActionChanged
    | HoldChanged
    | RunPhaseChanged
    | BackpressureChanged
    | BuildChanged
    | BuildLoaded
    | GuestRestarted
    | BootMaking
    | RunConcluded
    | RunCompared
    | RunEnded
)
