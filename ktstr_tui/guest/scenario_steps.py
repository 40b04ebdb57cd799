"""What a scenario is made of: steps, workers, and the whole."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from ktstr_tui.guest.guest_files import NO_SCHEDULER
from ktstr_tui.guest.scenario_ops import (
    MAX_CGROUPS,
    MAX_OPS,
    AttachSchedulerOp,
    CaptureOp,
    Cgroup,
    CgroupName,
    Cpu,
    Op,
    ReplaceSchedulerOp,
)
from ktstr_tui.model.alarms import AlarmLimits
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.text import tag_problem

MAX_STEPS = 64
MAX_ABOUT = 1000
"""Characters of a step's explanation."""
MAX_GROUPS = 32
"""Worker tables of one step."""
MAX_PROCESSES = 256
"""Worker processes of one step."""
MAX_SCHEDULERS = 16
"""Different ones in a scenario, ``none`` not counted."""
MAX_DURATION_MS = 86_400_000
_PRINTABLE = r"^[^\x00-\x1f\x7f]+$"

WorkerKind = Literal["spin", "yield", "bursty", "pipe", "futex", "fork", "mixed", "sleep"]
WorkerPolicy = Literal["normal", "batch", "idle", "fifo", "rr", "ext"]
Until = Literal["duration", "ejected"]
Failure = Literal["panic", "hang", "reboot"]
Name = Annotated[str, msgspec.Meta(max_length=40, pattern=_PRINTABLE)]


class Workers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Some processes of one kind."""

    kind: WorkerKind
    count: Annotated[int, msgspec.Meta(ge=1, le=MAX_PROCESSES)] = 1
    affinity: tuple[Cpu, ...] = ()
    """CPUs they may run on; empty for all."""
    nice: Annotated[int, msgspec.Meta(ge=-20, le=19)] = 0
    policy: WorkerPolicy = "normal"
    cgroup: CgroupName | None = None
    """None for the root."""

    @property
    def processes(self) -> int:
        """Processes that these make: pipe and futex workers come in pairs."""
        return self.count * (2 if self.kind in ("pipe", "futex") else 1)


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stretch of time under one scheduler and one load."""

    name: Name
    duration_ms: Annotated[int, msgspec.Meta(ge=1, le=MAX_DURATION_MS)]
    until: Until = "duration"
    scheduler: Annotated[str, msgspec.Meta(pattern=_PRINTABLE)] = NO_SCHEDULER
    fixed: bool = False
    workers: Annotated[tuple[Workers, ...], msgspec.Meta(max_length=MAX_GROUPS)] | None = None
    """None when the step has no table of its own; resolved by `load_scenario`."""
    capture: Annotated[str, msgspec.Meta(pattern=_PRINTABLE)] | None = None
    watch: Annotated[str, msgspec.Meta(pattern=_PRINTABLE)] | None = None
    about: Annotated[str, msgspec.Meta(max_length=MAX_ABOUT)] = ""
    ops: Annotated[tuple[Op, ...], msgspec.Meta(max_length=MAX_OPS)] = ()
    panic: bool = False
    hang: bool = False
    reboot: bool = False

    def __post_init__(self) -> None:
        if sum(group.processes for group in self.workers or ()) > MAX_PROCESSES:
            raise ValueError(f"more than {MAX_PROCESSES} worker processes")
        if self.panic + self.hang + self.reboot > 1:
            raise ValueError("at most one of panic, hang and reboot")
        if len((self.capture or "").encode()) > 64:
            raise ValueError("capture: a tag has at most 64 bytes")
        problem = "" if self.capture is None else tag_problem(self.capture, 64)
        if problem:
            raise ValueError(f"capture: {problem}")
        if len((self.watch or "").encode()) > 64:
            raise ValueError("watch: a symbol has at most 64 bytes here")

    def timed_ops(self) -> list[tuple[int, Op]]:
        """The operations with the time of each, in ms since the step began."""
        timed: list[tuple[int, Op]] = []
        for op in self.ops:
            timed.append((timed[-1][0] if timed and op.at_ms is None else op.at_ms or 0, op))
        return timed

    @property
    def failure(self) -> Failure | None:
        """The test aid that this step asks for."""
        chosen: tuple[tuple[bool, Failure], ...] = (
            (self.panic, "panic"),
            (self.hang, "hang"),
            (self.reboot, "reboot"),
        )
        return next((name for wanted, name in chosen if wanted), None)


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Named steps, run one after the other."""

    name: Name
    steps: Annotated[tuple[Step, ...], msgspec.Meta(min_length=1, max_length=MAX_STEPS)]
    description: str = ""
    workers: Annotated[tuple[Workers, ...], msgspec.Meta(max_length=MAX_GROUPS)] = ()
    """The load of steps that have no table of their own."""
    cgroups: Annotated[tuple[Cgroup, ...], msgspec.Meta(max_length=MAX_CGROUPS)] = ()
    alarms: AlarmLimits | None = None
    """How long something may last before it is an early alarm; None goes by the watchdog."""

    def __post_init__(self) -> None:
        if sum(len(step.ops) for step in self.steps) > MAX_OPS:
            raise ValueError(f"more than {MAX_OPS} operations")
        if len(self.schedulers() - {NO_SCHEDULER}) > MAX_SCHEDULERS:
            raise ValueError(f"more than {MAX_SCHEDULERS} different schedulers")

    @property
    def duration_ms(self) -> int:
        """The longest that all steps together take, without the time to attach schedulers."""
        return sum(step.duration_ms for step in self.steps)

    def schedulers(self) -> set[str]:
        """Names of all schedulers that steps and their operations ask for, ``none`` included."""
        named = {
            op.scheduler
            for step in self.steps
            for op in step.ops
            if isinstance(op, AttachSchedulerOp | ReplaceSchedulerOp) and op.scheduler
        }
        return {step.scheduler for step in self.steps} | named

    @property
    def has_ops(self) -> bool:
        """Whether it asks more of the guest than schedulers and workers."""
        return bool(self.cgroups) or any(step.ops for step in self.steps)

    def keeps_memory(self, tag: str) -> bool:
        """Whether the capture of that tag is to keep the guest's memory."""
        ops = (op for step in self.steps for op in step.ops)
        return any(isinstance(op, CaptureOp) and op.memory and op.tag == tag for op in ops)

    def with_scheduler(self, name: str) -> Scenario:
        """This scenario with every step under scheduler ``name``, except steps marked ``fixed``.

        What is said about a step is about the scheduler that it had, so the other steps lose it. Operations that name a
        scheduler keep it.
        """
        steps = (s if s.fixed else msgspec.structs.replace(s, scheduler=name, about="") for s in self.steps)
        return msgspec.structs.replace(self, steps=tuple(steps))

    def require_cpus(self, cpus: int) -> None:
        """Check that the guest has the CPUs that workers are pinned to.

        Raises:
            UsageError: A worker names a CPU that a guest of ``cpus`` CPUs lacks.
        """
        for step in self.steps:
            for group in step.workers or ():
                if group.affinity and max(group.affinity) >= cpus:
                    raise UsageError(
                        f"scenario {self.name}, step {step.name}: a {group.kind} worker is pinned to CPU"
                        f" {max(group.affinity)}, and the guest has CPUs 0 to {cpus - 1}",
                        "ask for more CPUs with --topology, or change the scenario's affinity",
                    )
