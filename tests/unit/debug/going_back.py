"""A debugger at a guest whose past it can look at, and a short history for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from ktstr_tui.capture.debug_access import Resume
from ktstr_tui.capture.stop.debugger import DebuggerStop
from ktstr_tui.capture.watch.debugger_points import Point
from ktstr_tui.debug.past import PastTarget
from ktstr_tui.debug.target import Said
from ktstr_tui.guest.retracing import Place
from tests.unit.debug.history import Block, Histories, HistoryTarget, Store

CODE, DATA = 0xFFFFFFFF81000000, 0xFFFFFFFF82000000
BREAK = Point("break", CODE + 0x20, 1)
WATCH = Point("watch", DATA, 8)
BLOCKS = [
    Block(0, CODE, 4),
    Block(0, CODE + 0x10, 3, (Store(DATA, 1),)),
    Block(0, CODE + 0x20, 5),
    Block(1, CODE + 0x30, 2, (Store(DATA, 1), Store(DATA + 64, 9))),
    Block(1, CODE + 0x40, 2),
    Block(0, CODE + 0x20, 5, (Store(DATA, 7), Store(DATA, 8))),
    Block(0, CODE + 0x50, 6),
    Block(1, CODE + 0x60, 1),
]


class Debugger:
    """What a debugger does with a guest whose past it can look at."""

    def __init__(self, blocks: list[Block], nursery: trio.Nursery) -> None:
        self.live = HistoryTarget(blocks)
        self.histories = Histories(blocks, nursery)
        self.viewers: list[str] = []
        self.said: list[str] = []
        self.past = PastTarget(self.live, self.histories.again, self.viewers.append, lambda _: " but a write")

    async def stop(self) -> DebuggerStop:
        while isinstance(told := await self.past.wait_stop(), Said):
            self.said.append(told.words)
        return told

    async def go_on(self, how: Resume | None = None) -> DebuggerStop:
        await self.past.resume(how or Resume())
        return await self.stop()

    async def back(self, vcpu: int = 0, *, step: bool = False) -> DebuggerStop:
        await self.past.go_back(vcpu, step=step)
        return await self.stop()

    @property
    def place(self) -> Place:
        """Where it is: the guest, or the newest of those that it was had again."""
        guest = self.past._guest
        if guest is None:
            return self.live.place()
        return next(it for it in self.histories.open if it.place() == self.past._place).place()


@asynccontextmanager
async def debugging(blocks: list[Block]) -> AsyncIterator[Debugger]:
    async with trio.open_nursery() as nursery:
        debugger = Debugger(blocks, nursery)
        nursery.start_soon(debugger.past.run)
        yield debugger
        nursery.cancel_scope.cancel()
