"""A source without a run, and the one place where Textual's event loop is started in tests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import msgspec
from textual.pilot import Pilot

from ktstr_tui.link.source import Connection, OnEvents
from ktstr_tui.model.commands import Failure, Reply
from ktstr_tui.model.events import Event
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import RunState
from ktstr_tui.tui.app import KtstrApp

_T = TypeVar("_T")


class FakeStatistics(msgspec.Struct, frozen=True):
    """Counters of the fake."""

    events: int = 0
    gaps: int = 0


class FakeSource:
    """Folds what a test feeds it, and remembers the commands it was asked for."""

    def __init__(self, events: list[Event], connection: Connection = "live") -> None:
        self.state = RunState()
        self.connection: Connection = connection
        self.connection_reason = ""
        self.lag_ms: float | None = 3.0
        self.controllable = connection == "live"
        self.commands: list[tuple[str, dict[str, object]]] = []
        self.failure: Failure | None = None
        self._on_events: OnEvents = lambda batch: None
        self.feed(events)

    def feed(self, events: list[Event]) -> None:
        """Fold more events, as a link does when they arrive."""
        for event in events:
            fold(self.state, event)
        self._on_events(events)

    async def run(self, on_events: OnEvents) -> None:
        """Stay until cancelled."""
        self._on_events = on_events
        await asyncio.Event().wait()

    async def command(self, name: str, **args: object) -> Reply:
        """Note the command."""
        self.commands.append((name, args))
        return Reply(id=len(self.commands), error=self.failure)

    def statistics(self) -> FakeStatistics:
        """A frozen record."""
        return FakeStatistics(events=self.state.seq)


Drive = Callable[[KtstrApp, Pilot[str]], Awaitable[_T]]


def drive(
    source: FakeSource, steps: Drive[_T], size: tuple[int, int] = (120, 40), *, owner: bool = False
) -> tuple[KtstrApp, _T]:
    """Run the app headless without a paint clock, perform ``steps``, and leave."""

    async def main() -> tuple[KtstrApp, _T]:
        app = KtstrApp(source, owner=owner, paint_hz=0)
        app.animation_level = "none"
        context: AbstractAsyncContextManager[Pilot[str]] = app.run_test(size=size)
        async with context as pilot:
            await settle(app, pilot)
            return app, await steps(app, pilot)

    coroutine: Coroutine[Any, Any, tuple[KtstrApp, _T]] = main()
    return asyncio.run(coroutine)


async def settle(app: KtstrApp, pilot: Pilot[str]) -> None:
    """Let messages and layouts come to rest, painting in between."""
    for _ in range(2):
        await pilot.pause()
        app.paint()
    await pilot.pause()


async def press(app: KtstrApp, pilot: Pilot[str], *keys: str) -> None:
    """Press keys and let the screen settle after each."""
    for key in keys:
        await pilot.press(key)
        await settle(app, pilot)


def screen(source: FakeSource, *keys: str, size: tuple[int, int] = (120, 40)) -> str:
    """What the terminal shows after some keys, as one text."""

    async def steps(app: KtstrApp, pilot: Pilot[str]) -> str:
        await press(app, pilot, *keys)
        return "\n".join(rows(app))

    return drive(source, steps, size)[1]


def rows(app: KtstrApp) -> list[str]:
    """What the terminal shows, row by row."""
    strips = app.screen._compositor.render_strips(app.size)
    return [strip.text.rstrip() for strip in strips]
