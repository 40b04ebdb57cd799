"""A capture: the whole scheduler-related state of a machine that stood still.

The order of the sections is that of the kernel's own debug dump, with one change its users ask for: the task
that waited longest comes first. A section that could not be read is named in ``unavailable`` with the reason,
one that was cut in ``truncated``, and one that was read only after the guest ran again in ``read_late``;
an empty list alone never means "nothing there".
"""

from __future__ import annotations

from typing import Any

import msgspec

from ktstr_tui.model.history import History
from ktstr_tui.model.host import HostWait
from ktstr_tui.model.kinds import Trigger
from ktstr_tui.model.sample import RunnableTask
from ktstr_tui.model.text import printable

SCHEMA = "single"
"""The value of ``schema``; readers refuse others."""

EXIT_KIND_NAMES = {
    0: "NONE",
    1: "DONE",
    64: "UNREG",
    65: "UNREG_BPF",
    66: "UNREG_KERN",
    67: "SYSRQ",
    68: "PARENT",
    1024: "ERROR",
    1025: "ERROR_BPF",
    1026: "ERROR_STALL",
}
"""``enum scx_exit_kind`` without its prefix, for readers without the kernel's BTF at hand."""

SLICE_INF = (1 << 64) - 1
"""``SCX_SLICE_INF``: a slice that never ends."""

EXIT_KIND_ERROR = 1024
"""``SCX_EXIT_ERROR``: this and everything above is an error, and so an ejection whatever the scenario asked for."""
EXIT_KIND_STALL = 1026
"""``SCX_EXIT_ERROR_STALL``: a task waited for longer than the watchdog allows."""
EXIT_CODE_RESTART = 1 << 48
"""``SCX_ECODE_ACT_RESTART`` in an exit code: the kernel asks the scheduler to attach again."""


def is_ejection(kind: int | None) -> bool:
    """Whether an exit kind is an error; what else is an ejection depends on what the scenario asked for."""
    return kind is not None and kind >= EXIT_KIND_ERROR


def of_ejection(report: CaptureReport) -> bool:
    """Whether a capture was taken of an ejection, or shows an error."""
    return report.trigger == "error" or is_ejection(report.exit_kind)


def kind_word(report: CaptureReport) -> str:
    """The exit kind of a capture in its kernel's own word, as far as the capture has it."""
    it = report.scheduler
    own = it.exit_kind_name if it is not None and it.exit_kind == report.exit_kind else None
    return printable(own) if own else exit_kind_name(report.exit_kind)


def exit_kind_name(kind: int | None) -> str:
    """The kernel's word for an exit kind; unknown ones keep their number."""
    return "unknown" if kind is None else EXIT_KIND_NAMES.get(kind, f"exit_kind {kind}")


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """How long the guest stood still and where the time went, in microseconds of host time."""

    total_us: float
    stop_us: float | None = None
    """From asking for the stop to all vCPUs standing; None for a watchpoint, which stops by itself."""
    registers_us: float | None = None
    memory_us: float | None = None
    snapshot_us: float | None = None
    """To save the machine's state and what changed of its RAM; None for a capture without memory."""
    resume_us: float | None = None


class StackFrame(msgspec.Struct, frozen=True):
    """One return address."""

    address: int
    symbol: str | None = None
    """``name+0xoffset``; None when no symbol covers the address."""
    guess: bool = False
    """True when found by frame pointer (JIT-compiled BPF has no ORC), so it may be wrong."""
    source: str | None = None
    """Of a BPF program with line information: ``stall.bpf.c:41  source text``."""


class Stack(msgspec.Struct, frozen=True):
    """A kernel stack, innermost frame first."""

    frames: tuple[StackFrame, ...]
    end: str
    """Why it ends: ``end of stack``, ``user`` or the reason for which unwinding stopped early."""


class NextTask(msgspec.Struct, frozen=True, kw_only=True):
    """The ext task that a CPU goes on with when no higher class needs it."""

    pid: int
    comm: str
    slice_ns: int | None = None
    """What is left of its slice; `SLICE_INF` when it never ends."""


class Argument(msgspec.Struct, frozen=True, kw_only=True):
    """What a function of the kernel was called with, in one of its parameters."""

    name: str
    type: str
    value: str


class RunningTask(msgspec.Struct, frozen=True, kw_only=True):
    """What a CPU runs."""

    cpu: int
    pid: int
    comm: str
    sched_class: str
    policy: str | None = None
    weight: int | None = None
    """``p->scx.weight``."""
    slice_ns: int | None = None
    """What is left of its slice; `SLICE_INF` when it never ends."""
    offline: bool = False
    """The CPU is not online: what it seems to run is what it ran last."""
    ahead_of: NextTask | None = None
    """Of a task of a class above ext: the first task of the CPU's local DSQ, which is where the kernel puts the one
    that a higher class displaced."""


class VcpuReport(msgspec.Struct, frozen=True, kw_only=True):
    """One vCPU: its registers at the stop, its kernel stack, its current task."""

    cpu: int
    registers: dict[str, int] = {}
    """Register name to value, including rip, rsp, cr3, fs_base, gs_base."""
    curr: RunningTask | None = None
    stack: Stack | None = None
    unavailable: str | None = None


