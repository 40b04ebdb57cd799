"""A coordinator with everything fake around it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar, cast

import trio
from trio.testing import wait_all_tasks_blocked

from ktstr_tui.capture.bridge import SnapshotBridge
from ktstr_tui.capture.coordinator import Coordinator, Copiers, FreezeState, Keeping
from ktstr_tui.capture.report.store import file_name, kind_of
from ktstr_tui.capture.stamp import NO_EARLY, NO_HOST, Beside, EarlyRecords, HostLog
from ktstr_tui.capture.stop.rendezvous import FrozenLog
from ktstr_tui.capture.stop.seams import Saved as SaveResult
from ktstr_tui.capture.stop.seams import Store
from ktstr_tui.capture.watch.watch_spec import CopyWriter
from ktstr_tui.capture.watch.writer import copy_writer
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.events import AlertRaised, CaptureTaken, DualSaved, Event, Logged, SchedulerChanged
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.report_files import AnyReport
from tests.unit.capture.fakes import FakeCollect, FakeEngine, FakeView, clock_ns

_E = TypeVar("_E")


def in_place(wait: Callable[[], Awaitable[None]]) -> Callable[..., Awaitable[object]]:
    """A stand-in for ``trio.to_thread.run_sync`` that waits and then calls in place."""

    async def run_sync(function: Callable[..., object], *args: object) -> object:
        await wait()
        return function(*args)

    return run_sync


async def no_capture(tag: str) -> CaptureReport | None:
    """A capture callback that has nothing to give."""
    await trio.lowlevel.checkpoint()
    return None


class Saved:
    """A store that keeps what it is given."""

    def __init__(self) -> None:
        self.reports: list[tuple[int, AnyReport]] = []

    async def save(self, number: int, report: AnyReport) -> SaveResult:
        await trio.lowlevel.checkpoint()
        self.reports.append((number, report))
        return SaveResult(path=f"/captures/{file_name(number, report.tag, kind_of(report))}")


class Stalling:
    """A moment of a scenario."""

    step: str | None = "stalling"
    step_index: int | None = 2

    def __init__(self) -> None:
        self.elapsed_ms: Callable[[], float | None] = lambda: None


class Rig:
    """A coordinator with everything fake around it.

    Args:
        early: What is known of early captures.
        host: What is known of the host.
        view: The guest's memory.
        store: Where captures are saved; `Saved` when None.
        writer: Copies who wrote to a watched address.
    """

    def __init__(
        self,
        early: EarlyRecords = NO_EARLY,
        host: HostLog = NO_HOST,
        *,
        view: FakeView | None = None,
        store: Store | None = None,
        writer: CopyWriter = copy_writer,
    ) -> None:
        self.view = view or FakeView()
        self.engine = FakeEngine(self.view)
        self.collect = FakeCollect(self.engine)
        self.store = Saved()
        self.bridge = SnapshotBridge(no_capture)
        self.events: list[Event] = []
        self.now = Stalling()
        self.frozen = FrozenLog(clock_ns)
        self.coordinator = Coordinator(
            self.engine,
            self.emit,
            Copiers(self.collect, writer=writer),
            self.frozen,
            keeping=Keeping(store or self.store, self.bridge),
            beside=Beside(self.now, early, host),
        )

    def emit(self, event: Event) -> None:
        # A stop is over before anything of it is announced. A freeze, a user's or a debugger's, is announced while it
        # stands, and
        # the finisher and the end of the guest have nothing to do with a stop.
        if not isinstance(event, Logged | CaptureTaken | DualSaved | AlertRaised):
            stays = self.coordinator.frozen_reason is not None or self.coordinator.debug.holds
            assert self.engine.running or stays
        self.events.append(event)

    def of(self, kind: type[_E]) -> list[_E]:
        return [event for event in self.events if isinstance(event, kind)]

    def changes(self) -> list[tuple[str, str | None, int | None]]:
        return [(event.change, event.name, event.exit_kind) for event in self.of(SchedulerChanged)]

    def freeze_state(self) -> FreezeState:
        return self.coordinator.freeze_state

    def runs(self) -> bool:
        """Whether the guest runs."""
        return self.engine.running

    async def settle(self) -> None:
        """Let everything under way come to its end."""
        await wait_all_tasks_blocked()
        await self.coordinator.wait_captures_finished()

    async def attach(self) -> None:
        self.coordinator.memory_typed(cast("KernelView", self.view))
        await self.coordinator.armed.wait()
        await self.settle()


@asynccontextmanager
async def running(early: EarlyRecords = NO_EARLY) -> AsyncIterator[Rig]:
    rig = Rig(early)
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.coordinator.run)
        yield rig
        nursery.cancel_scope.cancel()
    assert rig.runs()
    assert not rig.coordinator.frozen
