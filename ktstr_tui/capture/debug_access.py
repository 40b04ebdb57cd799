"""The guest as a debugger has it: through the coordinator's queue, never past it.

The engine has one owner. Whatever a debugger wants is therefore a request like any other (`RequestQueue`), carried out
while the guest is stopped and the debugger holds it::

    attach ─▶ held ──resume──▶ running ──a stop of the debugger's, or interrupt──▶ held …… detach, or its end
               │ ask: registers, memory
               └ want, drop: breakpoints, set at the resume

Freezing and holding are independent: a guest that a user froze stays stopped when the debugger resumes it, and the
debugger believes that it runs, which is true as soon as it is thawed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from ktstr_tui.capture.stop.debugger import DebuggerStop
from ktstr_tui.capture.stop.guest_stop import GuestStop
from ktstr_tui.capture.stop.rendezvous import Rendezvous, RendezvousTimeoutError, Stopwatch
from ktstr_tui.capture.stop.requests import Request, RequestQueue
from ktstr_tui.capture.watch.debugger_points import DebuggerPoints, Point
from ktstr_tui.capture.watch.lent_slots import LentSlots
from ktstr_tui.capture.watch.watch_table import WatchTable
from ktstr_tui.guest.engine import StubEngine
from ktstr_tui.model.errors import HostError, KtstrError, UsageError
from ktstr_tui.model.events import Logged


class Resume(msgspec.Struct, frozen=True, kw_only=True):
    """How a debugger resumes the guest."""

    vcpu: int | None = None
    """The vCPU that it cares for, from 0; None for all alike."""
    step: bool = False
    """Whether that vCPU executes a single instruction."""
    alone: bool = False
    """Whether the others stay stopped meanwhile."""

    def actions(self) -> str:
        """The actions of ``vCont``, with vCPUs numbered from 1."""
        if self.vcpu is None:
            return "c"
        own = f"{'s' if self.step else 'c'}:{self.vcpu + 1:x}"
        return own if self.alone else f"{own};c"


class DebugStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since the guest started."""

    forwarded: int
    """Stops that a debugger was told of, but for those that it asked for."""
    restored: int
    """Watchpoints of ours that somebody had removed, and that were set again."""


