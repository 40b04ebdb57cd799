"""Where viewers, and parts of the run itself, ask for something to be done.

What only reads is answered at once. Everything else becomes an event that says who wants what; the control loop decides
on it at its next tick, and the answer comes back from whoever carried it out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import trio

from ktstr_tui.backend.dispatch import watch_result
from ktstr_tui.backend.gatekeeper import Gatekeeper
from ktstr_tui.backend.scheduler_change import keep_object
from ktstr_tui.control.executor import Executor
from ktstr_tui.control.loop import ControlLoop
from ktstr_tui.guest.guest_time import GuestTime, RunTime
from ktstr_tui.link.stream import Stream
from ktstr_tui.model import commands as cmd
from ktstr_tui.model import control as ct
from ktstr_tui.model import events as ev
from ktstr_tui.model.commands import Command, Reply
from ktstr_tui.model.end_words import ended_by_viewer
from ktstr_tui.model.errors import HostError, InternalError, KtstrError, RefusedError, UsageError, sole_error
from ktstr_tui.model.kinds import Trigger
from ktstr_tui.model.report import CaptureReport


class Desk:
    """Takes what is asked for and brings the answer back.

    Args:
        stream: Takes the events.
        gatekeeper: Says who may do what, and writes it down.
        loop: Decides.
        executor: Knows what came of it.
        data_dir: Where objects of schedulers are kept.
        time: The run's.
    """

    def __init__(
        self,
        stream: Stream,
        gatekeeper: Gatekeeper,
        loop: ControlLoop,
        executor: Executor,
        data_dir: Path,
        time: RunTime,
    ) -> None:
        self._time = time
        self._data_dir = data_dir
        self._stream = stream
        self._gatekeeper = gatekeeper
        self._loop = loop
        self._executor = executor
        self._asks = 0

    async def serve(self, command: Command) -> Reply:
        """Answer a command; one that fails is answered with its error."""
        try:
            return await self._serve(command)
        except KtstrError as error:
            return command.failed(error)

    def refuse(self, command: Command, error: RefusedError) -> None:
        """Write down a command that was refused before it came here."""
        self._gatekeeper.refuse(command, error)

    async def ask(self, by: str, action: ct.Action) -> Any:  # noqa: ANN401
        """Let a part of the run ask for an action, and wait for what comes of it.

        Args:
            by: Which part.
            action: What is to be done.

        Raises:
            KtstrError: It failed, or was given up.
        """
        self._asks += 1
        event = ev.ActionAsked(command_seq=-self._asks, by=by, wanted=action)
        return await self._wait(self._stream.emit(event), -self._asks)

    async def capture(
        self, trigger: Trigger, detail: str = "", tag: str | None = None, *, memory: bool = False
    ) -> CaptureReport:
        """Ask for a capture of the run's own, with the guest's memory or without.

        Raises:
            KtstrError: It failed, or was given up.
        """
        asked = ct.TakeCapture(trigger=trigger, detail=detail, tag=tag, memory=memory)
        report = await self.ask(trigger, asked)
        if not isinstance(report, CaptureReport):
            raise InternalError("a capture ended without a report")
        return report

    async def _serve(self, command: Command) -> Reply:
        state, gate = self._stream.state, self._gatekeeper
        admitted = await gate.admit(command)
        command = admitted.command
        match command.request:
            case cmd.ListWatches():
                return command.done(watches=[watch_result(state, slot) for slot in sorted(state.watchpoints)])
            case cmd.DryRun(request=request):
                return command.done(await gate.affected(request))
            case cmd.HoldAutomation() | cmd.ResumeAutomation():
                gate.accept(admitted)
                return command.done(self._automation(command))
        try:
            action = await self._wanted(command)
        except KtstrError as error:
            gate.reject(admitted, error)
            raise
        event = gate.accept(admitted, action)
        result = await self._wait(event, event.command_seq)
        if isinstance(result, msgspec.Struct):
            return command.done(result)
        return command.done(**(result or {}))

    def _automation(self, command: Command) -> cmd.Changed:
        held = self._gatekeeper.hold() is not None
        match command.request:
            case cmd.HoldAutomation(for_s=for_s, why=why):
                until_ns = self._stream.now_ns() + int(for_s * 1e9)
                self._stream.emit(ev.HoldChanged(held=True, by=command.who, until_ns=until_ns, reason=why))
                return cmd.Changed(changed=True)
            case _:
                if held:
                    self._stream.emit(ev.HoldChanged(held=False, by=command.who))
                return cmd.Changed(changed=held)

    async def _wanted(self, command: Command) -> ct.Action:
        if isinstance(command.request, cmd.ReplaceScheduler):
            return await keep_object(command.request, self._data_dir)
        return wanted(command)

    async def _wait(self, event: ev.Event, command_seq: int) -> Any:  # noqa: ANN401
        if self._loop.has_lost(event.seq):
            raise HostError("the control loop is behind and did not take this", "try again in a moment")
        if not isinstance(self._time, GuestTime):
            return await self._executor.result(command_seq)
        with sole_error():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._time.hasten_when_stuck)
                result = await self._executor.result(command_seq)
                nursery.cancel_scope.cancel()
        return result


def wanted(command: Command) -> ct.Action:
    """What a command asks for, as an action.

    Raises:
        UsageError: It is no command for the guest.
    """
    match command.request:
        case cmd.Capture(tag=tag, memory=memory):
            return ct.TakeCapture(trigger="on-demand", detail=command.viewer, tag=tag, memory=memory)
        case cmd.Freeze(why=why, while_here=while_here):
            if while_here and not command.topic:
                raise UsageError("a freeze while the viewer is here needs the viewer's topic")
            reason = f"{command.who} ({why})" if why else command.who
            return ct.FreezeGuest(reason=reason, viewer=command.topic if while_here else "")
        case cmd.Thaw():
            return ct.ThawGuest(reason=command.who)
        case cmd.End():
            return ct.StopRun(reason=ended_by_viewer(command.who))
        case cmd.Rebuild(cancel=cancel):
            return ct.BuildScheduler(cancel=cancel)
        case cmd.RestartGuest():
            return ct.RestartGuest(reason=f"asked for by {command.who}")
        case cmd.AddWatch() as asked:
            return ct.ArmWatch(
                expression=asked.expression,
                length_bytes=asked.length,
                once=asked.once,
                capture=asked.capture,
                budget_per_s=asked.budget,
            )
        case cmd.RemoveWatch(slot=slot):
            return ct.DisarmWatch(slot=slot)
        case cmd.ResumeWatch(slot=slot):
            return ct.ResumeWatch(slot=slot)
        case cmd.AttachScheduler(target=target):
            return ct.AttachScheduler(name=target)
        case cmd.DetachScheduler():
            return ct.DetachScheduler()
        case cmd.AttachDebugger(port=port):
            return ct.OpenDebugger(who=command.who, port=port)
        case cmd.DetachDebugger():
            return ct.CloseDebugger(reason=f"detached by {command.who}")
        case cmd.RunKernelOp(op=op):
            return ct.RunKernelWrite(op=op, who=command.who)
    raise UsageError(f"{command.name} is not carried out here")
