"""``RunState``: everything that is known of a run, built by the fold and read by every display.

The state is bounded: histories are rings of fixed length, lists keep their newest entries and count what they
dropped (``forgotten``), so that a run of a week costs a viewer no more than a run of a minute.
"""

from __future__ import annotations

import msgspec

from ktstr_tui.model.beats import BeatRow, Domain, StallCause
from ktstr_tui.model.control_state import ControlState
from ktstr_tui.model.edit import EditState
from ktstr_tui.model.events import BootMaking, RunCompared, RunConcluded, Severity, Verdict
from ktstr_tui.model.facts import FrameCounters, RunInfo, WorkerProgress
from ktstr_tui.model.host import HostStretch
from ktstr_tui.model.kinds import AlertKind, GuestPhase, OutputStream, RunPhase, WatchState
from ktstr_tui.model.moments import Moment
from ktstr_tui.model.rates import TaskRates
from ktstr_tui.model.report import Argument, CaptureReport, Pause, RunningTask, Stack
from ktstr_tui.model.report_files import DegradedReport, DualOutcome
from ktstr_tui.model.sample import CpuSample, SchedulerSample
from ktstr_tui.model.scheduler_swap import ReplaceOutcome, SwapOp
from ktstr_tui.model.scheduler_values import SchedulerValues
from ktstr_tui.model.stimulus import Outcome, StimulusState
from ktstr_tui.model.tasks import TaskList
from ktstr_tui.model.trace_block import TraceBlock

MAX_HISTORY = 240
"""Samples kept for each sparkline."""
MAX_CAPTURES = 64
"""Reports kept, as in the snapshot bridge."""
MAX_LOG_LINES = 1000
"""Lines of the event log, and of the guest's output."""
MAX_LINE_CHARS = 4096
"""Of such a line; a longer one of output is broken, one of the log is cut and says so."""
MAX_HITS = 256
"""Watchpoint hits kept."""
MAX_STRETCHES = 256
"""Stretches of time kept in each list."""
MAX_SILENCES = 64
"""Silences kept, standing and over."""
MAX_ALERTS_TOLD = 64
"""Keys of alerts kept for the summary of a run."""
MAX_SWAPS = 64
"""Changes of the scheduler that somebody asked for, kept."""


class CpuState(msgspec.Struct, kw_only=True):
    """The latest sample of one CPU and its recent past."""

    latest: CpuSample
    nr_running_history: list[int | None] = []
    """Oldest first, at most `MAX_HISTORY`; None where the CPU was unreadable."""
    busy_history: list[float | None] = []
    """Share of host CPU time the vCPU thread had between two samples, 0 to 1."""
    last_mono_ns: int = 0
    """Host time of the sample before, for `busy_history`."""


class WatchpointState(msgspec.Struct, kw_only=True):
    """One watch slot."""

    slot: int
    expression: str
    address: int | None = None
    state: WatchState = "pending"
    detail: str = ""
    hits: int = 0
    unchanged: int = 0
    """Hits that wrote what was there before."""
    last_value: int | None = None
    last_old: int | None = None
    last_vcpu: int | None = None
    last_writer: RunningTask | None = None
    length_bytes: int | None = None
    once: bool = False
    capture: bool = False
    budget_per_s: int | None = None
    untold: int = 0
    """Calls that came too often to be shown."""
    last_arguments: tuple[Argument, ...] | None = None
    """What the watched function was called with the last time; None for writes."""


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A watchpoint hit, for the list."""

    mono_ns: int
    slot: int
    expression: str
    vcpu: int | None
    value: int | None = None
    old: int | None = None
    capture: str | None = None
    writer: RunningTask | None = None
    stack: Stack | None = None
    arguments: tuple[Argument, ...] | None = None


class AlertState(msgspec.Struct, frozen=True, kw_only=True):
    """A standing alert."""

    key: str
    kind: AlertKind
    severity: Severity
    text: str
    since_mono_ns: int
    cpu: int | None = None
    pid: int | None = None
    capture: str | None = None


class AlertTold(msgspec.Struct, frozen=True, kw_only=True):
    """What an alert said in the course of the run, standing or cleared."""

    key: str
    kind: AlertKind
    severity: Severity
    """The worst that it had."""
    text: str
    """The newest of that severity."""
    count: int = 1
    """How often it was raised."""


class LogLine(msgspec.Struct, frozen=True):
    """A line of the event log."""

    mono_ns: int
    severity: Severity
    source: str
    text: str


class CaptureState(msgspec.Struct, frozen=True, kw_only=True):
    """A capture and where it was saved."""

    report: CaptureReport
    path: str = ""
    unsaved: str = ""
    """Why there is no file, when there was to be one."""
    seq: int = 0
    degraded: DegradedReport | None = None
    """What is known of the stop when not every vCPU was heard."""
    dual_path: str = ""
    """The file that holds this capture together with its early or its late one."""
    dual_outcome: DualOutcome | None = None
    snapshot: str = ""
    """Name of the snapshot that holds the guest's memory at this stop; empty when there is none."""


