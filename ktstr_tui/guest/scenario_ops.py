"""Operations of a scenario's steps, and its cgroups.

They are tables of its file::

    [[cgroups]]                  # made before the first step; removed by an operation, or never
    name = "batch"
    cpus = [1]                   # cpuset.cpus; without it all
    weight = 50                  # cpu.weight; without it the kernel's 100
    max_us = 20000               # cpu.max: so many microseconds in each period
    period_us = 100000

    [[steps.ops]]
    op = "freeze-cgroup"
    at_ms = 500                  # since the step began; without it right after the operation before
    cgroup = "batch"

The guest program does the operations of a step one after the other, in their order in the file, each at its time or,
when the one before takes longer, after that. The time of a step begins when its workers run, and the step lasts until
its last operation is over. One that fails is told, and the step goes on; those that an ejection or the end of the run
leaves undone are told too.

The classes here are what a table may hold, how it is said in words, and how it is written into the plan; what can be
wrong with an operation in its place is in `ktstr_tui.guest.scenario_checks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, TypeAlias, get_args

import msgspec
from msgspec import Meta

from ktstr_tui.guest.plan_lines import Pair, cpu_list
from ktstr_tui.model.stimulus import StimulusKind
from ktstr_tui.wire.kernel_ops import Entry, Int, KernelOp, Symbol

MAX_OPS = 256
"""Operations of a scenario."""
MAX_CGROUPS = 32
"""Cgroups that a scenario begins with."""
MAX_OP_MS = 86_400_000
ROOT_CGROUP = "/"
"""Where workers are that are in no cgroup of the scenario."""
MAX_WRITE_BODY_BYTES = 255
"""Of a kernel write, as the guest passes it on."""

Cpu: TypeAlias = Annotated[int, Meta(ge=0, le=254)]
HotCpu: TypeAlias = Annotated[int, Meta(ge=1, le=254)]
CgroupName: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,31}$")]
CgroupOrRoot: TypeAlias = Annotated[str, Meta(pattern=r"^(/|[A-Za-z0-9_][A-Za-z0-9_-]{0,31})$")]
WorkerNames: TypeAlias = Annotated[str, Meta(pattern=r"^([a-z]+(-[0-9]+)?)?$", max_length=15)]
Tag: TypeAlias = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=64)]
SymbolName: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$", max_length=64)]
SchedulerName: TypeAlias = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]*$")]
Weight: TypeAlias = Annotated[int, Meta(ge=1, le=10_000)]
MaxUs: TypeAlias = Annotated[int, Meta(ge=1000, le=1_000_000_000)]
PeriodUs: TypeAlias = Annotated[int, Meta(ge=1000, le=1_000_000)]
FindScheduler: TypeAlias = Callable[[str], int]
"""The place of a scheduler in the plan, by name."""


def _of(cpus: tuple[int, ...]) -> str:
    return f"CPUs {cpu_list(cpus)}" if len(cpus) > 1 else f"CPU {cpus[0]}" if cpus else "all CPUs"


class _Op(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="op"):
    at_ms: Annotated[int, Meta(ge=0, le=MAX_OP_MS)] | None = None
    """Since the step began; None for right after the operation before."""

    @property
    def kind(self) -> StimulusKind:
        """What it does."""
        return type(self).__struct_config__.tag  # type: ignore[return-value]

    @property
    def hotplug_cpu(self) -> int | None:
        """The CPU that it takes away or brings back."""
        return None


class _OfCgroup(_Op, frozen=True, kw_only=True):
    cgroup: CgroupName


class _OfCpu(_Op, frozen=True, kw_only=True):
    cpu: HotCpu

    @property
    def hotplug_cpu(self) -> int | None:
        return self.cpu


class AddCgroup(_OfCgroup, frozen=True, tag="add-cgroup"):
    """Make a cgroup."""

    cpus: tuple[Cpu, ...] = ()
    weight: Weight | None = None
    max_us: MaxUs | None = None
    period_us: PeriodUs = 100_000

    @property
    def text(self) -> str:
        """In words."""
        return f"add cgroup {self.cgroup}"


class RemoveCgroup(_OfCgroup, frozen=True, tag="remove-cgroup"):
    """Remove a cgroup in which no worker is."""

    @property
    def text(self) -> str:
        """In words."""
        return f"remove cgroup {self.cgroup}"


class SetCpuset(_OfCgroup, frozen=True, tag="set-cpuset"):
    """Say which CPUs the tasks of a cgroup may use."""

    cpus: tuple[Cpu, ...] = ()

    @property
    def text(self) -> str:
        """In words."""
        return f"set cpuset of cgroup {self.cgroup} to {_of(self.cpus)}"


class SetWeight(_OfCgroup, frozen=True, tag="set-weight"):
    """Set ``cpu.weight`` of a cgroup."""

    weight: Weight

    @property
    def text(self) -> str:
        """In words."""
        return f"set cpu.weight of cgroup {self.cgroup} to {self.weight}"


class SetCpuMax(_OfCgroup, frozen=True, tag="set-cpu-max"):
    """Set ``cpu.max`` of a cgroup."""

    max_us: MaxUs | None = None
    period_us: PeriodUs = 100_000

    @property
    def text(self) -> str:
        """In words."""
        limit = "max" if self.max_us is None else f"{self.max_us} µs"
        return f"set cpu.max of cgroup {self.cgroup} to {limit} in {self.period_us} µs"


class FreezeCgroup(_OfCgroup, frozen=True, tag="freeze-cgroup"):
    """Freeze the tasks of a cgroup; done once the kernel says that all are."""

    @property
    def text(self) -> str:
        """In words."""
        return f"freeze cgroup {self.cgroup}"


class ThawCgroup(_OfCgroup, frozen=True, tag="thaw-cgroup"):
    """Let the tasks of a frozen cgroup run again."""

    @property
    def text(self) -> str:
        """In words."""
        return f"thaw cgroup {self.cgroup}"


class MoveWorkers(_Op, frozen=True, kw_only=True, tag="move-workers"):
    """Move workers into a cgroup."""

    cgroup: CgroupOrRoot
    workers: WorkerNames = ""

    @property
    def text(self) -> str:
        """In words."""
        return f"move {self.workers or 'all'} workers to cgroup {self.cgroup}"


class SetAffinity(_Op, frozen=True, kw_only=True, tag="set-affinity"):
    """Say which CPUs workers may use."""

    cpus: Annotated[tuple[Cpu, ...], Meta(min_length=1)]
    workers: WorkerNames = ""

    @property
    def text(self) -> str:
        """In words."""
        return f"set affinity of {self.workers or 'all'} workers to {_of(self.cpus)}"


class AttachSchedulerOp(_Op, frozen=True, kw_only=True, tag="attach-scheduler"):
    """Attach a scheduler where none is."""

    scheduler: SchedulerName = ""

    @property
    def text(self) -> str:
        """In words."""
        return f"attach {self.scheduler or 'the scheduler of the step'}"


class DetachSchedulerOp(_Op, frozen=True, kw_only=True, tag="detach-scheduler"):
    """Detach the scheduler, in order."""

    @property
    def text(self) -> str:
        """In words."""
        return "detach the scheduler"


class ReplaceSchedulerOp(_Op, frozen=True, kw_only=True, tag="replace-scheduler"):
    """Put another scheduler in the place of the one that is attached, which stays when the new one is refused."""

    scheduler: Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]+$")]

    @property
    def text(self) -> str:
        """In words."""
        return f"replace the scheduler by {self.scheduler}"


class RestartSchedulerOp(DetachSchedulerOp, frozen=True, kw_only=True, tag="restart-scheduler"):
    """Detach the scheduler and attach it again, with the state of a new one."""

    @property
    def text(self) -> str:
        """In words."""
        return "restart the scheduler"


class CaptureOp(_Op, frozen=True, kw_only=True, tag="capture"):
    """Have the host take a capture; done when it is there."""

    tag: Tag
    memory: bool = False
    """Whether the guest's memory is kept too, as a snapshot."""

    @property
    def text(self) -> str:
        """In words."""
        return f"capture {self.tag}{' with memory' if self.memory else ''}"