class DebugAccess:
    """What one debugger may do with the guest; used by one at a time.

    Args:
        rendezvous: Reaches the engine.
        requests: The coordinator's queue.
        guest_stop: Stops the guest.
        table: The slots that debuggers share with users.
        lent: Slots that sub-schedulers have while no user needs them.
    """

    def __init__(
        self,
        rendezvous: Rendezvous,
        requests: RequestQueue,
        guest_stop: GuestStop,
        table: WatchTable,
        lent: LentSlots,
    ) -> None:
        self._rendezvous = rendezvous
        self._requests = requests
        self._guest_stop = guest_stop
        self._stops = guest_stop.debugger
        self._points = DebuggerPoints(rendezvous, self._stops, table, lent, guest_stop.say)

    @property
    def engine(self) -> StubEngine:
        """The engine, which has a stub.

        Raises:
            UsageError: It has none.
        """
        engine = self._rendezvous.engine
        if not isinstance(engine, StubEngine):
            raise UsageError(
                "this machine has no stub: no debugger can be attached", "read its memory: ktstr-tui drgn"
            )
        return engine

    @property
    def attached(self) -> bool:
        """Whether there is a debugger."""
        return self._stops.attached

    @property
    def holds(self) -> bool:
        """Whether the guest is stopped for it."""
        return self._stops.holds

    @property
    def hold_number(self) -> int:
        """How often the guest was stopped for it so far."""
        return self._stops.number

    async def attach(self, who: str) -> DebuggerStop:
        """Stop the guest and hold it for a debugger; returns the stop that is its first.

        Args:
            who: Its user, in words.

        Raises:
            UsageError: There is one already, or this machine has no stub.
            RendezvousTimeoutError: The guest did not stop in time.
            GuestError: The guest is gone.
        """
        self.engine  # noqa: B018 - refused at once where there is none

        async def work(request: Request) -> None:
            if self._stops.attached:
                raise UsageError(f"{self._stops.who} has attached a debugger already", "detach it first")
            async with self._guest_stop.block(Stopwatch()):
                self._stops.attached, self._stops.who = True, who
                self._stops.hold(DebuggerStop(vcpu=0, interrupted=True))
            request.changed = True
            if request.abandoned:
                await self._leave("the debugger left")

        await self._requests.call(work, self._undo)
        return await self._stops.wait_stop()

    async def detach(self, reason: str) -> None:
        """Remove all breakpoints, and let the guest run unless a user froze it. Never raises: the guest may be gone."""

        async def work(request: Request) -> None:
            await self._leave(reason)

        try:
            await self._requests.call(work)
        except KtstrError:
            self._stops.forget()

    async def wait_stop(self) -> DebuggerStop:
        """Wait for the next stop to report to the debugger."""
        return await self._stops.wait_stop()

    async def interrupt(self) -> None:
        """Stop the guest and hold it; the stop is told like any other, and is another one if that came first.

        Raises:
            GuestError: The guest is gone.
        """

        async def work() -> None:
            self._stops.wanted = True
            try:
                async with self._guest_stop.block(Stopwatch()):
                    pass  # what stopped the guest is sorted at the end of the block
            except RendezvousTimeoutError:
                return  # the stop may still come, and is the debugger's then
            self._stops.wanted = False
            # A guest that a user froze was stopped already, and there was nothing to sort.
            self._stops.hold(DebuggerStop(vcpu=0, interrupted=True))

        await self._call(work)

    async def ask(self, *questions: str) -> list[str]:
        """Pass requests of gdb's protocol on to the stub, in order, and return its answers.

        Raises:
            UsageError: The guest is not held for the debugger.
            GuestError: The stub did not answer in time, or the guest is gone.
        """
        engine, answers = self.engine, list[str]()

        async def work() -> None:
            self._require_held()
            for question in questions:
                with self._rendezvous.bounded(f"answering {question[:20]!r}"):
                    answers.append(await engine.ask(question))

        await self._call(work)
        return answers

    def want(self, point: Point) -> None:
        """Note a breakpoint or watchpoint, to be set at the next resume.

        Raises:
            KtstrError: It cannot be.
        """
        self._require_held()
        self._points.want(point)

    def drop(self, point: Point) -> None:
        """Note that a breakpoint or watchpoint is to be removed at the next resume."""
        self._require_held()
        self._points.drop(point)

    async def resume(self, how: Resume) -> None:
        """Hold the guest no more.

        Raises:
            KtstrError: A breakpoint could not be set; the guest stays held.
        """
        if how.alone and not how.step and self._rendezvous.engine.watch_limits.unlimited:
            raise UsageError("in a run with a seed all vCPUs run, or none", "set scheduler-locking off")

        async def work() -> None:
            self._require_held()
            await self._points.settle()
            self.engine.resume_as = how.actions()
            stepped = how.vcpu if how.step else None
            await self._guest_stop.release_debugger("continued in the debugger", stepped)

        await self._call(work)

    async def show(self) -> None:
        """Tell viewers that the guest is frozen for the debugger, if it is."""

        async def work() -> None:
            self._guest_stop.show_debugger_hold()

        await self._call(work)

    async def restore_watches(self) -> None:
        """Set those of our watchpoints again that somebody removed, and tell of it."""

        async def work() -> None:
            lost: list[int] = []
            async with self._guest_stop.block(Stopwatch()):
                lost += await self._rendezvous.restore_watches()
            for address in lost:
                text = f"the watchpoint at {address:#x} had been removed, and is set again"
                self._guest_stop.say(Logged(severity="warning", source="debugger", text=text))

        await self._call(work)

    def statistics(self) -> DebugStatistics:
        """Counts so far."""
        return DebugStatistics(forwarded=self._stops.forwarded, restored=self._rendezvous.watches_restored)

    async def _call(self, work: Callable[[], Awaitable[None]]) -> None:
        async def serve(request: Request) -> None:
            await work()

        await self._requests.call(serve)

    async def _undo(self, request: Request) -> None:
        await self._leave("the debugger left")

    async def _leave(self, reason: str) -> None:
        if not self._stops.attached:
            return
        self._points.drop_all()
        try:
            async with self._guest_stop.block(Stopwatch()):
                self.engine.resume_as = "c"
                await self._points.settle()
        except HostError as error:
            self._guest_stop.say(Logged(severity="warning", source="debugger", text=error.message))
        finally:
            try:
                await self._guest_stop.release_debugger(reason)
            finally:
                self._stops.forget()

    def _require_held(self) -> None:
        if not self._stops.holds:
            raise UsageError("the guest runs: interrupt it first")
