"""Define the JSON objects that commands print, as typed dictionaries.

A function that builds one is checked key by key, and ``docs/schemas`` is generated from here. What is unknown is None.
Times have their unit in the name. A new key is an addition; renaming or removing one breaks somebody's script.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from ktstr_tui.model.events import Severity, Verdict
from ktstr_tui.model.kinds import GuestPhase, RunCondition, RunVerdict
from ktstr_tui.model.report_files import DualOutcome
from ktstr_tui.model.sample import SubState


class StalledTask(TypedDict):
    """The task of a capture that waited longest."""

    pid: int
    comm: str
    age_ms: float
    dsq: str | None


class OldestTask(StalledTask):
    """The task of the newest sample that waits longest."""

    cpu: int


class StatusAlert(TypedDict):
    """An alert that was raised and not cleared."""

    key: str
    severity: Severity
    text: str


class StatusSub(TypedDict):
    """One sub-scheduler in the newest sample; ``parent`` is None below the loaded scheduler."""

    name: str
    cgroup: str
    parent: str | None
    level: int
    state: SubState
    exit_kind: int
    watchdog_timeout_ms: float | None
    nr_runnable: int


class SummaryAlert(StatusAlert):
    """What an alert said in the course of a run: the newest text of its worst severity."""

    count: int
    """How often it was raised."""


class StatusScheduler(TypedDict):
    """The sched_ext scheduler in the newest sample; ``name`` is None when none is loaded."""

    name: str | None
    state: str | None
    exit_kind: int | None
    enable_seq: int | None
    watchdog_timeout_ms: float | None
    oldest_timeout_ms: float | None
    """The one that counts for ``oldest_runnable``: of its own scheduler."""
    oldest_runnable: OldestTask | None
    dsqs: dict[str, int]
    subs: list[StatusSub]
    """Parents before their children."""
    subs_truncated: bool
    subs_unreadable: str | None
    last_change: str
    unreadable: str | None


StatusCurr = TypedDict("StatusCurr", {"comm": str | None, "pid": int | None, "class": str | None})
"""What a CPU runs. Not written as a class, because ``class`` is a keyword."""


class StatusCpu(TypedDict):
    """One CPU in the newest sample."""

    cpu: int
    nr_running: int | None
    curr: StatusCurr
    idle: bool | None
    scx_nr_running: int | None
    local_dsq_nr: int | None
    unreadable: str | None


class StatusWorker(TypedDict):
    """One worker of the scenario in its newest report; the rate is None until there are two."""

    pid: int
    comm: str
    iterations: int
    iterations_per_s: float | None


class StatusSamples(TypedDict):
    """What the sampler did so far."""

    taken: int
    unreadable: int
    missed: int
    torn: int
    retries: int


class CaptureLine(TypedDict):
    """One capture, in short."""

    tag: str
    trigger: str
    scheduler: str | None
    """The one that the capture is about."""
    cgroup: str | None
    """Its cgroup, when it is a sub-scheduler."""
    exit_kind: int | None
    exit_kind_name: str | None
    message: str | None
    headline: str
    before: str | None
    """What led to the wait, from the kernel's trace."""
    host_without_cpu_ms: float | None
    pause_us: float | None
    tasks: int
    first_stalled: StalledTask | None
    is_placeholder: bool
    degraded_reason: str | None
    dual_path: str | None
    dual_outcome: DualOutcome | None
    path: str


class SummaryCapture(CaptureLine):
    """One capture of a run that is over."""

    step_index: int | None
    elapsed_ms: float | None
    boundary_offset_ms: float | None
    scheduler_stats_unavailable: str | None
    early_tag: str | None
    early_skipped_reason: str | None


class StatusFrames(TypedDict):
    """Frames of the guest's port."""

    received: int
    bytes: int
    crc_bad: int
    unknown: int
    dropped: dict[str, int]


class SummaryFrames(StatusFrames):
    """All counters of the guest's port: the fields of `FrameCounters`."""

    oversized: int
    resyncs: int
    skipped_bytes: int
    residual: int
    payload_bytes: int
    cut: int
    pad_nonzero: int
    skipped: dict[str, int]
    by_type: dict[str, int]


class StatusEnd(TypedDict):
    """How the run ended."""

    exit_code: int
    reason: str


