"""A run that is the same each time it is had: blocks of code, one after the other, some of which store something.

It is served by a real session, over a stream in memory, to whoever has it again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import cast

import msgspec
import trio
from trio.testing import memory_stream_pair

from ktstr_tui.capture.debug_access import Resume
from ktstr_tui.capture.stop.debugger import DebuggerStop
from ktstr_tui.capture.watch.debugger_points import Point
from ktstr_tui.debug.earlier import hit_at
from ktstr_tui.debug.files import OfferedFile
from ktstr_tui.debug.session import Session, SessionCounts
from ktstr_tui.debug.target import Told
from ktstr_tui.guest.gdb_connection import GdbConnection
from ktstr_tui.guest.observer_page import MAX_NOTES, Note, Notes, ObserverPage
from ktstr_tui.guest.retracing import Place, Retracing
from ktstr_tui.model.errors import UsageError

VCPUS = 2


class Store(msgspec.Struct, frozen=True):
    """A store of a block."""

    address: int
    value: int
    width: int = 8


class Block(msgspec.Struct, frozen=True):
    """A block of code; its instructions follow each other from ``rip``, and the first of them store."""

    vcpu: int
    rip: int
    instructions: int
    stores: tuple[Store, ...] = ()


class NotedHistory:
    """What the observer's page is to `Retracing`."""

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int]] = []
        self.probes: set[int] = set()
        self.vcpu: int | None = None
        self.kept: list[Note] = []
        self.begun: list[int] = []

    def note(self, ranges: list[tuple[int, int]], probes: list[int], vcpu: int | None) -> None:
        self.ranges, self.probes, self.vcpu = list(ranges), set(probes), vcpu

    def notes(self) -> Notes:
        few = len(self.kept) <= MAX_NOTES, len(self.begun) <= MAX_NOTES
        return Notes(tuple(self.kept[-MAX_NOTES:]), tuple(self.begun[-MAX_NOTES:]), *few)


class HistoryTarget:
    """One run of a history; stands before its first block.

    Args:
        blocks: The history.
    """

    vcpus = VCPUS
    description: Mapping[str, str] = {}
    goes_back = False

    def __init__(self, blocks: list[Block]) -> None:
        self.points: set[Point] = set()
        self.written: list[str] = []
        self.waits = False
        """Whether it does not get anywhere when it is resumed, until it is interrupted."""
        self.may_resume = trio.Event()
        """Until then it is not resumed."""
        self.may_resume.set()
        self.interrupts = 0
        self._blocks, self._number, self._store = blocks, 0, -1
        self._total = 0
        self._hit: tuple[int, int] | None = None
        self._stop_at = 0
        self._noted = NotedHistory()
        self._retracing = Retracing(cast("ObserverPage", self._noted), self.place, self._hold_at)
        self._send, self._stops = trio.open_memory_channel[Told](16)

    def place(self) -> Place:
        block = self._blocks[min(self._number, len(self._blocks) - 1)]
        within = self._store >= 0
        total = self._total + block.instructions if within else self._total
        return Place(total, within, block.vcpu, block.rip + (self._store + 1 if within else 0), self._hit)

    def describe(self, vcpu: int) -> str:
        return f"CPU {vcpu}: spin[{vcpu}]"

    async def run(self) -> None:
        await trio.lowlevel.checkpoint()

    async def wait_stop(self) -> Told:
        return await self._stops.receive()

    async def interrupt(self) -> None:
        self.interrupts += 1
        self._send.send_nowait(DebuggerStop(vcpu=0, interrupted=True))

    async def resume(self, how: Resume) -> None:
        await self.may_resume.wait()
        if not self.waits:
            self._send.send_nowait(self._run(how))

    async def go_back(self, vcpu: int, *, step: bool) -> None:
        raise UsageError("only a run with a seed goes back in time")

    async def ask(self, vcpu: int, request: str) -> str:
        answer = self._retracing.answer(request)
        return f"{self.place().rip:x}" if answer is None else answer

    async def write(self, vcpu: int, request: str) -> str:
        self.written.append(request)
        return "OK"

    def want(self, point: Point) -> None:
        self.points.add(point)

    def drop(self, point: Point) -> None:
        self.points.discard(point)

    def _hold_at(self, total: int) -> None:
        self._stop_at = total

    def _run(self, how: Resume) -> DebuggerStop:
        """Go on to the next stop, or to the end."""
        going_on = self._store < 0
        while self._number < len(self._blocks):
            block = self._blocks[self._number]
            if self._store < 0:
                if (stop := self._before(block, how, going_on=going_on)) is not None:
                    return stop
                going_on = False
                self._begin(block)
            while self._store + 1 < len(block.stores):
                self._store += 1
                if (stop := self._at_store(block)) is not None:
                    return stop
            self._total += block.instructions
            self._number, self._store = self._number + 1, -1
        self._hit = None
        return DebuggerStop(vcpu=0)

    def _before(self, block: Block, how: Resume, *, going_on: bool) -> DebuggerStop | None:
        """What it is held for before a block; ``going_on`` when it was held there already."""
        stepped = how.step and how.vcpu == block.vcpu
        if not going_on:
            self._hit = None
            if 0 < self._stop_at <= self._total:
                self._stop_at = 0
                return DebuggerStop(vcpu=block.vcpu)
            if stepped:
                return DebuggerStop(vcpu=block.vcpu)
        for address in range(self._hit[0] + 1 if self._hit else block.rip, block.rip + block.instructions):
            self._hit = (address, 0)
            if (stop := hit_at(self.place(), self.points)) is not None:
                return stop
        self._hit = None
        return None

    def _begin(self, block: Block) -> None:
        noted, ended = self._noted, self._total + block.instructions
        if noted.vcpu == block.vcpu:
            noted.begun.append(self._total)
        for address in sorted(it for it in noted.probes if block.rip <= it < block.rip + block.instructions):
            noted.kept.append(Note(self._total, ended, address, block.rip, 0, block.vcpu, 0))

    def _at_store(self, block: Block) -> DebuggerStop | None:
        store, noted = block.stores[self._store], self._noted
        self._hit = (store.address, store.width)
        place = self.place()
        if any(at < store.address + store.width and store.address < at + n for at, n in noted.ranges):
            words = (store.address, place.rip, store.value, block.vcpu, store.width)
            noted.kept.append(Note(self._total, place.total, *words))
        return hit_at(place, self.points)


class Histories:
    """Has a history again as often as somebody wants.

    Args:
        blocks: The history.
        nursery: Where its runs are served.
    """

    def __init__(self, blocks: list[Block], nursery: trio.Nursery) -> None:
        self.blocks = blocks
        self.opened = 0
        self.open: list[HistoryTarget] = []
        """Those that there are now."""
        self.wait = False
        """Whether those that are opened do not get anywhere."""
        self.streams: list[trio.abc.Stream] = []
        self._nursery = nursery

    @asynccontextmanager
    async def again(self) -> AsyncIterator[GdbConnection]:
        """Serve one, as `ktstr_tui.debug.again.OpenAgain`."""
        self.opened += 1
        target, scope = HistoryTarget(self.blocks), trio.CancelScope()
        target.waits = self.wait
        ours, theirs = memory_stream_pair()

        async def serve() -> None:
            with scope:
                await Session(theirs, target, OfferedFile(None), DebuggerStop(vcpu=0), SessionCounts()).run()

        self._nursery.start_soon(serve)
        self.open.append(target)
        self.streams.append(theirs)
        try:
            yield GdbConnection(ours)
        finally:
            self.open.remove(target)
            self.streams.remove(theirs)
            scope.cancel()