class WatchOp(_Op, frozen=True, kw_only=True, tag="watch"):
    """Have the host capture at every write to an expression."""

    expression: Tag

    @property
    def text(self) -> str:
        """In words."""
        return f"watch {self.expression}"


class WriteKernel(_Op, frozen=True, kw_only=True, tag="write-kernel"):
    """Have the host write to a variable of the kernel, in a run that allows it."""

    symbol: SymbolName
    value: Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
    cold: bool = False

    @property
    def text(self) -> str:
        """In words."""
        return f"write {self.symbol}={self.value}"


class OfflineCpu(_OfCpu, frozen=True, tag="offline-cpu"):
    """Take a CPU offline."""

    @property
    def text(self) -> str:
        """In words."""
        return f"take CPU {self.cpu} offline"


class OnlineCpu(_OfCpu, frozen=True, tag="online-cpu"):
    """Bring a CPU online again."""

    @property
    def text(self) -> str:
        """In words."""
        return f"bring CPU {self.cpu} online"


Op: TypeAlias = (
    AddCgroup
    | RemoveCgroup
    | SetCpuset
    | SetWeight
    | SetCpuMax
    | FreezeCgroup
    | ThawCgroup
    | MoveWorkers
    | SetAffinity
    | AttachSchedulerOp
    | DetachSchedulerOp
    | ReplaceSchedulerOp
    | RestartSchedulerOp
    | CaptureOp
    | WatchOp
    | WriteKernel
    | OfflineCpu
    | OnlineCpu
)
_OF_THE_HOST = ("at_ms", "memory")
"""Keys of which the plan says nothing, or says it by itself."""
OP_CLASSES: tuple[type[Op], ...] = get_args(Op)
"""One for each kind of stimulus, in their order."""


class Cgroup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A cgroup that is there from the first step on."""

    name: CgroupName
    cpus: tuple[Cpu, ...] = ()
    weight: Weight | None = None
    max_us: MaxUs | None = None
    period_us: PeriodUs = 100_000

    @property
    def making(self) -> AddCgroup:
        """The operation that makes it."""
        return AddCgroup(
            cgroup=self.name,
            cpus=self.cpus,
            weight=self.weight,
            max_us=self.max_us,
            period_us=self.period_us,
        )


def op_pairs(op: Op, at_ms: int, find: FindScheduler) -> Iterator[Pair]:
    """What the plan says of an operation, in the order of its keys."""
    yield "kind", op.kind
    yield "at_ms", at_ms
    if isinstance(op, WriteKernel):
        entry = Entry(Symbol(op.symbol), Int(op.value))
        body = KernelOp("cold" if op.cold else "hot", "write", (entry,), "scenario")
        yield "body", msgspec.msgpack.encode(body).hex()
        return
    for name in op.__struct_fields__:
        value = getattr(op, name)
        if name in _OF_THE_HOST or value in (None, "", ()):
            continue
        if name == "scheduler":
            yield "sched", find(value)
        else:
            yield _PLAN_KEYS.get(name, name), cpu_list(value) if name == "cpus" else value


_PLAN_KEYS = {"expression": "tag"}
