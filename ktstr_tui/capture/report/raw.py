"""What a capture copies while the guest is frozen, before anything is made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from ktstr_tui.capture.report.stacks import StackCopy
from ktstr_tui.capture.stop.rendezvous import collector_off
from ktstr_tui.kernel.bpf_map_raw import RawMap
from ktstr_tui.kernel.dsq import DsqRef
from ktstr_tui.kernel.sched_tree import NO_SUBS, Subs, SubSched
from ktstr_tui.kernel.scx import ExitText, SchedState
from ktstr_tui.kernel.symbols import BpfSymbol
from ktstr_tui.kernel.tasks import Runnable
from ktstr_tui.model.kinds import Trigger

DMESG_LINES = 100


class Stop(NamedTuple):
    """The stop on the clock of the kernel's trace."""

    last_ns: tuple[int | None, ...]
    """Of each CPU's last event."""
    now_ns: int


Registers: TypeAlias = Mapping[int, Mapping[str, int]] | Sequence[Mapping[str, int]]


@dataclass(slots=True)
class RawCpu:
    """One CPU's copies."""

    cpu: int
    registers: dict[str, int] = field(default_factory=dict)
    rq: dict[str, Any] | None = None
    tick_stopped: bool | None = None
    curr: dict[str, Any] | None = None
    allowed: int = 0
    """The CPUs that the current task may use."""
    behind: dict[str, Any] | None = None
    """The ext task that the current one, of a higher class, runs ahead of."""
    online: bool = True
    stack: StackCopy | None = None
    runnable: list[Runnable] = field(default_factory=list)
    runnable_cut: bool = False
    unavailable: str | None = None


@dataclass(slots=True)
class RawTask:
    """One waiting task's copies."""

    found: Runnable
    row: dict[str, Any]
    allowed: int
    age_ms: float
    dsq: str | None
    dsq_id: int | None
    stack: StackCopy | None
    sub: str | None = None
    """Cgroup of its sub-scheduler; None for the root's."""


@dataclass(slots=True)
class RawDsq:
    """One queue's copies."""

    ref: DsqRef
    row: dict[str, Any]
    pids: list[int]
    cut: bool


@dataclass(slots=True)
class RawScheduler:
    """The scheduler's copies."""

    state: str | None
    enable_seq: int | None
    sched: SchedState | None = None
    exit_text: ExitText | None = None
    events: dict[str, int] | None = None


@dataclass(slots=True)
class RawSub:
    """A sub-scheduler's copies."""

    sub: SubSched
    exit_text: ExitText | None = None
    events: dict[str, int] | None = None


@dataclass(slots=True)
class RawCapture:
    """What was copied while the guest was frozen; ``render`` makes the report of it."""

    tag: str
    trigger: Trigger
    trigger_detail: str = ""
    mono_ns: int = 0
    wall_time: str = ""
    step: str | None = None
    jiffies: int = 0
    sched: int | None = None
    """Address of the root scheduler."""
    about: int | None = None
    """Address of the scheduler that the capture is about, for reading its exit info late; None for the root."""
    scheduler: RawScheduler | None = None
    subs: list[RawSub] = field(default_factory=list)
    tree: Subs = NO_SUBS
    """Where the sub-schedulers are."""
    cpus: list[RawCpu] = field(default_factory=list)
    tasks: list[RawTask] = field(default_factory=list)
    dsqs: list[RawDsq] = field(default_factory=list)
    maps: list[RawMap] = field(default_factory=list)
    bpf_symbols: tuple[BpfSymbol, ...] = ()
    bpf_lines: dict[int, str] = field(default_factory=dict)
    """Source lines of addresses in BPF programs that are on the stacks of CPUs."""
    stop: Stop | None = None
    """Where the kernel's trace was; None where there is none."""
    dmesg_lines: int = DMESG_LINES
    unavailable: dict[str, str] = field(default_factory=dict)
    truncated: dict[str, str] = field(default_factory=dict)
    held: bool = False
    """Whether the guest does not notice how long it is stopped, and what is read late is waited for by others."""
    copy_stack: Callable[[RawCpu], None] | None = None
    """Copies what a CPU's registers point to; only while the guest is frozen."""

    def add_registers(self, registers: Registers) -> None:
        """Take the registers of each vCPU by name (``rip``, ``rsp``, ``rbp``, …) and copy its stack.

        Args:
            registers: By CPU number, or in the order of CPUs.
        """
        by_cpu = registers if isinstance(registers, Mapping) else dict(enumerate(registers))
        with collector_off():
            for one in self.cpus:
                one.registers = dict(by_cpu.get(one.cpu, {}))
                if self.copy_stack is not None:
                    self.copy_stack(one)
