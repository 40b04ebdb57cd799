"""Carries out what somebody asks of the scheduler of a running guest: attach, detach, replace."""

from __future__ import annotations

from typing import TypeAlias

from ktstr_tui.backend.scheduler_ops import require_timeouts
from ktstr_tui.model.commands import AttachScheduler, DetachScheduler, ReplaceScheduler, SchedulerAnswer
from ktstr_tui.port.replacing import SchedulerReplacer

SchedulerRequest: TypeAlias = AttachScheduler | DetachScheduler | ReplaceScheduler


async def change_scheduler(
    replacer: SchedulerReplacer, request: SchedulerRequest, who: str
) -> SchedulerAnswer:
    """Change the scheduler and wait until the guest says what became of it.

    Args:
        replacer: Reaches the guest.
        request: What is asked.
        who: Who asks.

    Raises:
        UsageError: It cannot be sent, or asks for what the kernel is known to refuse.
    """
    match request:
        case ReplaceScheduler(file=file, content=content, target=target):
            require_timeouts(file, content)
            outcome = await replacer.replace(file, content, target=target, who=who)
        case AttachScheduler(target=target):
            outcome = await replacer.attach(target, who=who)
        case DetachScheduler():
            outcome = await replacer.detach(who=who)
    return SchedulerAnswer(outcome=outcome)
