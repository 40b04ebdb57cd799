"""The ext task that a task of a higher class runs ahead of.

A stop catches whatever runs at that instant. When it is an rt task that runs for a moment (the guest program, a
migration thread), the task that keeps the CPU all the time is the one that it displaced. ``put_prev_task_scx()``
(kernel/sched/ext.c) puts a task whose slice is not over at the head of the CPU's local DSQ, and the CPU goes on with it
when the higher class is done.
"""

from __future__ import annotations

from typing import Any

from ktstr_tui.kernel.address import AddressSpace
from ktstr_tui.kernel.torn import text
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.report import NextTask

_EXT, _IDLE = "ext", "idle"


def displaced(view: KernelView, space: AddressSpace, cpu: int, curr: dict[str, Any]) -> dict[str, Any] | None:
    """Copy the task that a CPU's current one runs ahead of, with the layout ``full``.

    Args:
        view: The kernel.
        space: Where to read.
        cpu: The CPU.
        curr: Its current task, with ``sched_class``.

    Returns:
        None when the current task is of no higher class than ext, or no ext task waits behind it.

    Raises:
        MemoryReadError: If a pointer led nowhere.
    """
    if view.scx is None or view.cpus.class_name(curr["sched_class"]) in (_EXT, _IDLE, None):
        return None
    first = view.dsqs.first_local(space, cpu)
    row = None if first is None else view.tasks.full.read(space, first)
    # Nothing but ext tasks is in a local DSQ: what else is found was read while the list changed.
    return row if row is not None and view.cpus.class_name(row["sched_class"]) == _EXT else None


def next_task(row: dict[str, Any] | None) -> NextTask | None:
    """Say which task such a copy is of."""
    return None if row is None else NextTask(pid=row["pid"], comm=text(row["comm"]), slice_ns=row["slice_ns"])
