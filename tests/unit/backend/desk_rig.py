"""A control loop with its desk, and a guest that knows watches only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import trio

from ktstr_tui.backend.control import Controlled, RunControl
from ktstr_tui.backend.interventions import INTERVENTIONS_FILE, Interventions
from ktstr_tui.backend.outcome import RunEnd
from ktstr_tui.capture.watch.watch_spec import WatchSpec
from ktstr_tui.control.audit_chain import AUDIT_FILE, ChainedEntry, verify
from ktstr_tui.control.authority import Authority
from ktstr_tui.link.stream import Stream
from ktstr_tui.model import control as ct
from ktstr_tui.model import events as ev
from ktstr_tui.model.commands import Command, Reply, Request


@dataclass
class FakeWatches:
    """Sets watches in a state instead of in a machine."""

    stream: Stream
    added: list[WatchSpec] = field(default_factory=list)
    changed: list[tuple[str, int]] = field(default_factory=list)

    async def add(self, spec: WatchSpec) -> int:
        await trio.lowlevel.checkpoint()
        self.added.append(spec)
        self.stream.emit(ev.WatchpointChanged(slot=1, expression=spec.expression, address=16))
        return 1

    async def remove(self, slot: int) -> bool:
        await trio.lowlevel.checkpoint()
        self.changed.append(("remove", slot))
        return slot == 1

    async def resume(self, slot: int) -> bool:
        await trio.lowlevel.checkpoint()
        self.changed.append(("resume", slot))
        return False


class Run:
    """A control loop and a guest that knows watches only."""

    def __init__(
        self, data_dir: Path, authority: Authority | None = None, stream: Stream | None = None
    ) -> None:
        self.data_dir = data_dir
        self.stream, self.ending = stream or Stream(), RunEnd()
        self.watches = FakeWatches(self.stream)
        self.coordinator = SimpleNamespace(watches=self.watches, frozen_total_ns=lambda: 0)
        self.guest = SimpleNamespace(
            coordinator=self.coordinator,
            clock=SimpleNamespace(elapsed_ns=lambda: None),
            sampler=None,
            interventions=Interventions(data_dir / INTERVENTIONS_FILE, (), self.stream.emit),
        )
        self.control = RunControl(
            ct.ControlPlan(name="run"), self.stream, self.ending, authority or Authority(), data_dir
        )
        self.control.attach(cast("Controlled", self.guest))
        self.events: list[ev.Event] = []
        self._news = trio.Event()
        self.stream.add_sink(self._take)

    async def ask(self, name: str, **args: object) -> Reply:
        request = msgspec.convert({"name": name, **args}, Request)
        return await self.control.desk.serve(Command(id=7, request=request, viewer="ada"))

    def decided(self) -> list[tuple[str, str, str]]:
        return [
            (it.operator, it.request, it.outcome) for it in self.events if isinstance(it, ev.CommandDecided)
        ]

    def audited(self) -> list[ChainedEntry]:
        """What the audit's file has, which must be proven."""
        report, entries = verify((self.data_dir / AUDIT_FILE).read_bytes())
        assert report.proven
        return entries

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The loop, until the context ends."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.control.run)
            yield
            nursery.cancel_scope.cancel()

    async def until(self, seen: Callable[[], bool]) -> None:
        """Wait until something has been seen on the stream."""
        while not seen():
            self._news = trio.Event()
            await self._news.wait()

    def _take(self, event: ev.Event, data: bytes) -> None:
        self.events.append(event)
        self._news.set()
