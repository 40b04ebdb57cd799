"""The seconds before a stop, from the kernel's own trace: who ran, and why a task did not.

Times are milliseconds before the stop, so they are negative, and 0 is the stop itself. What the trace itself says is
``observed``; what follows from it together with the capture is ``inferred``. What was overwritten is counted, not
guessed.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from ktstr_tui.model.trace_block import TraceBlock

Seen: TypeAlias = Literal["observed", "inferred"]
StepKind: TypeAlias = Literal[
    "ran", "left", "waking", "wakeup", "new", "migrate", "exit", "enqueue", "insert", "remove", "move"
]
"""What happened to a task: ``ran`` and ``left`` are a switch to it and away from it."""

INSERTS: Final = "ktstr_insert"
REMOVES: Final = "ktstr_remove"
"""The probes of what goes into and out of DSQs, as the kernel names them."""

NORMAL_PRIO: Final = 100
"""``MAX_RT_PRIO``: tasks of a lower ``prio`` are of a class above all schedulers; below 0 they are of deadline."""


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """A task on a CPU, from a switch to a switch."""

    pid: int
    """0 is the idle task."""
    comm: str
    prio: int | None = None
    from_ms: float | None = None
    """None when it began before what is known of this CPU."""
    to_ms: float = 0.0


class CpuHistory(msgspec.Struct, frozen=True, kw_only=True):
    """Who ran on one CPU."""

    cpu: int
    known_from_ms: float | None = None
    """From when on everything is known; None when nothing is."""
    ran: tuple[Ran, ...] = ()
    """The last stretches, oldest first."""
    more: int = 0
    """Earlier stretches that are known and left out here."""
    events: int = 0
    overwritten: int = 0
    """Events since boot that newer ones took the place of."""
    dropped: int = 0
    """Events since boot for which there was no place."""
    unavailable: str | None = None


class TaskStep(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a task."""

    ms: float
    cpu: int
    """On which it happened."""
    what: StepKind
    state: str | None = None
    """Of ``left``: its state, as the kernel's trace prints it; ``R`` and ``R+`` still want to run."""
    by_pid: int | None = None
    """Who did it, where that is another task."""
    by_comm: str | None = None
    to_cpu: int | None = None
    from_cpu: int | None = None
    dsq_id: int | None = None


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """How long a task had a CPU."""

    pid: int
    comm: str
    ms: float
    prio: int | None = None


class Taker(msgspec.Struct, frozen=True, kw_only=True):
    """A CPU that could have run the task, and what it did since the task waits."""

    cpu: int
    idle_ms: float = 0.0
    ran: tuple[Share, ...] = ()
    """Those that had most of it, longest first."""
    others_ms: float = 0.0
    """Of all other tasks."""
    unknown_ms: float = 0.0
    """Of which nothing is known: it was overwritten."""


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """A task that waits: since when, where, and who should have taken it."""

    pid: int
    comm: str
    since_ms: float
    since: Seen
    """``inferred`` when the trace does not reach so far: then it is ``p->scx.runnable_at``."""
    how: Literal["preempted", "woken", "unknown"] = "unknown"
    """Why it began to wait: it left a CPU while it wanted to run on, or somebody woke it."""
    last_cpu: int | None = None
    """Where it ran last; None when it did not run in what is known."""
    last_ms: float | None = None
    """Until when."""
    place: str | None = None
    """Where the capture found it: the label of a DSQ; None for none."""
    held: bool = False
    """The BPF scheduler has it, in no DSQ."""
    inserted_ms: float | None = None
    """When it was put into that DSQ; None when that was not recorded."""
    takers: tuple[Taker, ...] = ()
    """The CPUs that it may use, as far as its DSQ allows."""
    left: int | None = None
    """How many tasks left that DSQ since; None when that was not recorded, and nothing follows from what was."""
    left_seen: Seen | None = None
    left_last_ms: float | None = None
    """When the last of them left."""


class TextLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line that a program printed into the trace: ``bpf_printk``."""

    ms: float
    cpu: int
    text: str


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel's trace says of the time before a stop."""

    clock: str = ""
    """The kernel's name of the trace's clock."""
    recorded: tuple[str, ...] = ()
    """The events that the kernel has and that are understood; what is not here was not recorded."""
    cpus: tuple[CpuHistory, ...] = ()
    wait: Wait | None = None
    """Of the task that the capture is about; None when none waits."""
    steps: tuple[TaskStep, ...] = ()
    """What happened to that task, oldest first."""
    more_steps: int = 0
    """Earlier ones that are known and left out here."""
    texts: tuple[TextLine, ...] = ()
    more_texts: int = 0
    block: TraceBlock | None = None
    """The events themselves, for a timeline up to the stop; None in captures of older versions."""

    @property
    def records_dsqs(self) -> bool:
        """Whether the kernel recorded what goes into and out of DSQs."""
        return {INSERTS, REMOVES} <= set(self.recorded)
