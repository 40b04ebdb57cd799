"""What viewers may ask of a run, request by request.

A request is decoded and checked when it gets here; results are plain values, for JSON on the other side.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ktstr_tui.backend.live import LiveGuest
from ktstr_tui.backend.scheduler_change import change_scheduler
from ktstr_tui.capture.job import SavedCapture
from ktstr_tui.capture.watch.watch_spec import WatchSpec
from ktstr_tui.model import commands as cmd
from ktstr_tui.model.commands import Command, Reply
from ktstr_tui.model.errors import GuestError, UsageError
from ktstr_tui.model.state import RunState
from ktstr_tui.ops.command import serve_command


async def run_command(command: Command, guest: LiveGuest | None, state: RunState) -> Reply:
    """Carry out one command.

    Args:
        command: What is asked.
        guest: The machine; None before it starts and when it is gone.
        state: What is known of the run.

    Raises:
        KtstrError: It failed, or it is not the guest's to carry out.
    """
    if isinstance(command.request, cmd.ListWatches):
        return command.done(watches=[watch_result(state, slot) for slot in sorted(state.watchpoints)])
    if guest is None:
        raise GuestError("the guest has not started or is gone")
    coordinator = guest.coordinator
    match command.request:
        case cmd.Capture(tag=tag):
            capture = await coordinator.capture_and_save("on-demand", command.viewer, tag)
            return command.done(_captured(capture))
        case cmd.Freeze(why=why):
            reason = f"{command.who} ({why})" if why else command.who
            return command.done(cmd.Changed(changed=await coordinator.freeze(reason)))
        case cmd.Thaw():
            return command.done(cmd.Changed(changed=await coordinator.thaw(command.who)))
        case cmd.AddWatch() as asked:
            slot = await coordinator.watches.add(_spec(asked))
            return command.done(cmd.WatchAdded(slot=slot, watch=watch_result(state, slot)))
        case cmd.RemoveWatch(slot=slot):
            return command.done(cmd.Changed(changed=await coordinator.watches.remove(slot)))
        case cmd.ResumeWatch(slot=slot):
            changed = await coordinator.watches.resume(slot)
            return command.done(cmd.Changed(changed=changed, watch=watch_result(state, slot)))
        case cmd.RunKernelOp(op=op):
            return command.done(**await serve_command(guest.kernel_ops, op, command.who))
        case cmd.AttachScheduler() | cmd.DetachScheduler() | cmd.ReplaceScheduler() as change:
            return command.done(await change_scheduler(guest.replacer, change, command.who))
    raise UsageError(f"{command.name} is not carried out here")


def watch_result(state: RunState, slot: int) -> dict[str, Any]:
    """A watch slot as plain values; empty when there is nothing in it."""
    watch = state.watchpoints.get(slot)
    return {} if watch is None else msgspec.to_builtins(watch)


def _spec(asked: cmd.AddWatch) -> WatchSpec:
    return WatchSpec(
        expression=asked.expression,
        length_bytes=asked.length,
        once=asked.once,
        capture=asked.capture,
        budget_per_s=asked.budget,
    )


def _captured(capture: SavedCapture) -> cmd.Captured:
    report = capture.report
    return cmd.Captured(
        tag=report.tag,
        path=capture.path,
        unsaved=capture.unsaved,
        tasks=len(report.tasks),
        pause_us=report.pause.total_us if report.pause else None,
        step=report.step,
        elapsed_ms=report.elapsed_ms,
    )
