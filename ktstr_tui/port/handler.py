"""From what the guest's frames ask for to events, replies and requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatchmethod
from typing import Protocol

import trio

from ktstr_tui.model import events as ev
from ktstr_tui.model.errors import KtstrError, SchedulerRejectedError
from ktstr_tui.model.facts import WorkerProgress
from ktstr_tui.model.kinds import GuestPhase, OutputStream
from ktstr_tui.model.text import printable
from ktstr_tui.port import actions as act
from ktstr_tui.port.claims import KernelClaims
from ktstr_tui.port.guest_requests import GuestRequests
from ktstr_tui.port.now import Now
from ktstr_tui.port.outbox import Outbox
from ktstr_tui.port.replacing import SchedulerReplacer
from ktstr_tui.port.scheduler_log import SchedulerLog
from ktstr_tui.wire.kernel_ops import KernelOpRequest
from ktstr_tui.wire.messages import LifecyclePhase, MsgType
from ktstr_tui.wire.stimulus_payloads import BEFORE_STEPS

_STREAMS: dict[MsgType, OutputStream] = {
    MsgType.Stdout: "stdout",
    MsgType.Stderr: "stderr",
    MsgType.SchedLog: "sched_log",
    MsgType.Dmesg: "dmesg",
    MsgType.Crash: "crash",
}
_PHASES: dict[LifecyclePhase, GuestPhase] = {
    LifecyclePhase.INIT_STARTED: "InitStarted",
    LifecyclePhase.PAYLOAD_STARTING: "PayloadStarting",
    LifecyclePhase.SCHEDULER_DIED: "SchedulerDied",
    LifecyclePhase.SCHEDULER_NOT_ATTACHED: "SchedulerNotAttached",
}


class KernelOpServer(Protocol):
    """Serves reads and writes of kernel memory to the guest."""

    def accept(self, request: KernelOpRequest, nursery: trio.Nursery) -> None:
        """Begin to serve a request, or refuse it; does not wait."""

    def refuse(self, request_id: int, reason: str) -> None:
        """Answer a request that could not be understood."""


@dataclass(frozen=True, slots=True)
class Servers:
    """Who serves what the guest asks for."""

    snapshots: GuestRequests
    kernel_ops: KernelOpServer
    scheduler_log: SchedulerLog
    replacer: SchedulerReplacer
    """Asked the guest to change its scheduler, and waits for the answer."""


class ActionHandler:
    """Carries out actions of the dispatch, on the trio thread and without blocking.

    Args:
        emit: Takes events.
        nursery: Where what the guest asked for is served.
        outbox: Takes frames for the guest.
        now: The scenario's step and time, which the guest's frames move.
        servers: Serve what the guest asks for.
        claims: Checks what the guest says of its kernel's place.
        fail: Ends the run: reason and error.
    """

    def __init__(
        self,
        emit: Callable[[ev.Event], object],
        nursery: trio.Nursery,
        outbox: Outbox,
        now: Now,
        servers: Servers,
        claims: KernelClaims,
        fail: Callable[[str, KtstrError], None],
    ) -> None:
        self.system_ready = trio.Event()
        self.exit_code: int | None = None
        """The exit code in the guest's last frame, once it came."""
        self._emit = emit
        self._nursery = nursery
        self._outbox = outbox
        self._now = now
        self._servers = servers
        self._claims = claims
        self._fail = fail
        self._stimuli_unplanned = 0

    def drops(self) -> dict[str, int]:
        """Return what was lost so far, by reason."""
        return {
            **self._claims.drops(),
            **self._servers.snapshots.drops(),
            **self._servers.scheduler_log.drops(),
            **self._servers.replacer.drops(),
            "stimuli-not-in-the-scenario": self._stimuli_unplanned,
        }

    @singledispatchmethod
    def handle(self, action: act.Action) -> None:
        """Carry out one action; those that only matter for a verdict do nothing here."""

    @handle.register
    def _(self, action: act.SystemReady) -> None:
        self.system_ready.set()

    @handle.register
    def _(self, action: act.KernelAddresses) -> None:
        self._claims.take(action.addresses)

    @handle.register
    def _(self, action: act.SchedulerExited) -> None:
        detail = "with no exit code" if action.code is None else f"exit code {action.code}"
        self._emit(ev.SchedulerChanged(change="process-exit", detail=detail))

    @handle.register
    def _(self, action: act.SchedulerAnswered) -> None:
        self._servers.replacer.answered(action.reply)

    @handle.register
    def _(self, action: act.StepChanged) -> None:
        stimulus = action.stimulus
        index = stimulus.step_index
        known = self._now.begin_step(index)
        self._emit(
            ev.StepStarted(
                index=index,
                name=known.name if known else f"step {index}",
                scheduler=known.scheduler if known else "unknown",
                elapsed_ms=stimulus.elapsed_ms,
                worker_count=stimulus.worker_count,
                total_iterations=stimulus.total_iterations,
            )
        )
        if known is not None:
            self._servers.snapshots.step_began(known.name, known.scheduler, self._nursery)

    @handle.register
    def _(self, action: act.StimulusTold) -> None:
        told = action.applied
        step = None if told.step_index == BEFORE_STEPS else told.step_index
        planned = self._now.planned_op(step, told.op_index)
        if planned is None or planned.kind != told.kind_name:
            self._stimuli_unplanned += 1
            return
        self._emit(
            ev.StimulusApplied(
                step=step,
                op=told.op_index,
                kind=planned.kind,
                text=planned.text,
                outcome=told.outcome,
                cpu=planned.hotplug_cpu,
                error=told.error_name,
                detail=printable(told.detail),
                elapsed_ms=told.elapsed_ms,
                took_ms=told.took_us / 1000,
            )
        )

    @handle.register
    def _(self, action: act.ScenarioStarted) -> None:
        self._now.clock.start()
        self._emit(ev.ScenarioChanged(state="started"))

    @handle.register
    def _(self, action: act.ScenarioPaused) -> None:
        self._now.clock.pause()
        self._emit(ev.ScenarioChanged(state="paused"))

    @handle.register
    def _(self, action: act.ScenarioResumed) -> None:
        self._now.clock.resume()
        self._emit(ev.ScenarioChanged(state="resumed"))

    @handle.register
    def _(self, action: act.ScenarioEnded) -> None:
        end = action.end
        self._now.clock.end()
        self._emit(
            ev.ScenarioChanged(
                state="ended", elapsed_ms=end.elapsed_ms, total_iterations=end.total_iterations or 0
            )
        )

    @handle.register
    def _(self, action: act.LifecycleSeen) -> None:
        phase, reason = action.lifecycle.phase, printable(action.lifecycle.reason)
        self._emit(ev.LifecycleChanged(phase=_PHASES[phase], reason=reason))
        if phase is LifecyclePhase.SCHEDULER_NOT_ATTACHED:
            message = f"the scheduler did not attach: {reason}"
            hint = f"the whole log of the loader and the verifier is in {self._servers.scheduler_log.path}"
            self._fail(message, SchedulerRejectedError(message, hint))

    @handle.register
    def _(self, action: act.Exited) -> None:
        first, self.exit_code = self.exit_code is None, action.code
        if first:
            # The guest waits for it: only now is it certain that all it said was read.
            self._outbox.reply(MsgType.Shutdown, b"")

    @handle.register
    def _(self, action: act.WorkersSeen) -> None:
        workers = tuple(
            WorkerProgress(worker.pid, worker.comm, worker.iterations) for worker in action.report.workers
        )
        self._emit(ev.WorkersReported(workers=workers))

    @handle.register
    def _(self, action: act.Text) -> None:
        if action.kind is MsgType.SchedLog:
            self._servers.scheduler_log.write(action.text)
        self._emit(ev.OutputText(stream=_STREAMS[action.kind], text=action.text))

    @handle.register
    def _(self, action: act.UnknownType) -> None:
        text = f"frames of unknown type {action.msg_type:#010x}; counted from now on"
        self._emit(ev.Logged(severity="warning", source="port", text=text))

    @handle.register
    def _(self, action: act.Refuse) -> None:
        self._servers.snapshots.refuse(action.request_id, action.reason)

    @handle.register
    def _(self, action: act.SnapshotRequested) -> None:
        self._servers.snapshots.accept(action.request, self._now.step_index, self._nursery)

    @handle.register
    def _(self, action: act.KernelOpRequested) -> None:
        self._servers.kernel_ops.accept(action.request, self._nursery)

    @handle.register
    def _(self, action: act.RefuseKernelOp) -> None:
        self._servers.kernel_ops.refuse(action.request_id, action.reason)
