"""Carries out one action of the control loop on the guest, and gives what came of it to whoever asked.

This is the only place from which a run is stopped, captured, frozen, watched or written to. What the coordinator does
by itself at a stop (an ejection, a hit) stays with it: there every microsecond counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from ktstr_tui.backend.edit.acts import EditActs
from ktstr_tui.backend.effects import Effects
from ktstr_tui.backend.interventions import Interventions
from ktstr_tui.backend.outcome import RunEnd
from ktstr_tui.backend.scheduler_change import change_scheduler
from ktstr_tui.capture.coordinator import Coordinator, FreezeState
from ktstr_tui.capture.job import SavedCapture
from ktstr_tui.capture.periodic import PeriodicCaptures
from ktstr_tui.capture.report.dual import EarlyCapture
from ktstr_tui.capture.watch.scenario_watches import ScenarioWatches
from ktstr_tui.capture.watch.watch_spec import WatchSpec
from ktstr_tui.control.admit import Gate, Verdict
from ktstr_tui.debug.door import DebuggerDoor
from ktstr_tui.health.sampler import Sampler
from ktstr_tui.link.stream import Stream
from ktstr_tui.model import commands as cmd
from ktstr_tui.model import control as ct
from ktstr_tui.model.errors import GuestError, UsageError
from ktstr_tui.model.events import AlertCleared, AlertRaised
from ktstr_tui.model.snapshot_events import SnapshotAnswer
from ktstr_tui.model.state import RunState
from ktstr_tui.ops.command import serve_command
from ktstr_tui.ops.kernel_ops import KernelOps
from ktstr_tui.port.replacing import SchedulerReplacer

GUEST = "guest"
"""Who asks when the guest program does."""


class TakesMemory(Protocol):
    """Takes captures with the guest's memory."""

    async def capture(
        self, asked: ct.TakeCapture, *, keep: bool = True
    ) -> tuple[SavedCapture, SnapshotAnswer]:
        """Take one; returns when both are on disk, or why the memory is not."""
        ...


class ActedOn(Protocol):
    """A live guest, as far as actions need it."""

    coordinator: Coordinator
    early: EarlyCapture
    periodic: PeriodicCaptures
    kernel_ops: KernelOps
    scenario_watches: ScenarioWatches
    replacer: SchedulerReplacer
    debugger: DebuggerDoor
    interventions: Interventions

    @property
    def snapshots(self) -> TakesMemory:
        """Takes captures with the guest's memory."""
        ...

    @property
    def sampler(self) -> Sampler | None:
        """Looks at the running guest; None before that, or when nobody asked for samples."""
        ...