class StepState(msgspec.Struct, frozen=True, kw_only=True):
    """The scenario's current step."""

    index: int
    name: str
    scheduler: str
    started_mono_ns: int
    elapsed_ms: int = 0
    """What the scenario's own clock said when it began."""


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """A silence of a sender that reached the threshold."""

    domain: Domain
    pid: int
    comm: str
    mono_ns: int
    """When it was reported."""
    silent_ms: float
    """Its length: at the report while it stands, in full once it is over."""
    text: str
    cause: StallCause | None = None
    over: bool = False


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of the host's monotonic time."""

    start_ns: int
    end_ns: int


class BeatsState(msgspec.Struct, frozen=True, kw_only=True):
    """Heartbeats. Replaced as a whole by the fold."""

    rows: tuple[BeatRow, ...] = ()
    tracked: int = 0
    threshold_ms: float = 0.0
    counters: dict[str, int] = {}
    mono_ns: int = 0
    """When the rows were told; 0 before the first time."""
    silences: tuple[Silence, ...] = ()
    """Oldest first."""
    stalls: int = 0
    recoveries: int = 0
    refused: int = 0
    """Datagrams refused for what they were or claimed."""


class SwapState(msgspec.Struct, frozen=True, kw_only=True):
    """An attached, detached or replaced scheduler, or one that was refused."""

    mono_ns: int
    op: SwapOp
    name: str
    outcome: ReplaceOutcome


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How the run ended."""

    exit_code: int
    reason: str
    fault: str = ""
    hint: str = ""
    console_tail: tuple[str, ...] = ()
    mono_ns: int = 0
    early: bool = False
    """Whether somebody ended it before its scenario or its duration was over."""


class RunState(msgspec.Struct, kw_only=True):
    """The state after all events up to and including ``seq``."""

    seq: int = 0
    mono_ns: int = 0
    """Host time of the newest event."""
    guest_ns: int | None = None
    info: RunInfo | None = None
    started_mono_ns: int = 0
    phase: RunPhase = "booting"
    boot_making: BootMaking | None = None
    """How far the making of the saved boot has come; None where none is, or was, made."""
    boot_ms: float | None = None
    from_saved_boot: bool = False
    """Whether the guest started from a saved boot."""
    restored_from: str = ""
    """The snapshot that the guest started from, ``RUN/NAME``; empty when it booted."""
    typed_ms: float | None = None
    hz: int | None = None
    kernel_release: str | None = None
    lifecycle: GuestPhase | None = None
    """The newest word of the guest program about itself."""
    lifecycle_reason: str = ""
    step: StepState | None = None
    loading: str = ""
    """The scheduler that the guest program started and that has not attached yet; empty for none."""
    loading_since_mono_ns: int = 0
    """When it was started."""
    step_frozen_ns: int = 0
    """How long the guest was frozen since the current step began, without the freeze that it is in."""
    scenario_elapsed_ms: int = 0
    """On the scenario's own clock, at its newest step or change."""
    total_iterations: int = 0
    workers: tuple[WorkerProgress, ...] = ()
    """The newest report of the scenario's workers."""
    worker_rates: dict[int, float] = {}
    """Iterations per second by pid, between the two newest reports; a worker that is new has none."""
    workers_mono_ns: int = 0
    """When they reported."""

    cpus: dict[int, CpuState] = {}
    scheduler: SchedulerSample | None = None
    task_rates: TaskRates | None = None
    """Of the last second or so; None when the kernel's trace is not read."""
    task_list: TaskList | None = None
    """The kernel's own list of tasks; None when it is not followed, or not yet."""
    scheduler_values: SchedulerValues | None = None
    """The newest look at the scheduler's variables and programs; None before the first."""
    scheduler_values_before: SchedulerValues | None = None
    """The look before that one."""
    trace: list[TraceBlock] = []
    """The newest blocks of the kernel's trace, oldest first; at most `MAX_KEPT_BYTES`."""
    moments: list[Moment] = []
    """Alerts, captures, hits, schedulers and steps, oldest first; at most `MAX_MOMENTS`."""
    runnable_age_history: list[float | None] = []
    """Age of the oldest runnable task in ms, one entry a sample."""
    last_change: str = ""
    """The newest scheduler change in words: ``stall ejected: ERROR_STALL``."""
    last_ejection: str = ""
    """The newest ejection in words; empty while no scheduler was ejected."""
    ejected_sub: str = ""
    """Cgroup of the sub-scheduler that `last_ejection` is about, until it is detached; empty for none."""
    ejected_by_kernel: bool = False
    """Whether that was ``UNREG_KERN``, and no operation of the scenario has been told since."""
    ejections: int = 0
    """How often a scheduler left without having been asked to."""
    restarts: int = 0
    """Ejections after which the kernel asked the scheduler to attach again (as it does when a CPU comes or goes), and
    it did; they are no failure."""
    deaths: int = 0
    """How often the guest program reported that a scheduler was ejected."""
    deaths_unseen: int = 0
    """Those among the ejections that only the guest program has reported so far."""
    left_unasked: bool = False
    """Whether the scheduler that was attached last was ejected."""
    trial: str | None = None
    """The scheduler that the kernel took first since somebody has one attached; None while that is not going on."""
    trial_ejections: int = 0
    """How often it was ejected meanwhile: no ejections as long as the kernel may still refuse it."""
    swaps: list[SwapState] = []
    """Changes of the scheduler that somebody asked for, with what became of each; at most `MAX_SWAPS`."""
    replacements: int = 0
    """How many of all of them put a new object in the place of a scheduler."""
    restart_due: str = ""
    """The scheduler that the kernel asked to attach again and that has not yet; empty for none."""
    samples: int = 0
    samples_unreadable: int = 0
    """Samples in which at least one CPU or the scheduler could not be read."""
    samples_missed: int = 0
    torn: int = 0
    retries: int = 0
    read_us: float = 0.0
    jiffies: int | None = None

    verdict: Verdict = "inconclusive"
    verdict_reasons: tuple[str, ...] = ()
    verdict_since_mono_ns: int = 0
    """Since when it is that; 0 before the first one."""
    verdict_ns: dict[str, int] = {}
    """How long it was what, without the one that lasts."""
    alerts: dict[str, AlertState] = {}
    """Standing alerts by key, oldest first."""
    alerts_told: dict[str, AlertTold] = {}
    """All alerts of the run by key, oldest first; at most `MAX_ALERTS_TOLD`."""
    stalls: int = 0
    """CPUs that did not advance (alerts of kind ``stall``) and tasks that the kernel ejected a scheduler for."""
    stall_waits: list[Stretch] = []
    """From when to when the tasks waited for which the kernel ejected schedulers; at most `MAX_STRETCHES`."""
    host_stood: list[HostStretch] = []
    """When the host gave the guest no CPU; at most `MAX_STRETCHES`."""
    not_attached: str = ""
    """The scheduler that was still being loaded when the duration of the run was over; empty for none."""

    watchpoints: dict[int, WatchpointState] = {}
    hits: list[Hit] = []
    captures: list[CaptureState] = []
    """Oldest first; at most `MAX_CAPTURES`."""

    kernel_writes: int = 0
    """Writes to the guest's kernel that were carried out."""
    kernel_writes_refused: int = 0
    """Those that were asked for and refused, or failed."""

    debugger: str = ""
    """Whose debugger is attached; empty when there is none."""
    debugger_back: str = ""
    """How far before the present that debugger looks, in words; empty while it looks at the guest itself."""
    debugger_stops: int = 0
    """Stops that debuggers were told of, but for those that they asked for."""
    watches_restored: int = 0
    """Watchpoints of the run that somebody had removed, set again."""

    frozen: str | None = None
    """Why the guest is frozen; None while it runs."""
    frozen_for: str = ""
    """Topic of the viewer without whom it is thawed; empty for none."""
    frozen_in_debugger: bool = False
    """Whether a debugger holds it."""
    frozen_since_mono_ns: int = 0
    frozen_total_ms: float = 0.0
    last_pause: Pause | None = None

    beats: BeatsState = BeatsState()
    """Heartbeats of the guest's tasks and of programs on the host."""
    control: ControlState = ControlState()
    """The control loop: what it decides, what becomes of it, and who asked."""
    edit: EditState = EditState()
    """Changes of the scheduler while the run lasts."""
    waits_ms: list[float] = []
    """Age of the oldest runnable task at the newest samples of the scheduler that is loaded; at most `MAX_HISTORY`."""
    marks: list[int] = []
    """After how many samples the scheduler was changed, oldest first."""
    stimuli: list[StimulusState] = []
    """Operations of the scenario, with what became of each; at most `MAX_STIMULI`."""
    operations: dict[Outcome, int] = {}
    """How many of all of them came to what."""
    stimulus_marks: list[int] = []
    """After how many samples operations were done, oldest first."""
    frames: FrameCounters = FrameCounters()
    drops: dict[str, int] = {}
    viewers: int = 0

    log: list[LogLine] = []
    output: list[LogLine] = []
    """Text of the guest, ``source`` being the stream's name."""
    partial: dict[OutputStream, str] = {}
    """An unfinished last line of each output stream."""
    forgotten: dict[str, int] = {}
    """How many entries each bounded list has dropped."""
    conclusion: RunConcluded | None = None
    """What was left when the machine was gone; None before."""
    compared: RunCompared | None = None
    """How far it was the same as an earlier run of its seed; None when there was none, or before the end."""
    ended: Ending | None = None
