"""A source without a run, and the one place where Textual's event loop is started in tests.

Textual's pilot takes an app for idle when its process used little CPU time lately. On a busy machine that is true of
an app that waits for a CPU with its work undone. So whoever looks at the screen waits, after the pilot, until the event
loop itself has nothing left to run. Short-lived messages stay, however long that takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sized
from contextlib import AbstractAsyncContextManager
from functools import partialmethod
from typing import Any, TypeVar
from unittest.mock import patch

import msgspec
from textual.pilot import Pilot

from ktstr_tui.link.source import Connection, OnEvents, Source
from ktstr_tui.model.commands import Failure, Reply, Request
from ktstr_tui.model.events import Event
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import RunState
from ktstr_tui.tui import files_app
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.leaving import Leaving
from ktstr_tui.tui.look import Look

_T = TypeVar("_T")
PATIENCE_S = 120
"""Generous, because it only matters when something is broken."""


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
        self.why_read_only = "attached read-only"
        self.commands: list[tuple[str, dict[str, object]]] = []
        self.failure: Failure | None = None
        self.wants_trace = False
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

    async def command(self, request: Request) -> Reply:
        """Note the command: its name, and the fields that are not as they are by default."""
        fields = msgspec.structs.fields(request)
        values = {it.name: getattr(request, it.name) for it in fields}
        args = {it.name: values[it.name] for it in fields if values[it.name] != it.default}
        self.commands.append((request.name, args))
        return Reply(id=len(self.commands), error=self.failure)

    def want_trace(self) -> None:
        """Note it."""
        self.wants_trace = True

    def statistics(self) -> FakeStatistics:
        """A frozen record."""
        return FakeStatistics(events=self.state.seq)


Drive = Callable[[KtstrApp, Pilot[Leaving]], Awaitable[_T]]


def drive(
    source: Source,
    steps: Drive[_T],
    size: tuple[int, int] = (120, 40),
    *,
    owner: bool = False,
    explain: bool = False,
    look: Look | None = None,
) -> tuple[KtstrApp, _T]:
    """Run the app headless without a paint clock, perform ``steps``, and leave."""

    async def main() -> tuple[KtstrApp, _T]:
        app = KtstrApp(source, owner=owner, paint_hz=0, explain=explain, look=look)
        app.animation_level = "none"
        context: AbstractAsyncContextManager[Pilot[Leaving]] = app.run_test(size=size)
        patient = partialmethod(Pilot._wait_for_screen, timeout=PATIENCE_S)
        with patch.object(files_app, "NOTICE_S", 3600.0), patch.object(Pilot, "_wait_for_screen", patient):
            async with context as pilot:
                await settle(app, pilot)
                return app, await steps(app, pilot)

    coroutine: Coroutine[Any, Any, tuple[KtstrApp, _T]] = main()
    return asyncio.run(coroutine)


async def rest(app: KtstrApp, pilot: Pilot[Leaving]) -> None:
    """Let messages and layouts come to rest: nothing is ready to run, also after an update of the screen."""
    await pilot.pause()
    ready: Sized = vars(asyncio.get_running_loop())["_ready"]
    calm = False
    async with asyncio.timeout(PATIENCE_S):
        while not calm:
            await asyncio.sleep(0)
            if not ready:
                app.screen._on_timer_update()
                calm = not ready


async def until(app: KtstrApp, pilot: Pilot[Leaving], condition: Callable[[], bool]) -> None:
    """Wait for what takes time of its own."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - Textual rings no bell
            await asyncio.sleep(0.01)
    await rest(app, pilot)


async def leave(app: KtstrApp, pilot: Pilot[Leaving], *keys: str) -> None:
    """Press keys of which the last ends the app, and wait until it has taken that to heart."""
    await pilot.press(*keys)
    async with asyncio.timeout(PATIENCE_S):
        while not app._exit:  # noqa: ASYNC110 - Textual rings no bell
            await asyncio.sleep(0.01)


async def settle(app: KtstrApp, pilot: Pilot[Leaving]) -> None:
    """Let everything come to rest, painting in between."""
    for _ in range(2):
        await rest(app, pilot)
        app.paint()
    await rest(app, pilot)


async def press(app: KtstrApp, pilot: Pilot[Leaving], *keys: str) -> None:
    """Press keys and let the screen settle after each."""
    for key in keys:
        await pilot.press(key)
        await settle(app, pilot)


def screen(source: FakeSource, *keys: str, size: tuple[int, int] = (120, 40)) -> str:
    """What the terminal shows after some keys, as one text."""

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> str:
        await press(app, pilot, *keys)
        return "\n".join(rows(app))

    return drive(source, steps, size)[1]


def rows(app: KtstrApp) -> list[str]:
    """What the terminal shows, row by row."""
    strips = app.screen._compositor.render_strips(app.size)
    return [strip.text.rstrip() for strip in strips]