class RunDispatcher:
    """Does what actions say.

    Args:
        guest: The machine; None before it starts and when it is gone.
        stream: Knows the watches, and takes alerts.
        ending: How the run ends.
        edits: Builds and boots; None in a run that does neither.
    """

    def __init__(
        self,
        guest: Callable[[], ActedOn | None],
        stream: Stream,
        ending: RunEnd,
        edits: Callable[[], EditActs | None],
    ) -> None:
        self._guest = guest
        self._edits = edits
        self.effects = Effects(guest, stream)
        """Tells what dangerous actions would affect."""
        self._stream = stream
        self._ending = ending

    async def dispatch(self, pending: ct.PendingAction) -> Any:  # noqa: ANN401
        """Do it and return the result for whoever asked.

        Raises:
            KtstrError: It failed, or cannot be done in this run.
        """
        await self.effects.check(pending)
        match pending.action:
            case ct.StopRun() as stop:
                changed = self._ending.outcome is None
                self._ending.stop(stop.reason, out_of_time=stop.out_of_time)
                return cmd.Changed(changed=changed)
            case ct.BuildScheduler() | ct.RestartGuest() as edit if (edits := self._edits()) is not None:
                return await edits.act(edit)
            case ct.RaiseAlert() as alert:
                self._stream.emit(
                    AlertRaised(key=alert.key, kind=alert.alert, severity="warning", text=alert.text)
                )
            case ct.ClearAlert() as alert:
                self._stream.emit(AlertCleared(key=alert.key, kind=alert.alert))
            case ct.ApplyBackoff() | ct.ResetBackoff() | ct.BeginDrain() | ct.EndDrain():
                pass  # the decision is all there is of it; the loop keeps to it
            case _:
                return await self._on_guest(pending, self._require_guest())
        return None

    def _require_guest(self) -> ActedOn:
        guest = self._guest()
        if guest is None:
            raise GuestError("the guest has not started or is gone")
        return guest

    async def _on_guest(self, pending: ct.PendingAction, guest: ActedOn) -> Any:  # noqa: ANN401
        coordinator, state = guest.coordinator, self._stream.state
        if not isinstance(pending.action, ct.RunKernelWrite) or (state.info and state.info.allow_writes):
            # A write that is refused changes nothing.
            guest.interventions.note(pending.action, pending.by, self._stream.now_ns())
        match pending.action:
            case ct.TakeCapture() as asked:
                return await _capture(asked, guest)
            case ct.FreezeGuest(reason=reason, viewer=viewer):
                return cmd.Changed(changed=await coordinator.freeze(reason, viewer))
            case ct.ThawGuest(reason=reason):
                return cmd.Changed(changed=await coordinator.thaw(reason))
            case ct.OpenDebugger(who=who, port=port):
                return await guest.debugger.open(who, port)
            case ct.CloseDebugger(reason=reason):
                return cmd.Changed(changed=guest.debugger.close(reason))
            case ct.ArmWatch() as asked if pending.by == GUEST:
                return await guest.scenario_watches.watch(asked.expression)
            case ct.ArmWatch() as asked:
                slot = await coordinator.watches.add(_spec(asked))
                return cmd.WatchAdded(slot=slot, watch=watch_result(state, slot))
            case ct.DisarmWatch(slot=slot):
                return cmd.Changed(changed=await coordinator.watches.remove(slot))
            case ct.ResumeWatch(slot=slot):
                changed = await coordinator.watches.resume(slot)
                return cmd.Changed(changed=changed, watch=watch_result(state, slot))
            case ct.AttachScheduler() | ct.DetachScheduler() | ct.ReplaceScheduler() as change:
                return await change_scheduler(guest.replacer, change, pending.by)
            case ct.RunKernelWrite(op=op, who=who):
                return await serve_command(guest.kernel_ops, op, who)
            case ct.AdjustSampling(hz=hz):
                if guest.sampler is not None:
                    guest.sampler.set_hz(hz)
                return None
        raise UsageError(f"{pending.action.kind} cannot be done in this run")


async def _capture(asked: ct.TakeCapture, guest: ActedOn) -> Any:  # noqa: ANN401
    match asked.trigger:
        case "early":
            return await guest.early.take(asked.detail)
        case "periodic":
            return await guest.periodic.take(asked.index or 0, asked.due_ms or 0.0)
        case "guest" if asked.memory:
            return (await guest.snapshots.capture(asked, keep=False))[0].report
        case "guest":
            return await guest.coordinator.capture("guest", asked.detail, asked.tag, keep=False)
        case "on-demand" if asked.memory:
            taken, stored = await guest.snapshots.capture(asked)
            return msgspec.structs.replace(_captured(taken), snapshot=stored)
        case "on-demand":
            taken = await guest.coordinator.capture_and_save("on-demand", asked.detail, asked.tag)
            return _captured(taken)
        case _:
            return await guest.coordinator.capture(asked.trigger, asked.detail, asked.tag)


def no_early_capture_of_an_end(
    guest: Callable[[], ActedOn | None],
) -> Callable[[ct.PendingAction], Verdict | None]:
    """A rule of the gate: what is captured for its end already needs no early capture any more."""

    def rule(pending: ct.PendingAction) -> Verdict | None:
        live = guest()
        if (
            live is None
            or not isinstance(pending.action, ct.TakeCapture)
            or pending.action.trigger != "early"
        ):
            return None
        if live.coordinator.freeze_state is FreezeState.IDLE:
            return None
        return Gate("the end of the scheduler is being captured")

    return rule


def watch_result(state: RunState, slot: int) -> dict[str, Any]:
    """A watch slot as plain values; empty when there is nothing in it."""
    watch = state.watchpoints.get(slot)
    return {} if watch is None else msgspec.to_builtins(watch)


def _spec(asked: ct.ArmWatch) -> WatchSpec:
    return WatchSpec(
        expression=asked.expression,
        length_bytes=asked.length_bytes,
        once=asked.once,
        capture=asked.capture,
        budget_per_s=asked.budget_per_s,
    )


def _captured(capture: SavedCapture) -> cmd.Captured:
    report = capture.report
    return cmd.Captured(
        tag=report.tag,
        path=capture.path,
        unsaved=capture.unsaved,
        tasks=len(report.tasks),
        lacks=report.lacks,
        pause_us=report.pause.total_us if report.pause else None,
        step=report.step,
        elapsed_ms=report.elapsed_ms,
    )
