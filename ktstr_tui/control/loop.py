"""The control loop: takes every event in order, and decides once per tick.

What the hard part is: neither side may starve the other. Ticks go first, so a flood of events does not stop
decisions; after each tick as many as `AFTER_TICK` events that wait already are taken, so a slow tick does not stop
events.

A tick is: one reading of the clocks, probes, recovery handlers, the word of it (`Ticked`), the fold of all that, the
decisions, the snapshot. Nothing in it reads a clock again, and the state before it is in the word of it as a
checksum, so `replay` can prove that a recording gives the same state and the same decisions.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Protocol

import msgspec
import trio

from ktstr_tui.control.fold import fold, fold_tick
from ktstr_tui.control.fold_actions import note_emitted
from ktstr_tui.control.ledger import Ledger
from ktstr_tui.control.probes import Probes
from ktstr_tui.control.queue import (
    CAPACITY,
    RESERVE,
    EventQueue,
    LoopClosedError,
    LoopHandle,
    QueueFullError,
    Shutdown,
)
from ktstr_tui.control.reconcile import decide
from ktstr_tui.control.recovery import Recovery
from ktstr_tui.control.rings import Rings
from ktstr_tui.control.snapshot import SnapshotCell, SnapshotReader
from ktstr_tui.control.snapshots import Recent, make_snapshot
from ktstr_tui.control.state import LoopState
from ktstr_tui.control.ticker import Ticker
from ktstr_tui.model import events as ev
from ktstr_tui.model.control import ControlPlan, PendingAction

AFTER_TICK = 32
"""Events that wait already and are taken after a tick, at most."""


class Taker(Protocol):
    """Takes actions from the loop: the executor."""

    def submit(self, pending: PendingAction) -> None:
        """Take an action over, or say and count that it is dropped."""
        ...


class LoopStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of the loop."""

    ticks: int
    reconciles: int
    folded: int
    lost: int
    """Events that its full queue refused."""
    waiting: int


