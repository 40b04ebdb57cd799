"""Carries out an intervention of an earlier run again."""

from __future__ import annotations

from collections.abc import Callable

import trio

from ktstr_tui.backend.interventions import Intervention
from ktstr_tui.backend.scheduler_change import SchedulerAction, change_scheduler
from ktstr_tui.model.control import RunKernelWrite
from ktstr_tui.model.errors import KtstrError
from ktstr_tui.model.events import Event, Logged
from ktstr_tui.ops.command import serve_command
from ktstr_tui.ops.kernel_ops import KernelOps
from ktstr_tui.port.replacing import SchedulerReplacer


async def apply_change(
    ops: KernelOps,
    replacer: SchedulerReplacer,
    nursery: trio.Nursery,
    emit: Callable[[Event], object],
    it: Intervention,
) -> None:
    """Carry out one while the machine is held; a change of the scheduler is only begun.

    Args:
        ops: Writes to the kernel.
        replacer: Changes the scheduler.
        nursery: Where the end of such a change is waited for.
        emit: Takes events.
        it: What was done in the earlier run.

    Raises:
        KtstrError: It was refused.
    """
    if isinstance(it.change, RunKernelWrite):
        await serve_command(ops, it.change.op, it.by)
        return
    nursery.start_soon(_change, replacer, it.change, it.by, emit)


async def _change(
    replacer: SchedulerReplacer, change: SchedulerAction, by: str, emit: Callable[[Event], object]
) -> None:
    try:
        await change_scheduler(replacer, change, by)
    except KtstrError as error:
        emit(Logged(severity="error", source="rerun", text=f"the scheduler was not changed: {error.message}"))
