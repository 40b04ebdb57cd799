"""Blocks of the trace as events again, for what is written for other programs.

A block keeps the numbers of an event, and the name of a task once. So a task that changed its name has, to the end of
the block in which it did, the name that it had at first; and from which CPU a task was migrated is not kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ktstr_tui.kernel.trace.events import SOURCES, Kind, Source, TraceEvent
from ktstr_tui.model.trace_block import TraceRow

NAMED: Final[Mapping[Kind, tuple[str, Source]]] = {
    it.kind: (name, it) for name, it in reversed(SOURCES.items()) if it.kind != "text"
}
"""The kernel's name of each kind of event that blocks keep, and which members it has."""


def comm_of(pid: int, cpu: int, comms: Mapping[int, str]) -> str:
    """The name of a task on a CPU as the kernel's trace has it; ``<...>`` when it is not known."""
    return f"swapper/{cpu}" if pid == 0 else comms.get(pid, "<...>")


def event_of(row: TraceRow, comms: Mapping[int, str], time_ns: int) -> TraceEvent | None:
    """An event of a block; None for a kind that says nothing.

    Args:
        row: The event.
        comms: Names of tasks.
        time_ns: When it was, on the clock that is wanted.
    """
    if row.kind not in NAMED:
        return None
    name, source = NAMED[row.kind]
    is_switch = row.kind == "switch"
    return TraceEvent(
        time_ns=time_ns,
        cpu=row.cpu,
        kind=row.kind,
        name=name,
        by=row.other,
        pid=row.pid if source.pid else None,
        comm=comm_of(row.pid, row.cpu, comms) if source.comm else None,
        prio=row.prio if source.prio else None,
        prev_pid=row.other if is_switch else None,
        prev_comm=comm_of(row.other, row.cpu, comms) if is_switch else None,
        prev_state=row.number if is_switch else None,
        to_cpu=row.to_cpu if source.to_cpu else None,
        dsq_id=row.number if source.number and not is_switch else None,
    )
