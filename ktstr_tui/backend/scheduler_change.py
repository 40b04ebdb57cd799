"""Carries out what is to become of the scheduler of a running guest: attach, detach, replace.

An object that comes with a command is kept as a file of the run first. The stream then carries its name and its digest
instead of megabytes, and whoever reads the recording later has the very object that ran.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TypeAlias

import trio

from ktstr_tui.backend.scheduler_ops import require_timeouts
from ktstr_tui.model.commands import ReplaceScheduler as ReplaceRequest
from ktstr_tui.model.commands import SchedulerAnswer
from ktstr_tui.model.control import AttachScheduler, DetachScheduler, ReplaceScheduler
from ktstr_tui.model.errors import GuestError, HostError
from ktstr_tui.model.scheduler_swap import SwapFailed, SwapRejected, SwapTimedOut, outcome_words
from ktstr_tui.port.replacing import SchedulerReplacer
from ktstr_tui.wire.whole_file import write_whole

SchedulerAction: TypeAlias = AttachScheduler | DetachScheduler | ReplaceScheduler

OBJECTS_DIR = "objects"
"""Of a run's data directory: the objects that were loaded while it ran, by their digest."""


async def keep_object(request: ReplaceRequest, data_dir: Path) -> ReplaceScheduler:
    """Keep the object of a request, and return the action that loads it.

    Raises:
        UsageError: It asks for what the kernel is known to refuse.
        HostError: It could not be written.
    """
    require_timeouts(request.file, request.content)
    digest = hashlib.sha256(request.content).hexdigest()
    path = data_dir / OBJECTS_DIR / f"{digest}.bpf.o"
    try:
        await trio.to_thread.run_sync(_keep, path, request.content)
    except OSError as error:
        raise HostError(
            f"{request.file} could not be kept: {path}: {os.strerror(error.errno or 0)}", "free some space"
        ) from error
    return ReplaceScheduler(name=request.file, path=str(path), digest=digest, target=request.target)


async def change_scheduler(replacer: SchedulerReplacer, action: SchedulerAction, who: str) -> SchedulerAnswer:
    """Change the scheduler and wait until the guest says what became of it.

    Args:
        replacer: Reaches the guest.
        action: What is to be done.
        who: Who asks; empty when the loop does it by itself.

    Raises:
        UsageError: It cannot be sent.
        HostError: The object is no longer what was asked for.
        GuestError: It came to nothing, and nobody waits for the answer that says so.
    """
    match action:
        case ReplaceScheduler(name=name, path=path, target=target):
            content = await trio.to_thread.run_sync(_read, Path(path), action.digest)
            outcome = await replacer.replace(name, content, target=target, who=who)
        case AttachScheduler(name=target):
            outcome = await replacer.attach(target, who=who)
        case DetachScheduler():
            outcome = await replacer.detach(who=who)
    if not who and isinstance(outcome, SwapRejected | SwapFailed | SwapTimedOut):
        raise GuestError(outcome_words("attach", getattr(action, "name", ""), outcome))
    return SchedulerAnswer(outcome=outcome)


def _keep(path: Path, content: bytes) -> None:
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        write_whole(path, content)


def _read(path: Path, digest: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise HostError(f"{path} cannot be read: {error}", "ask again") from error
    if digest and hashlib.sha256(content).hexdigest() != digest:
        raise HostError(f"{path} is not the object that was asked for", "ask again")
    return content