class RunStatus(TypedDict):
    """The object of ``status --json``."""

    name: str | None
    run_id: str | None
    phase: str
    kernel: str | None
    accelerator: str | None
    accelerator_reason: str | None
    seed: int | None
    topology: str | None
    scenario: str | None
    step: str | None
    lifecycle: GuestPhase | None
    lifecycle_reason: str
    scenario_elapsed_ms: int
    workers: list[StatusWorker]
    uptime_ms: int | None
    boot_ms: float | None
    allow_writes: bool | None
    kernel_writes: int
    kernel_writes_refused: int
    condition: RunCondition
    verdict: Verdict
    verdict_reasons: list[str]
    alerts: list[StatusAlert]
    stalls: int
    ejections: int
    restarts: int
    frozen: str | None
    debugger: str | None
    scheduler: StatusScheduler | None
    cpus: list[StatusCpu]
    samples: StatusSamples
    captures: list[CaptureLine]
    frames: StatusFrames
    drops: dict[str, int]
    viewers: int
    seq: int
    ended: StatusEnd | None


class Conclusion(TypedDict):
    """What was left when the machine was gone; see the event ``concluded``."""

    captures: list[str]
    periodic_real: int
    periodic: dict[str, int]
    early: dict[str, int]
    bridge_events: dict[str, int]
    kernel_ops: int
    guest_exit: int | None
    scheduler_exits: list[int | None]
    torn: dict[str, int]
    results: dict[str, int]
    index_path: str
    results_path: str


class Compared(TypedDict):
    """How far a run with a seed was the same as an earlier one; see the event ``compared``."""

    run: str
    kept: int
    run_kept: int
    identical: int
    until_ms: float
    left: str


class SummaryHealth(TypedDict):
    """How a scheduler did while it was loaded; None for what was never read."""

    scheduler: str
    samples: int
    wait_p50_ms: float | None
    wait_max_ms: float | None
    switches_per_s: float | None
    ejections: int
    stalls: int


class SummaryChange(TypedDict):
    """A new scheduler for the running guest."""

    name: str
    build: int | None
    """That it came of; 0 for a save without a build, None for neither."""
    outcome: str
    reason: str
    since_save_ms: float | None
    build_ms: float | None
    before: SummaryHealth | None
    after: SummaryHealth | None


class SummaryEdit(TypedDict):
    """Changes of the scheduler while the run lasted."""

    boots: int
    builds_failed: int
    refused: int
    """New schedulers that the guest did not take."""
    changes: list[SummaryChange]
    """The newest ones."""


class Summary(TypedDict):
    """The object of ``run --headless --json``."""

    name: str | None
    kernel: str | None
    accelerator: str | None
    accelerator_reason: str | None
    seed: int | None
    """None for a run that depends on the host's clock."""
    scheduler: str | None
    scenario: str | None
    topology: str | None
    boot_ms: float | None
    from_saved_boot: bool
    """Whether the guest started from a saved boot, so that its kernel did not boot in this run."""
    restored_from: str | None
    """The snapshot that the guest started from, ``RUN/NAME``; None when it booted."""
    typed_ms: float | None
    samples: int
    samples_missed: int
    samples_unreadable: int
    stalls: int
    ejections: int
    restarts: int
    verdict: RunVerdict
    total_iterations: int
    alerts: list[SummaryAlert]
    captures: list[SummaryCapture]
    operations: dict[str, int]
    """Of the scenario's steps: how many were ``done``, ``failed`` and ``not-reached``; empty without any."""
    edit: SummaryEdit
    conclusion: Conclusion | None
    compared: Compared | None
    """None for a run without a seed, or without an earlier one to compare it with."""
    frames: SummaryFrames
    drops: dict[str, int]
    frozen_total_ms: float
    data_dir: str | None
    end_reason: str | None
    ended_early: bool | None
    """Whether somebody ended it before its scenario or its duration was over."""
    fault: str | None
    last_words: list[str]
    exit_code: int | None


class IndexLine(TypedDict):
    """One capture in ``captures.json``."""

    tag: str
    schema: str
    trigger: str
    is_placeholder: bool
    step_index: int | None
    elapsed_ms: int | None
    stats: Any
    stats_unavailable: str | None
    path: str


class KernelOpError(TypedDict):
    """Why a target was not read."""

    fault: str
    """``user``, ``host``, ``guest`` or ``bug``."""
    message: str
    hint: str


class KernelOpEntry(TypedDict):
    """One place that was read or written: the fields of `KernelOpPlace`, and why it was not read."""

    target: str
    address: int | None
    size_bytes: int | None
    before: int | str | None
    after: int | str | None
    before_text: str | None
    after_text: str | None
    start_time_ns: int | None
    comm: str | None
    error: KernelOpError | None
    """Of a read, whose targets count each for itself."""


class PauseTimes(TypedDict):
    """How long the guest was stopped, in microseconds: the fields of `Pause`."""

    total_us: float
    stop_us: float | None
    registers_us: float | None
    memory_us: float | None
    snapshot_us: float | None
    resume_us: float | None


class KernelOpResult(TypedDict):
    """The object of ``op read --json`` and ``op write --json``."""

    mode: Literal["hot", "cold"]
    direction: Literal["read", "write"]
    entries: list[KernelOpEntry]
    pause: PauseTimes | None
