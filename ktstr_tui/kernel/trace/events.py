"""Events as values, and where their members are in the kernel's own events."""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

import msgspec

from ktstr_tui.model.trace_block import TraceKind

Kind: TypeAlias = TraceKind

PREEMPTED: Final = 0x100
"""``prev_state`` of a task that would have run on: ``TASK_REPORT_MAX``."""
_STATES: Final = {
    0: "R",
    1: "S",
    2: "D",
    4: "T",
    8: "t",
    0x10: "X",
    0x20: "Z",
    0x40: "P",
    0x80: "I",
    PREEMPTED: "R+",
}


class TraceEvent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One event of the kernel's trace."""

    time_ns: int
    """On the trace's clock."""
    cpu: int
    """Whose ring holds it."""
    kind: Kind
    name: str
    """The kernel's name of the event."""
    by: int
    """The pid of the task that ran on this CPU."""
    pid: int | None = None
    """Of the task that it is about; of a switch, the one that runs from now on."""
    comm: str | None = None
    prio: int | None = None
    prev_pid: int | None = None
    """Of a switch: the task that ran until now."""
    prev_comm: str | None = None
    prev_state: int | None = None
    """In which state that left the CPU, as `state_letters` has it."""
    to_cpu: int | None = None
    """Where a task is to run: of wakeups and migrations; of a kick the CPU that is kicked."""
    from_cpu: int | None = None
    dsq_id: int | None = None
    text: str | None = None


def state_letters(state: int) -> str:
    """Return a ``prev_state`` as the kernel's trace prints it: ``S``, ``D|K``, ``R+``; in hex when unknown."""
    if state in _STATES:
        return _STATES[state]
    base = state & ~PREEMPTED
    letter = _STATES.get(base, f"{base:#x}")
    return f"{letter}+" if state & PREEMPTED else letter


def is_runnable(state: int) -> bool:
    """Whether a task that left the CPU in this state still wants to run."""
    return state in (0, PREEMPTED)


class Source(NamedTuple):
    """Where the members of an event are: field names of the kernel's event, in the order of `SLOTS`."""

    kind: Kind
    pid: str | None = None
    prev_pid: str | None = None
    number: str | None = None
    """``prev_state``, or the id of a DSQ."""
    to_cpu: str | None = None
    from_cpu: str | None = None
    prio: str | None = None
    comm: str | None = None
    prev_comm: str | None = None
    text: str | None = None


SOURCES: Final[dict[str, Source]] = {
    "sched_switch": Source(
        "switch", pid="next_pid", prev_pid="prev_pid", number="prev_state", prio="next_prio", comm="next_comm",
        prev_comm="prev_comm",
    ),
    "sched_wakeup": Source("wakeup", pid="pid", to_cpu="target_cpu", prio="prio", comm="comm"),
    "sched_waking": Source("waking", pid="pid", to_cpu="target_cpu", prio="prio", comm="comm"),
    "sched_wakeup_new": Source("new", pid="pid", to_cpu="target_cpu", prio="prio", comm="comm"),
    "sched_migrate_task": Source(
        "migrate", pid="pid", to_cpu="dest_cpu", from_cpu="orig_cpu", prio="prio", comm="comm"
    ),
    "sched_process_exit": Source("exit", pid="pid", prio="prio", comm="comm"),
    "bpf_trace_printk": Source("text", text="bpf_string"),
    "sched_ext_dump": Source("text", text="line"),
    "ktstr_enqueue": Source("enqueue", pid="pid"),
    "ktstr_insert": Source("insert", pid="pid", number="dsq"),
    "ktstr_remove": Source("remove", pid="pid", number="dsq"),
    "ktstr_move": Source("move", pid="pid", to_cpu="cpu"),
    "ktstr_kick": Source("kick", to_cpu="cpu"),
    "ktstr_bypass": Source("bypass", number="on"),
}  # fmt: skip
"""By the kernel's name; those of ``ktstr_`` are the probes that ``--trace scx`` asks for."""