class TaskReport(msgspec.Struct, frozen=True, kw_only=True):
    """One runnable task."""

    pid: int
    tgid: int
    comm: str
    state: str
    """One letter, as ps prints it."""
    sched_class: str
    policy: str
    """``NORMAL``, ``BATCH``, ``IDLE``, ``FIFO``, ``RR``, ``DEADLINE`` or ``EXT``."""
    nice: int
    weight: int | None = None
    """``p->scx.weight``."""
    cpu: int
    """The runqueue the task belongs to."""
    cpus_allowed: str
    """``p->cpus_ptr`` as a list: ``0-1``."""
    nr_cpus_allowed: int
    on_cpu: bool = False
    """It runs right now (so its age says nothing)."""
    age_ms: float | None = None
    """``jiffies - p->scx.runnable_at``."""
    sub: str | None = None
    """Cgroup of the sub-scheduler whose task it is; None for one of the root scheduler."""
    dsq: str | None = None
    dsq_id: int | None = None
    dsq_seq: int | None = None
    scx_state: str | None = None
    """``NONE``, ``INIT``, ``READY`` or ``ENABLED``."""
    scx_flags: int | None = None
    """``p->scx.flags`` without the bits of ``scx_state``, as the kernel's dump prints it."""
    scx_flag_names: tuple[str, ...] = ()
    """Those that are set, as ``enum scx_ent_flags`` names them, without the prefix."""
    ops_state: int | None = None
    """``p->scx.ops_state``."""
    ops_state_name: str | None = None
    """``NONE``, ``QUEUEING``, ``QUEUED`` (the BPF scheduler holds the task) or ``DISPATCHING``."""
    ops_qseq: int | None = None
    """The number of that queueing, out of ``ops_state``."""
    dsq_flags: int | None = None
    dsq_vtime: int | None = None
    slice_ns: int | None = None
    """What is left of its slice; `SLICE_INF` when it never ends."""
    sticky_cpu: int | None = None
    holding_cpu: int | None = None
    ddsp_dsq_id: int | None = None
    """The queue that ``ops.select_cpu()`` or ``ops.enqueue()`` chose for it directly."""
    core_cookie: int | None = None
    """Only of kernels with core scheduling."""
    no_mig: int | None = None
    """``p->migration_disabled``: how often migration was disabled and not yet enabled."""
    running_there: tuple[RunningTask, ...] = ()
    """What runs on the CPUs that this task may use."""
    stack: Stack | None = None


class RunqueueReport(msgspec.Struct, frozen=True, kw_only=True):
    """``struct rq`` and ``rq->scx`` of one CPU."""

    cpu: int
    nr_running: int | None = None
    scx_nr_running: int | None = None
    flags: int | None = None
    """``rq->scx.flags``."""
    flag_names: tuple[str, ...] = ()
    """Those that are set, as ``enum scx_rq_flags`` names them, without the prefix."""
    online: bool | None = None
    tick_stopped: bool | None = None
    """``TS_FLAG_STOPPED`` of ``tick_cpu_sched`` (kernel/time/tick-sched.h): the CPU runs without a tick.

    None where the kernel does not say. Not ``rq->nohz_tick_stopped``, which is the load balancer's and stays set.
    """
    nr_immed: int | None = None
    cpu_released: bool | None = None
    ops_qseq: int | None = None
    kick_sync: int | None = None
    """``kick_sync``, on older kernels ``pnt_seq``."""
    local_dsq_nr: int | None = None
    rq_clock_ns: int | None = None
    curr: RunningTask | None = None
    running: TaskReport | None = None
    """Everything of the task on this CPU, unless that is the idle task."""
    runnable_pids: tuple[int, ...] = ()
    runnable_truncated: bool = False
    unavailable: str | None = None


class DsqReport(msgspec.Struct, frozen=True, kw_only=True):
    """One dispatch queue."""

    id: int
    label: str
    origin: str
    """``user``, ``local cpu N``, ``bypass cpu N`` or ``global node N``."""
    sub: str | None = None
    """Cgroup of the sub-scheduler whose queue it is; None for one of the root scheduler, and for local queues."""
    nr: int
    seq: int | None = None
    pids: tuple[int, ...] = ()
    truncated: bool = False


class SchedulerReport(msgspec.Struct, frozen=True, kw_only=True):
    """``struct scx_sched`` and its ``struct scx_exit_info``."""

    name: str | None = None
    cgroup: str | None = None
    """``sch->cgrp_path`` of a sub-scheduler; None for the root scheduler."""
    parent: str | None = None
    """Cgroup of the sub-scheduler that it is below; None for the root scheduler."""
    level: int | None = None
    """1 for a child of the root scheduler; None for that itself."""
    state: str | None = None
    exit_kind: int | None = None
    exit_kind_name: str | None = None
    exit_code: int | None = None
    exit_cpu: int | None = None
    """The CPU that wrote the exit kind; only of kernels that keep it."""
    reason: str | None = None
    """``ei->reason``; the kernel fills it after the stop, so it is read late."""
    message: str | None = None
    """``ei->msg``: what failed, such as ``yes[1632] failed to run for 5.314s``."""
    dump: tuple[str, ...] = ()
    """``ei->dump`` by lines: the kernel's own dump, with what the scheduler's ``ops.dump()`` wrote. Read late."""
    ops_flags: int | None = None
    aborting: bool | None = None
    bypass_depth: int | None = None
    watchdog_timeout_ms: float | None = None
    enable_seq: int | None = None
    event_counters: dict[str, int] | None = None


