"""Runs that are had again for a debugger: one to note what was before an instant, others to be held where it wants.

What was noted is kept, so that the next step back needs no more than a run that goes there; and that one is on its way
before it is asked for (`Spare`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import msgspec
import trio

from ktstr_tui.capture.watch.debugger_points import Point
from ktstr_tui.debug.again import AgainGuest, OpenAgain
from ktstr_tui.debug.earlier import Earlier, last_block, last_hit, last_met, to_note
from ktstr_tui.debug.spare import MARGIN, Spare
from ktstr_tui.guest.observer_page import Notes
from ktstr_tui.guest.retracing import Place
from ktstr_tui.model.errors import GuestError, KtstrError, UsageError


class Back(msgspec.Struct, frozen=True):
    """A way back that a debugger wants."""

    step: bool
    """Whether it is one step; else it is to the last breakpoint or write that is watched."""
    vcpu: int
    """Whose steps, from 0."""
    points: frozenset[Point]
    """The breakpoints and writes."""

    def is_noted_with(self, other: Back) -> bool:
        """Whether what is noted for another one does for this."""
        return self.vcpu == other.vcpu if self.step else self.points == other.points


class _Noted(msgspec.Struct, frozen=True):
    """What a run noted that was had again up to an instant."""

    until: int
    wanted: Back
    notes: Notes


class Reruns:
    """Has a run again, as often as it takes.

    Args:
        open_again: Has it again.
        vcpus: How many vCPUs it has.
        nursery: Where runs go somewhere that nobody waits for.
        say: Takes words for whoever waits.
    """

    def __init__(
        self,
        open_again: OpenAgain,
        vcpus: int,
        nursery: trio.Nursery,
        say: Callable[[str], Awaitable[None]],
    ) -> None:
        self._open_again, self._vcpus, self._nursery, self._say = open_again, vcpus, nursery, say
        self._noted: _Noted | None = None
        self._spare: Spare | None = None

    async def find(self, here: Place, back: Back) -> Earlier | None:
        """Find what was last before an instant; None when there was nothing.

        Args:
            here: The instant.
            back: What is looked for.

        Raises:
            KtstrError: The run cannot be had again, is not the same, or notes too much.
        """
        met = None if back.step else last_met(here, back.points)
        if met is not None:
            return met
        kept = self._noted
        if kept is not None and back.is_noted_with(kept.wanted) and here.total <= kept.until:
            found = _pick(kept.notes, here, back)
            if found is not None or _is_complete(kept.notes, back):
                return found
        self.have_spare_before(here)
        await self._say("running again from the start up to here, to find what came before; ctrl+c gives up")
        async with self._open_again() as connection:
            guest = AgainGuest(connection, self._vcpus)
            await guest.note(to_note(back.points, back.vcpu))
            _require_same(await guest.go_to_block(here.total, self._tell), here)
            notes = await guest.noted()
        self._noted = _Noted(here.total, back, notes)
        found = _pick(notes, here, back)
        if found is None and not _is_complete(notes, back):
            raise UsageError(
                "one instruction stores too often there to look back over it", "watch less of it"
            )
        return found

    async def bring(self, found: Earlier | None, stack: AsyncExitStack) -> tuple[AgainGuest, Place]:
        """Have the run again up to what was found; None stands for its beginning.

        Args:
            found: Where.
            stack: Ends that run.

        Raises:
            KtstrError: The run cannot be had again, or is not the same.
        """
        guest = await self._take_spare(found, stack)
        if guest is None:
            guest = AgainGuest(await stack.enter_async_context(self._open_again()), self._vcpus)
        place = (
            await guest.where() if found is None else await guest.go_to_block(found.total, self._tell_going)
        )
        if found is not None and found.breakpoint is not None:
            place = await guest.meet(found.breakpoint)
        await guest.look()
        self.have_spare_before(place)
        return guest, place

    def have_spare_before(self, place: Place) -> None:
        """Have another run go near a place already, unless one is there."""
        total, spare = max(0, place.total - MARGIN), self._spare
        if spare is not None:
            if total - MARGIN <= spare.total < place.total:
                return
            spare.end()
        self._spare = Spare(self._open_again, self._vcpus, total)
        self._nursery.start_soon(self._spare.run)

    async def _tell(self, share: float) -> None:
        await self._say(f"{share:.0%} of the way")

    async def _tell_going(self, share: float) -> None:
        await self._say(f"running up to there: {share:.0%} of the way; ctrl+c gives up")

    async def _take_spare(self, found: Earlier | None, stack: AsyncExitStack) -> AgainGuest | None:
        """The spare run, if it is before what was found; None when there is none that is."""
        spare = self._spare
        if found is None or spare is None or spare.total > found.total:
            return None
        with suppress(KtstrError):  # then another one says why
            guest, end = await spare.take(self._tell_going)
            self._spare = None
            async with end:  # also when it is gone, or given up
                if (await guest.where()).total <= found.total:
                    stack.push_async_exit(end.pop_all())
                    return guest
        return None


def _pick(notes: Notes, here: Place, back: Back) -> Earlier | None:
    if back.step:
        return last_block(notes, here, back.vcpu)
    return last_hit(notes, here, back.points)


def _is_complete(notes: Notes, back: Back) -> bool:
    return notes.begun_complete if back.step else notes.complete


def _require_same(place: Place, here: Place) -> None:
    """Check that a run that was had again is where the other one is."""
    if not here.in_block and (place.rip, place.vcpu) != (here.rip, here.vcpu):
        raise GuestError(
            f"the rerun is at {place.rip:#x} on vCPU {place.vcpu} there, not at {here.rip:#x} on "
            f"vCPU {here.vcpu}: it is not the same run",
            "please report it",
        )
