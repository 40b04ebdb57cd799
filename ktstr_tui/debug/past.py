"""A guest whose run has a seed, for a debugger that also goes back in time.

The guest itself cannot go back. It stays held where it is, the *present*, and its run is had again beside it::

    reverse-stepi ─▶ had again, noting blocks, up to here ─▶ had again, up to the last block ─▶ held there: the past
    reverse-continue ─▶ the same with breakpoints and writes        └─ continue: the past goes on, and at the present
                                                                       the guest itself does

Both runs are the same to the byte, so the debugger cannot tell which of them it looks at. What was noted is kept: the
next step back needs only the second one. The past is not written to: that would be another history.

One task changes where the debugger is, and carries out one wish after the other; `PastTarget.run` must run meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import TypeAlias

import msgspec
import trio

from ktstr_tui.capture.debug_access import Resume
from ktstr_tui.capture.stop.debugger import DebuggerStop
from ktstr_tui.capture.watch.debugger_points import Point
from ktstr_tui.debug.again import AgainGuest, OpenAgain
from ktstr_tui.debug.earlier import Earlier, hit_at
from ktstr_tui.debug.reruns import Back, Reruns
from ktstr_tui.debug.target import Said, Target, Told
from ktstr_tui.guest.retracing import Place, WhereIsIt, encode
from ktstr_tui.model.errors import GuestError, KtstrError, UsageError

Wish: TypeAlias = Callable[[Reruns], Awaitable[DebuggerStop | None]]
"""Changes where the debugger is; returns the stop to show it, or None when the guest runs and will stop by itself."""


class PastTarget:
    """Shows the guest, or its past.

    Args:
        live: The guest.
        open_again: Has its run again.
        told: Called with words when the debugger has gone back, and with empty ones when it is back.
        besides: Says which writes were made before an instant that no vCPU made, to go behind a sentence.
    """

    goes_back = True

    def __init__(
        self,
        live: Target,
        open_again: OpenAgain,
        told: Callable[[str], object],
        besides: Callable[[Place], str] = lambda _: "",
    ) -> None:
        self._live, self._open_again, self._tell_viewers, self._besides = live, open_again, told, besides
        self._points: set[Point] = set()
        self._guest: AgainGuest | None = None
        self._end_guest = AsyncExitStack()
        self._place: Place | None = None
        self._present: Place | None = None
        self._last = DebuggerStop(vcpu=0)
        self._forward = self._at_begin = False
        self._scope: trio.CancelScope | None = None
        self._wishes, self._waiting = trio.open_memory_channel[Wish](1)
        self._tell, self._news = trio.open_memory_channel[Told](16)

    @property
    def vcpus(self) -> int:
        """How many there are."""
        return self._live.vcpus

    @property
    def description(self) -> Mapping[str, str]:
        """The target description: XML by the name of its document."""
        return self._live.description

    def describe(self, vcpu: int) -> str:
        """Say what a vCPU does, in some words."""
        if self._guest is None:
            return self._live.describe(vcpu)
        return f"{self._guest.threads[vcpu]}, in the past"

    async def run(self) -> None:
        """Carry out wishes, until cancelled."""
        async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
            stack.push_async_callback(self._leave_past)
            nursery.start_soon(self._live.run)
            nursery.start_soon(self._hear_live)
            reruns = Reruns(self._open_again, self.vcpus, nursery, self._say)
            async for wish in self._waiting:
                await self._carry_out(wish, reruns)

    async def wait_stop(self) -> Told:
        """Wait for the next stop, or for words."""
        return await self._news.receive()

    async def interrupt(self) -> None:
        """Stop it; a way back that is not at its end is given up."""
        if self._guest is not None and self._forward:
            await self._guest.interrupt()
        elif self._scope is not None:
            self._scope.cancel()
        else:
            await self._live.interrupt()

    async def resume(self, how: Resume) -> None:
        """Let it run; in the past up to the present, from which on the guest itself runs."""
        if self._guest is None:
            await self._live.resume(how)
            self._present = self._place = None
        else:
            await self._wish(partial(self._go_on, self._guest, how))

    async def go_back(self, vcpu: int, *, step: bool) -> None:
        """Go back to the block before, or to the last breakpoint or write that is watched."""
        await self._wish(partial(self._go_back, Back(step, vcpu, frozenset(self._points))))

    async def ask(self, vcpu: int, request: str) -> str:
        """Answer a request about registers or memory as that vCPU sees it."""
        guest = self._guest
        if guest is None:
            return await self._live.ask(vcpu, request)
        try:
            return await guest.ask(vcpu, request)
        except GuestError as error:
            # It is not the guest that the session is about, which goes on. A debugger that is held keeps what it has
            # read, so it must not be answered from another instant before it has been told of a stop there.
            raise UsageError(error.message, "continue leads back to the present") from error

    async def write(self, vcpu: int, request: str) -> str:
        """Answer a request that writes, in the present.

        Raises:
            UsageError: It is in the past.
        """
        if self._guest is not None:
            raise UsageError("the past cannot be changed", "continue to the present, and write there")
        return await self._live.write(vcpu, request)

    def want(self, point: Point) -> None:
        """Set a breakpoint or watchpoint."""
        self._live.want(point)
        self._points.add(point)

    def drop(self, point: Point) -> None:
        """Remove one."""
        self._live.drop(point)
        self._points.discard(point)

    async def _wish(self, wish: Wish) -> None:
        # It can be given up from now on, also before it is begun.
        self._scope = trio.CancelScope()
        await self._wishes.send(wish)

    async def _hear_live(self) -> None:
        while True:
            told = await self._live.wait_stop()
            if isinstance(told, DebuggerStop):
                self._last = told
            await self._tell.send(told)

    async def _carry_out(self, wish: Wish, reruns: Reruns) -> None:
        told: DebuggerStop | None = DebuggerStop(vcpu=self._last.vcpu, interrupted=True)
        scope = self._scope
        assert scope is not None
        with scope:
            try:
                told = await wish(reruns)
            except KtstrError as error:
                await self._say(f"{error.message}; {error.hint}" if error.hint else error.message)
        self._scope, self._forward = None, False
        if told is not None:
            self._last = told
            await self._tell.send(told)
        elif scope.cancel_called:  # too late for the past
            await self._live.interrupt()

    # -- back ------------------------------------------------------------------------------------------

    async def _go_back(self, back: Back, reruns: Reruns) -> DebuggerStop:
        at_begin = DebuggerStop(vcpu=back.vcpu, at_begin=True)
        if self._at_begin:
            return at_begin
        here = self._place or await self._find_present(back.vcpu)
        found = None
        if back.step or back.points:
            found = await reruns.find(here, back)
        if found is None:
            await self._say(f"nothing came before{self._besides(here)}: this is the beginning of the run")
        await self._arrive(found, reruns)
        return at_begin if found is None else found.stop

    async def _find_present(self, vcpu: int) -> Place:
        answer = await self._live.ask(vcpu, encode(WhereIsIt()))
        self._present = msgspec.json.decode(answer, type=Place)
        return self._present

    async def _arrive(self, found: Earlier | None, reruns: Reruns) -> None:
        """Be held in the past: where something was found, or at the beginning."""
        present = self._present
        assert present is not None
        async with AsyncExitStack() as stack:
            guest, place = await reruns.bring(found, stack)
            with trio.CancelScope(shield=True):
                await self._end_guest.aclose()
            self._end_guest, self._guest, self._place = stack.pop_all(), guest, place
        self._at_begin = found is None
        back = present.total - place.total
        words = f"{back:,} {'instruction' if back == 1 else 'instructions'} before the present"
        self._tell_viewers(words)
        await self._say(words)

    # -- on --------------------------------------------------------------------------------------------

    async def _go_on(self, guest: AgainGuest, how: Resume, _: Reruns) -> DebuggerStop | None:
        present = self._present
        assert present is not None
        self._at_begin = False
        try:
            stop, place = await self._run_on(guest, how, present)
        except GuestError as error:
            await self._leave_past()
            raise GuestError(error.message, "back at the present") from error
        self._forward = False
        if place.order < present.order:
            self._place = place
            await guest.look()
            return stop
        stepped = how.step and place.order == present.order and place.vcpu == how.vcpu
        # Whoever interrupts from here on interrupts the guest itself.
        with trio.CancelScope(shield=True):
            await self._leave_past()
            await self._say("back at the present")
            hit = hit_at(present, self._points)
            if hit is not None or stepped:
                return hit or DebuggerStop(vcpu=place.vcpu)
            await self._live.resume(how)
            self._present = None
        return None

    async def _run_on(self, guest: AgainGuest, how: Resume, present: Place) -> tuple[DebuggerStop, Place]:
        """Let the past run to its next stop, or to where the present is."""
        points, place = frozenset(self._points), self._place
        assert place is not None
        await guest.set_points(points)
        stop = self._last
        if place.order < (present.total, True, 0):
            await guest.hold_at(present.total)
            self._forward = True
            stop, place = await guest.run(how), await guest.where()
        if present.breakpoint is not None and place.total == present.total and not place.in_block:
            # The breakpoint of the present may be the second of its block, and is no end before.
            await guest.set_points(points | {Point("break", present.breakpoint, 1)})
            self._forward = True
            stop, place = await guest.run(how), await guest.where()
        return stop, place

    async def _leave_past(self) -> None:
        if self._guest is not None:
            self._guest, self._place, self._at_begin = None, None, False
            await self._end_guest.aclose()
            self._tell_viewers("")

    async def _say(self, words: str) -> None:
        await self._tell.send(Said(words))