class MapEntry(msgspec.Struct, frozen=True):
    """One entry of a BPF map, rendered through its BTF into plain JSON values."""

    key: Any
    value: Any


class MapReport(msgspec.Struct, frozen=True, kw_only=True):
    """One BPF map."""

    id: int
    name: str
    map_type: str
    key_size: int = 0
    value_size: int = 0
    max_entries: int = 0
    entries: tuple[MapEntry, ...] = ()
    truncated: bool = False
    error: str | None = None
    state: dict[str, Any] = {}
    """What the map says of itself: ``nr`` of a queue, positions of a ring buffer, ``pages_in_use`` of an arena."""
    count: int = 1
    """Maps that this line stands for: nameless ones of one shape are folded, from ``id`` to ``state.last_id``."""


class CaptureReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of one capture."""

    schema: str = SCHEMA
    tag: str
    """Unique in a run: ``error-001``, ``key-002``, or what the requester named."""
    trigger: Trigger
    trigger_detail: str = ""
    mono_ns: int = 0
    """Host monotonic clock when the guest stood still."""
    guest_ns: int | None = None
    wall_time: str = ""
    """ISO 8601, for people."""
    kernel: str = ""
    step: str | None = None
    step_index: int | None = None
    """0 is the baseline, 1 to N are the steps."""
    elapsed_ms: float | None = None
    """The scenario's own time at the stop: pauses and frozen time are left out."""
    boundary_offset_ms: float | None = None
    """Of a periodic capture: when it was due, on the same clock. What ``elapsed_ms`` is above it, it was late."""
    scheduler_stats: Any = None
    """Of a periodic capture: what the scheduler itself answered to a request for its statistics just before."""
    scheduler_stats_unavailable: str | None = None
    """Why there are none, if they were asked for: ``no scheduler: …``, ``timeout: …``, …"""
    early_tag: str | None = None
    """Of an error capture: the one that was taken when a task had waited for half of the watchdog timeout."""
    early_max_age_ms: float | None = None
    """Of an error capture: the longest that the sampler saw a task of this scheduler wait."""
    early_threshold_ms: float | None = None
    """Age at which the early capture was due."""
    early_skipped_reason: str | None = None
    """Why there is no early capture."""
    exit_kind: int | None = None
    """Of the scheduler that the capture is about."""
    host: HostWait | None = None
    """The host's part in the wait that this capture shows; None when it has none."""
    pause: Pause | None = None
    is_placeholder: bool = False
    """True when the capture failed; ``unavailable`` then holds the reason for every section."""
    scheduler: SchedulerReport | None = None
    """The scheduler that the capture is about: a sub-scheduler when one was ejected, else the root scheduler."""
    root: SchedulerReport | None = None
    """The root scheduler, when the capture is about a sub-scheduler."""
    subs: tuple[SchedulerReport, ...] = ()
    """Sub-schedulers, parents before their children; only of kernels that have them."""
    history: History | None = None
    """The seconds before the stop, from the kernel's own trace."""
    stalled: RunnableTask | None = None
    """The task that waited longest, if any waited; also the first of ``tasks``."""
    vcpus: tuple[VcpuReport, ...] = ()
    runqueues: tuple[RunqueueReport, ...] = ()
    tasks: tuple[TaskReport, ...] = ()
    """Runnable tasks, the longest waiting first."""
    dsqs: tuple[DsqReport, ...] = ()
    maps: tuple[MapReport, ...] = ()
    dmesg_tail: tuple[str, ...] = ()
    unavailable: dict[str, str] = {}
    truncated: dict[str, str] = {}
    read_late: dict[str, str] = {}

    @property
    def lacks(self) -> str:
        """What the lists of tasks and queues lack, in short; empty when nothing."""
        tables = (self.unavailable, self.truncated)
        return "; ".join(
            f"{name}: {table[name]}" for name in ("tasks", "dsqs") for table in tables if name in table
        )


def placeholder(tag: str, trigger: Trigger, reason: str, *, mono_ns: int = 0) -> CaptureReport:
    """A report that stands for a capture that failed; every section is unavailable for ``reason``."""
    sections = ("scheduler", "vcpus", "runqueues", "tasks", "dsqs", "maps", "dmesg_tail")
    return CaptureReport(
        tag=tag,
        trigger=trigger,
        mono_ns=mono_ns,
        is_placeholder=True,
        unavailable=dict.fromkeys(sections, reason),
    )