class ControlLoop:
    """One loop of one run. Single use.

    Args:
        plan: What the run was started with.
        ticker: When to tick, and what time it is then.
        emit: Puts the loop's own events on the stream.
        taker: Takes actions.
        ledger: Keeps where each action is; shared with the taker.
        rings: Keep what failed and what was said; shared with the taker.
        queue: Of events.
    """

    def __init__(
        self,
        plan: ControlPlan,
        ticker: Ticker,
        emit: Callable[[ev.Event], object],
        taker: Taker,
        *,
        ledger: Ledger,
        rings: Rings | None = None,
        queue: EventQueue | None = None,
    ) -> None:
        self._ticker, self._emit, self._taker, self._ledger = ticker, emit, taker, ledger
        self._rings = Rings() if rings is None else rings
        self._queue = EventQueue(CAPACITY, RESERVE) if queue is None else queue
        # A whole number in the place of a fraction would come back from a recording as a fraction.
        self._plan = msgspec.convert(msgspec.to_builtins(plan), ControlPlan)
        self._state = LoopState()
        self.run_epoch_id = secrets.randbits(63)
        """Random per start, so that a reader knows a restarted loop."""
        self.probes = Probes()
        """What it looks at by itself."""
        self.recovery = Recovery()
        """What is put right before it decides."""
        self._recent = Recent()
        self._lost: list[tuple[int, int]] = []
        self._lost_count = self._reconciles = self._folded = 0
        self._due = False
        self._ticked = trio.Event()
        self._cell = SnapshotCell(make_snapshot(self._state, self.run_epoch_id, (), ledger, self._rings))

    def handle(self) -> LoopHandle:
        """A way to publish events; the loop ends when all of them are closed."""
        return LoopHandle(self._queue)

    def reader(self) -> SnapshotReader:
        """A way to read what the loop published last."""
        return SnapshotReader(self._cell)

    def feed(self, handle: LoopHandle) -> Callable[[ev.Event, bytes], None]:
        """A sink for the stream that hands every event on, and keeps the numbers of those that were refused."""

        def take(event: ev.Event, data: bytes) -> None:
            try:
                handle.publish_nowait(event)
            except QueueFullError:
                self._lose(event.seq)
            except LoopClosedError:
                return  # it has ended, as it was asked to

        return take

    def has_lost(self, seq: int) -> bool:
        """Whether an event since the newest tick was refused."""
        return any(first <= seq <= last for first, last in self._lost)

    async def run(self) -> int:
        """Take events and decide until shut down or until the last handle is closed.

        Returns:
            How often it decided.
        """
        self._emit(ev.LoopStarted(run_epoch_id=self.run_epoch_id, plan=self._plan))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tick_on_time)
                await self._select()
                nursery.cancel_scope.cancel()
        finally:
            self._queue.close()
        return self._reconciles

    def drops(self) -> dict[str, int]:
        """Return what was lost so far, by reason."""
        return {"events-lost": self._lost_count, **self.probes.drops(), **self.recovery.drops()}

    def statistics(self) -> LoopStatistics:
        """Counters so far."""
        return LoopStatistics(
            ticks=self._state.tick,
            reconciles=self._reconciles,
            folded=self._folded,
            lost=self._lost_count,
            waiting=len(self._queue),
        )

    # -- inside ----------------------------------------------------------------------------------------

    async def _tick_on_time(self) -> None:
        while True:
            await self._ticker.wait()
            self._due = True
            self._ticked = trio.Event()
            self._queue.wake()
            await self._ticked.wait()

    async def _select(self) -> None:
        while True:
            await trio.lowlevel.checkpoint()
            if self._due:
                await self._tick()
                self._due = False
                self._ticked.set()
            if self._take(AFTER_TICK) or self._queue.finished:
                return
            if not len(self._queue) and not self._due:
                self._queue.rest()
                await self._queue.wait()

    def _take(self, most: int) -> bool:
        """Fold what waits; True when the loop is to end."""
        state, queue = self._state, self._queue
        for _ in range(most):
            item = queue.take()
            if item is None:
                return False
            if isinstance(item, Shutdown):
                return True
            fold(state, item)
            self._folded += 1
            if isinstance(item, ev.Logged):
                self._rings.say(item.severity, f"{item.source}: {item.text}", item.mono_ns)
        return False

    async def _tick(self) -> None:
        state, time = self._state, self._ticker.read()
        tick = state.tick + 1
        reads = await self.probes.poll(tick, time.now_ns)
        reads += await self.recovery.run(tick)
        for read in reads:
            self._emit(read)
            if isinstance(read, ev.ProbeFailed):
                self._rings.fail(read.probe, read.reason, time.now_ns)
        lost, self._lost = tuple(self._lost), []
        word = ev.Ticked(
            tick=tick,
            now_ns=time.now_ns,
            folded_seq=state.folded_seq,
            lost=lost,
            frozen_ns=time.frozen_ns,
            scenario_ns=time.scenario_ns,
            state_crc=state.crc(),
        )
        self._emit(word)
        phase, held = state.phase, state.hold
        fold_tick(state, word, reads)
        if held is not None and state.hold is None:
            self._emit(ev.HoldChanged(held=False, by=held.by, reason="it was for a limited time"))
        self._decide()
        if state.phase != phase:
            self._emit(ev.RunPhaseChanged(phase=state.phase))
        self._cell.publish(
            make_snapshot(state, self.run_epoch_id, self._recent.newest(), self._ledger, self._rings)
        )

    def _decide(self) -> None:
        self._reconciles += 1
        for pending in decide(self._state):
            note_emitted(self._state, pending)
            self._recent.add(pending)
            self._taker.submit(pending)

    def _lose(self, seq: int) -> None:
        self._lost_count += 1
        if self._lost and self._lost[-1][1] == seq - 1:
            self._lost[-1] = (self._lost[-1][0], seq)
        else:
            self._lost.append((seq, seq))
