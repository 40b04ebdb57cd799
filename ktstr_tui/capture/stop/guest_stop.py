"""The guest stands for the length of a block, and what happened is told when it runs again.

stop, or what stopped it ─▶ the block ─▶ a look at memory ─▶ resume ─▶ events, captures to the finisher

Nothing is emitted, rendered or written while the guest stands on its own account; what happened is put in an outbox
and announced after the resume. Whatever the stop was for, memory is looked at before the resume, so that no stop
misses a change.

A block may find the guest standing already, because a user froze it. It then comes with no stop of its own: nobody
looks, nobody resumes, and events are told at once, since a viewer waits for them meanwhile. `GuestStop.hold` and
`GuestStop.release` are blocks like any other; all they change is whether the guest is held when their block ends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeAlias

from ktstr_tui.capture.finisher import Finisher
from ktstr_tui.capture.job import Job
from ktstr_tui.capture.stop.rendezvous import Rendezvous, Stopwatch, collector_off
from ktstr_tui.capture.stop.requests import Request
from ktstr_tui.guest.engine import Stop
from ktstr_tui.model.errors import KtstrError, UsageError
from ktstr_tui.model.events import Event, Frozen, Logged, Thawed
from ktstr_tui.model.report import Pause

Look: TypeAlias = Callable[[Stop, Stopwatch], Awaitable[list[Job]]]


class GuestStop:
    """Makes the guest stand. Only the task that owns the stub may use it, but for `say`.

    Args:
        rendezvous: Stops and resumes.
        finisher: Takes the captures after the resume.
        emit: Takes events.
    """

    def __init__(self, rendezvous: Rendezvous, finisher: Finisher, emit: Callable[[Event], object]) -> None:
        self.held: str | None = None
        """Why a user froze the guest; None when none did."""
        self.stops = 0
        """Times the guest stood, for whatever reason."""
        self._held_watch = Stopwatch()
        self._rendezvous = rendezvous
        self._finisher = finisher
        self._emit = emit
        self._look: Look | None = None
        self._drain: Callable[[], Iterable[Event]] = tuple
        self._outbox: list[Event] = []

    def attach(self, look: Look, drain: Callable[[], Iterable[Event]]) -> None:
        """Call this once, before the first stop: what looks asks for stops itself, so it cannot be there earlier.

        Args:
            look: Called before the resume of every stop; returns captures it took.
            drain: More events to be told after the resume.
        """
        self._look, self._drain = look, drain

    @asynccontextmanager
    async def block(
        self, watch: Stopwatch, stop: Stop | None = None, registers_of: int = 0
    ) -> AsyncIterator[list[Job]]:
        """Inside, the guest stands; afterwards it runs, unless a user holds it. Yields captures taken.

        Args:
            watch: Measures the parts of the pause.
            stop: What stopped the guest, when it stopped by itself.
            registers_of: How many vCPUs to ask for their registers with the stop.
        """
        jobs: list[Job] = []
        with collector_off():
            if not self._rendezvous.standing:
                with watch.part("stop"):
                    stop = await self._rendezvous.stop(registers_of)
            try:
                self.stops += stop is not None
                yield jobs
                if stop is not None and self._look is not None:
                    jobs += await self._look(stop, watch)
            finally:
                try:
                    if self.held is None:
                        with watch.part("resume"):
                            await self._rendezvous.resume()
                finally:
                    self._announce(jobs, watch.pause())

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """A block that nobody measures."""
        async with self.block(Stopwatch()):
            await work()

    async def blink(self) -> tuple[Pause, Stop]:
        """Stop the guest and let it go at once, without a look; returns what stopped it.

        Raises:
            UsageError: The guest stands on a user's word.
        """
        if self.held is not None:
            raise UsageError("the guest is frozen", "thaw it first")
        watch = Stopwatch()
        with collector_off():
            with watch.part("stop"):
                stop = await self._rendezvous.stop()
            with watch.part("resume"):
                await self._rendezvous.resume()
        pause = watch.pause()
        self.stops += 1
        return pause, stop

    # -- on a user's word ------------------------------------------------------------------------------

    async def hold(self, request: Request, reason: str) -> None:
        """Stop the guest until `release`; nothing when it is held already, or no caller waits for it any more."""
        if self.held is not None:
            return
        watch = self._held_watch = Stopwatch()
        async with self.block(watch):
            self.held = reason
            request.changed = True
            self.tell_later(Frozen(reason=reason))
        if request.abandoned:
            await self.release(request, "the freeze was cancelled")

    async def release(self, request: Request, reason: str) -> None:
        """Let a held guest run on."""
        if self.held is None:
            return
        watch = self._held_watch
        async with self.block(watch):
            self.held = None
        request.changed = True
        self._emit(Thawed(reason=reason, pause=watch.pause()))

    async def end(self) -> None:
        """Let go of a guest that stands for whatever reason, and tell what was not told yet."""
        self.held = None
        if self._rendezvous.standing:
            try:
                await self._rendezvous.resume()
            except KtstrError as error:
                self.tell_later(Logged(severity="error", source="coordinator", text=error.message))
        self._flush()

    # -- events ----------------------------------------------------------------------------------------

    def say(self, event: Event) -> None:
        """Tell at once, or when the guest runs again."""
        if self._rendezvous.standing and self.held is None:
            self.tell_later(event)
        else:
            self._emit(event)

    def tell_later(self, event: Event) -> None:
        """Tell at the end of the block."""
        self._outbox.append(event)

    def _announce(self, jobs: list[Job], pause: Pause) -> None:
        self._flush()
        for job in jobs:
            job.pause = pause
            self._finisher.submit(job)

    def _flush(self) -> None:
        events = [*self._outbox, *self._drain()]
        self._outbox.clear()
        for event in events:
            self._emit(event)
