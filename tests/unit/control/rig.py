"""A control loop on a real stream, under trio's mock clock, with a dispatcher that notes what it is given."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from ktstr_tui.control.executor import ActionQueue, Executor
from ktstr_tui.control.ledger import Ledger
from ktstr_tui.control.loop import ControlLoop
from ktstr_tui.control.queue import EventQueue, Shutdown
from ktstr_tui.control.rings import Rings
from ktstr_tui.control.ticker import ClockTicker, TickTime
from ktstr_tui.link.stream import Stream
from ktstr_tui.model import events as ev
from ktstr_tui.model.control import Action, ControlPlan, PendingAction

CAPTURE_EARLY = "early"


def now_ns() -> int:
    """Trio's time, which in a test is the mock clock's."""
    return round(trio.current_time() * 1e9)


class Dispatched:
    """A dispatcher that notes what it is given, and does what a test says."""

    def __init__(self, work: Callable[[PendingAction], Awaitable[Any]] | None = None) -> None:
        self.seen: list[PendingAction] = []
        self.work = work

    async def dispatch(self, pending: PendingAction) -> Any:  # noqa: ANN401
        self.seen.append(pending)
        await trio.lowlevel.checkpoint()
        return None if self.work is None else await self.work(pending)

    @property
    def kinds(self) -> list[str]:
        return [it.action.kind for it in self.seen]


class Keeper:
    """An appender that keeps what it is given, or fails."""

    def __init__(self, error: OSError | None = None) -> None:
        self.kept: list[Any] = []
        self.error = error

    def append(self, record: Any) -> None:  # noqa: ANN401
        if self.error is not None:
            raise self.error
        self.kept.append(record)


class Rig:
    """The loop and all that belongs to it."""

    def __init__(
        self,
        plan: ControlPlan | None = None,
        *,
        period_s: float = 0.1,
        queue: EventQueue | None = None,
        actions: ActionQueue | None = None,
        rings: Rings | None = None,
        dispatcher: Dispatched | None = None,
    ) -> None:
        self.stream = Stream(now_ns)
        self.events: list[ev.Event] = []
        self.stream.add_sink(lambda event, data: self.events.append(event))
        self.frozen_ns = 0
        self.scenario_ns: int | None = None
        self.rings = Rings() if rings is None else rings
        self.ledger = Ledger(self.stream.emit)
        self.dispatcher = Dispatched() if dispatcher is None else dispatcher
        self.executor = Executor(
            self.dispatcher, self.ledger, self.stream.emit, now_ns, rings=self.rings, queue=actions
        )
        self.loop = ControlLoop(
            ControlPlan(name="run") if plan is None else plan,
            ClockTicker(self.time, period_s),
            self.stream.emit,
            self.executor,
            ledger=self.ledger,
            rings=self.rings,
            queue=queue,
        )
        self.handle = self.loop.handle()
        self.reader = self.loop.reader()
        self.stream.add_sink(self.loop.feed(self.handle))
        self.reconciles: int | None = None
        """How often the loop decided, once it has ended."""

    def time(self) -> TickTime:
        return TickTime(now_ns=now_ns(), frozen_ns=self.frozen_ns, scenario_ns=self.scenario_ns)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def dispositions(self, id_: int) -> list[str]:
        return [it.disposition for it in self.of(ev.ActionChanged) if it.id == id_]

    async def run(self) -> None:
        self.reconciles = await self.loop.run()

    def ask(self, seq: int, action: Action) -> None:
        """Let the authority accept a command."""
        self.stream.emit(
            ev.CommandDecided(
                command_seq=seq, operator="ada", request=action.kind, outcome="accepted", wanted=action
            )
        )

    @asynccontextmanager
    async def running(self, executor: bool = True) -> AsyncIterator[None]:
        """The loop, and the executor if asked for, until the context ends."""
        async with trio.open_nursery() as nursery:
            if executor:
                nursery.start_soon(self.executor.run)
            nursery.start_soon(self.run)
            yield
            nursery.cancel_scope.cancel()

    def shut_down(self) -> None:
        self.handle.publish_nowait(Shutdown())
