"""Stops the guest for the length of a block, and emits what happened when it runs again.

stop, or what stopped it ─▶ the block ─▶ the inspector looks ─▶ resume ─▶ events, captures to the finisher

Nothing is emitted, rendered or written while the guest is stopped on its own account; what happened is put in an
outbox and emitted after the resume. Whatever the stop was for, memory is inspected before the resume, so that no stop
misses a change.

Who needs whom (an arrow is an argument of a constructor; there is no way back)::

    Owner ──────▶ RequestQueue          requests, one after the other
      ├─────────▶ GuestStop ──────────▶ StopInspector ──▶ CaptureTaker, WatchStops, SchedulerWatch, Ejection
      │             ├──▶ DebuggerStops   which stops are a debugger's, and whether it holds the guest
      │             └──▶ Rendezvous ──▶ Engine
      └─────────▶ Finisher              captures, after the resume
    Poller, UserWatches, Coordinator ─▶ RequestQueue, GuestStop

A block may find the guest stopped already, because a user froze it or a debugger holds it. It then comes with no stop
of its own: nobody inspects, nobody resumes, and events are emitted at once, since a viewer waits for them meanwhile.
`GuestStop.hold` and `GuestStop.release` are blocks like any other; all they change is whether the guest is frozen
when their block ends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from ktstr_tui.capture.finisher import Finisher
from ktstr_tui.capture.job import Job
from ktstr_tui.capture.stop.debugger import DebuggerStops
from ktstr_tui.capture.stop.inspector import StopInspector
from ktstr_tui.capture.stop.outbox import StopEvents
from ktstr_tui.capture.stop.rendezvous import Rendezvous, Stopwatch, collector_off
from ktstr_tui.capture.stop.requests import Request
from ktstr_tui.guest.engine import Stop
from ktstr_tui.model.errors import KtstrError, UsageError
from ktstr_tui.model.events import Event, Frozen, Logged, Thawed
from ktstr_tui.model.report import Pause


class GuestStop:
    """Stops the guest. Only the task that owns the engine may use it, but for `say`.

    Args:
        rendezvous: Stops and resumes.
        inspector: Looks at the guest before the resume of every stop.
        finisher: Takes the captures after the resume.
        outbox: Keeps the events of a stop.
        emit: Takes events.
    """

    def __init__(
        self,
        rendezvous: Rendezvous,
        inspector: StopInspector,
        finisher: Finisher,
        outbox: StopEvents,
        emit: Callable[[Event], object],
    ) -> None:
        self.held: str | None = None
        """Why a user froze the guest; None when none did."""
        self.stops = 0
        """Times the guest was stopped, for whatever reason."""
        self._held_timer = Stopwatch()
        self._rendezvous = rendezvous
        self._inspector = inspector
        self._finisher = finisher
        self._outbox = outbox
        self.debugger = DebuggerStops()
        """Which stops are a debugger's, and whether it holds the guest."""
        self._shows_debugger = False
        self._emit = emit

    @property
    def stays(self) -> bool:
        """Whether the guest stays stopped between blocks: a user froze it, or a debugger holds it."""
        return self.held is not None or self.debugger.holds

    @asynccontextmanager
    async def block(
        self, timer: Stopwatch, stop: Stop | None = None, registers_of: int = 0
    ) -> AsyncIterator[list[Job]]:
        """Keep the guest stopped inside; afterwards it runs, unless it `stays`. Yields captures taken.

        Args:
            timer: Measures the parts of the pause.
            stop: What stopped the guest, when it stopped by itself.
            registers_of: How many vCPUs to ask for their registers with the stop.
        """
        jobs: list[Job] = []
        with collector_off():
            if not self._rendezvous.stopped:
                with timer.part("stop"):
                    stop = await self._rendezvous.stop(registers_of)
            try:
                self.stops += stop is not None
                yield jobs
                if stop is not None:
                    jobs += await self._inspector.look(stop, timer)
                    self.debugger.take(stop)
            finally:
                try:
                    if not self.stays:
                        with timer.part("resume"):
                            await self._rendezvous.resume()
                finally:
                    self._announce(jobs, timer.pause())

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run something in a block that nobody measures."""
        async with self.block(Stopwatch()):
            await work()

    async def blink(self) -> tuple[Pause, Stop]:
        """Stop the guest and resume it at once, without a look; returns what stopped it.

        Raises:
            UsageError: A user froze the guest, or a debugger holds it.
        """
        if self.stays:
            raise UsageError("the guest is frozen", "thaw it first, or continue in the debugger")
        timer = Stopwatch()
        with collector_off():
            with timer.part("stop"):
                stop = await self._rendezvous.stop()
            self.debugger.take(stop)
            if not self.stays:
                with timer.part("resume"):
                    await self._rendezvous.resume()
        pause = timer.pause()
        self.stops += 1
        return pause, stop

    # -- on a user's word ------------------------------------------------------------------------------

    async def hold(self, request: Request, reason: str, viewer: str) -> None:
        """Freeze the guest until `release`; nothing when it is frozen already, or nobody waits for it any more."""
        if self.held is not None:
            return
        timer = self._held_timer = Stopwatch()
        async with self.block(timer):
            self.held, self._shows_debugger = reason, False
            request.changed = True
            self._outbox.add(Frozen(reason=reason, viewer=viewer))
        if request.abandoned:
            await self.release(request, "the freeze was cancelled")

    def begin_held(self, reason: str) -> None:
        """Take a machine that was started stopped as frozen, until `release`."""
        self._rendezvous.stopped_itself()
        self._held_timer = Stopwatch()
        self.held = reason
        self._emit(Frozen(reason=reason, viewer=""))

    async def release(self, request: Request, reason: str) -> None:
        """Thaw a frozen guest. If a debugger holds it as well, it stays stopped for that alone.

        Raises:
            UsageError: Only a debugger holds it.
        """
        if self.held is None:
            if self.debugger.holds:
                raise UsageError("the guest is stopped in the debugger", "continue or detach there")
            return
        timer = self._held_timer
        async with self.block(timer):
            self.held = None
        request.changed = True
        if self.debugger.holds:
            self.show_debugger_hold()
        else:
            self._emit(Thawed(reason=reason, pause=timer.pause()))

    # -- on a debugger's word --------------------------------------------------------------------------

    def show_debugger_hold(self) -> None:
        """Tell viewers that the guest is frozen for a debugger, if it is, and for nobody else."""
        if self.debugger.holds and self.held is None and not self._shows_debugger:
            self._shows_debugger = True
            self._emit(Frozen(reason=self.debugger.who, debugger=True))

    async def release_debugger(self, reason: str, stepped: int | None = None) -> None:
        """Hold the guest for a debugger no more; it runs unless a user froze it.

        Args:
            reason: For viewers, if they were told that it is frozen.
            stepped: The vCPU that is to execute one instruction only.
        """
        if not self.debugger.holds:
            return
        log = self._rendezvous.log
        stood_us = 0.0 if log.since_ns is None else (log.now_ns() - log.since_ns) / 1000
        async with self.block(Stopwatch()):
            self.debugger.release(stepped)
        if self._shows_debugger:
            self._shows_debugger = False
            self._emit(Thawed(reason=reason, pause=Pause(total_us=stood_us)))

    async def end(self) -> None:
        """Resume a guest that is stopped for whatever reason, and emit what was not emitted yet."""
        self.held = None
        self.debugger.forget()
        if self._rendezvous.stopped:
            try:
                await self._rendezvous.resume()
            except KtstrError as error:
                self._outbox.add(Logged(severity="error", source="coordinator", text=error.message))
        self._flush()

    # -- events ----------------------------------------------------------------------------------------

    def say(self, event: Event) -> None:
        """Emit at once, or when the guest runs again."""
        if self._rendezvous.stopped and not self.stays:
            self._outbox.add(event)
        else:
            self._emit(event)

    def _announce(self, jobs: list[Job], pause: Pause) -> None:
        self._flush()
        for job in jobs:
            job.pause = pause
            self._finisher.submit(job)

    def _flush(self) -> None:
        for event in [*self._outbox.take(), *self._inspector.drain()]:
            self._emit(event)
