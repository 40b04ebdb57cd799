"""The breakpoints and watchpoints of a debugger.

gdb removes all of them at every stop and sets them again before it resumes. So what it wants is only noted while the
guest is stopped, and what the engine has is brought in line with it right before the resume: a debugger that stops
and resumes a hundred times costs nothing, and its slots are not announced a hundred times.

Watchpoints and hardware breakpoints take slots that no user's watch has, and sub-schedulers give theirs back; slot 0 is
never among them. In a run with a seed there are no slots: the observer watches writes of any length, and no reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec

from ktstr_tui.capture.stop.debugger import DebuggerStops, WatchKind
from ktstr_tui.capture.stop.rendezvous import Rendezvous
from ktstr_tui.capture.watch.lent_slots import LentSlots
from ktstr_tui.capture.watch.watch_table import WatchTable
from ktstr_tui.guest.engine import StubEngine
from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.model.events import Event, WatchpointChanged
from ktstr_tui.model.text import counted

PointKind: TypeAlias = Literal["break", "hbreak"] | WatchKind
CODES: tuple[PointKind, ...] = ("break", "hbreak", "watch", "rwatch", "awatch")
"""The kinds in the order of gdb's ``Z`` packets."""
MAX_POINTS = 256


class Point(msgspec.Struct, frozen=True):
    """A place at which the debugger wants the guest to stop."""

    kind: PointKind
    address: int
    length: int
    """In bytes; of a breakpoint gdb's word for the kind of instruction, 1."""

    @property
    def takes_slot(self) -> bool:
        """Whether a debug register is needed for it."""
        return self.kind != "break"


class DebuggerPoints:
    """What a debugger wants, and what of it the engine has.

    Args:
        rendezvous: Reaches the engine.
        stops: Hears which addresses are the debugger's.
        table: The slots.
        lent: Slots that sub-schedulers have while no user needs them.
        say: Takes events.
    """

    def __init__(
        self,
        rendezvous: Rendezvous,
        stops: DebuggerStops,
        table: WatchTable,
        lent: LentSlots,
        say: Callable[[Event], object],
    ) -> None:
        self._rendezvous = rendezvous
        self._stops = stops
        self._table = table
        self._lent = lent
        self._say = say
        self._wanted: set[Point] = set()
        self._armed: dict[Point, int | None] = {}

    def want(self, point: Point) -> None:
        """Note a point; it is set at the next resume.

        Raises:
            UsageError: There are too many, no slot is free, or nothing of that size can be watched.
            HostError: The accelerator has no debug registers.
        """
        if point in self._wanted:
            return
        if len(self._wanted) >= MAX_POINTS:
            raise UsageError(f"a debugger may set {MAX_POINTS} breakpoints at a time")
        if self._rendezvous.engine.watch_limits.unlimited:
            if point.kind == "rwatch" or point.kind == "awatch":
                raise UsageError("a run with a seed shows writes to memory, not reads", "use watch")
        elif point.takes_slot:
            self._check_slot(point)
        self._wanted.add(point)

    def drop(self, point: Point) -> None:
        """Note that a point is not wanted any more."""
        self._wanted.discard(point)

    def drop_all(self) -> None:
        """Note that nothing is wanted any more."""
        self._wanted.clear()

    async def settle(self) -> None:
        """Bring the engine in line with what is wanted. Needs a stopped guest.

        Raises:
            KtstrError: The engine refuses; what could not be set is not wanted any more.
        """
        for point in [it for it in self._armed if it not in self._wanted]:
            await self._take_away(point)
        for point in [it for it in self._wanted if it not in self._armed]:
            # Before it is set, so that one which cannot be is not tried again at every resume.
            self._wanted.discard(point)
            await self._set(point)
            self._wanted.add(point)

    def _check_slot(self, point: Point) -> None:
        limits = self._rendezvous.engine.watch_limits
        if limits.slots == 0:
            raise HostError("the accelerator has no debug registers", "try --accel tcg")
        if point.kind != "hbreak" and (
            point.length not in limits.lengths_bytes or point.address % point.length
        ):
            raise UsageError(
                f"{point.length} bytes at {point.address:#x} cannot be watched",
                "1, 2, 4 or 8 bytes at a multiple of that can",
            )
        wanted = sum(it.takes_slot and it not in self._armed for it in self._wanted) + 1
        leaving = sum(slot is not None and it not in self._wanted for it, slot in self._armed.items())
        free = self._table.count_free() + leaving
        if wanted > free:
            raise UsageError(
                f"the debugger wants {counted(wanted, 'watch slot')}, and {free} are free",
                "remove a watch of the run: ktstr-tui watch remove",
            )

    async def _set(self, point: Point) -> None:
        slot = None
        if point.takes_slot and not self._rendezvous.engine.watch_limits.unlimited:
            slot = self._table.take_for_debugger()
            await self._lent.vacate(slot)
        try:
            if point.kind == "watch":
                await self._rendezvous.arm_watch(point.address, point.length)
            else:
                await self._ask("Z", point)
        except BaseException:
            if slot is not None:
                self._table.give_back(slot)
            raise
        self._armed[point] = slot
        if point.kind == "watch" or point.kind == "rwatch" or point.kind == "awatch":
            self._stops.watches[point.address] = point.kind
        else:
            self._stops.breaks.add(point.address)
        self._tell(point, slot, armed=True)

    async def _take_away(self, point: Point) -> None:
        slot = self._armed.pop(point)
        if point.kind in ("break", "hbreak"):
            self._stops.breaks.discard(point.address)
        else:
            self._stops.watches.pop(point.address, None)
        if slot is not None:
            self._table.give_back(slot)
        self._tell(point, slot, armed=False)
        if point.kind == "watch":
            await self._rendezvous.disarm_watch(point.address, point.length)
        else:
            await self._ask("z", point)

    async def _ask(self, letter: str, point: Point) -> None:
        engine = self._rendezvous.engine
        if not isinstance(engine, StubEngine):
            raise UsageError("this machine has nothing that sets breakpoints")
        request = f"{letter}{CODES.index(point.kind)},{point.address:x},{point.length:x}"
        with self._rendezvous.bounded("setting a breakpoint"):
            answer = await engine.ask(request)
        if answer != "OK":
            raise HostError(f"QEMU refuses {request}: {answer[:80] or 'not supported'}")

    def _tell(self, point: Point, slot: int | None, *, armed: bool) -> None:
        if slot is None:
            return
        self._say(
            WatchpointChanged(
                slot=slot,
                expression=f"{point.kind} {point.address:#x} (debugger)",
                address=point.address,
                length_bytes=point.length,
                state="armed" if armed else "removed",
            )
        )
