"""The loop around observers: wakes when datagrams come and looks for silences at a steady rate.

A look that would state a silence is preceded by a drain: every socket is read until it is empty, or until more was
taken than can have been waiting when the look began. A flood therefore neither hides a sender's beat from the look
nor holds it off, and costs the looks that have nothing to state no time. What comes from elsewhere (the guest's
port) is drained by a function of the caller's.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import trio

from ktstr_tui.heartbeat.metrics import histogram
from ktstr_tui.heartbeat.observer import BATCH, Observer

TICK_S: Final = 0.05
"""Time between two looks."""
BUDGET_S: Final = 0.25
"""What one look may take, drain included, before it is counted as over its budget."""
UNBOUNDED_QUEUE: Final = 8192
"""What is taken to wait in a queue that is bounded by bytes."""


class Ingress(Protocol):
    """A socket that gives datagrams to an observer."""

    sock: socket.socket
    queue_length: int | None

    def receive(self) -> int:
        """Take a batch. Returns how many datagrams left the socket."""
        ...


async def _nothing() -> None:
    await trio.lowlevel.checkpoint()


class BeatLoop:
    """Runs observers.

    Args:
        observers: Who is to look.
        sockets: Where datagrams come from.
        drain_others: Takes what has come by other ways.
        after_look: Called after each look, when all silences are stated.
        tick_s: Time between two looks.
        clock: For measuring how long a look takes, in nanoseconds.
        sleep: Waits by the clock of those who beat; None for the host's.
    """

    def __init__(
        self,
        observers: Sequence[Observer],
        sockets: Sequence[Ingress] = (),
        *,
        drain_others: Callable[[], Awaitable[None]] = _nothing,
        after_look: Callable[[], None] = lambda: None,
        tick_s: float = TICK_S,
        clock: Callable[[], int] = time.perf_counter_ns,
        sleep: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        self.iterations = 0
        self.over_budget = 0
        iterations, stages = (
            histogram("varta_observer_iteration_seconds"),
            histogram("varta_observer_stage_seconds"),
        )
        self.histograms = (iterations, stages)
        """How long the looks took, and each of their stages."""
        self._iteration = iterations
        self._drain, self._poll, self._maintenance = (
            stages.labels(name) for name in ("drain_pending", "poll", "maintenance")
        )
        self._observers = observers
        self._sockets = sockets
        self._drain_others = drain_others
        self._after_look = after_look
        self._tick_s = tick_s
        self._clock = clock
        self._sleep = sleep

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled."""
        async with trio.open_nursery() as nursery:
            for ingress in self._sockets:
                nursery.start_soon(self._pump, ingress)
            task_status.started()
            while self._sleep is not None:
                await self._sleep(self._tick_s)
                await self.look()
            deadline = trio.current_time()
            while True:
                deadline += self._tick_s
                if deadline < trio.current_time():  # not made up for: looks keep their distance
                    deadline = trio.current_time() + self._tick_s
                await trio.sleep_until(deadline)
                await self.look()

    async def look(self) -> None:
        """Let the observers look, after a drain when one of them is about to state a silence."""
        started_ns = self._clock()
        if any(observer.is_due() for observer in self._observers):
            self.drain()
            await self._drain_others()
        drained_ns = self._clock()
        for observer in self._observers:
            observer.look()
        looked_ns = self._clock()
        self._after_look()
        ended_ns = self._clock()
        self.iterations += 1
        self._drain.observe((drained_ns - started_ns) / 1e9)
        self._poll.observe((looked_ns - drained_ns) / 1e9)
        self._maintenance.observe((ended_ns - looked_ns) / 1e9)
        self._iteration.observe((ended_ns - started_ns) / 1e9)
        self.over_budget += ended_ns - started_ns > BUDGET_S * 1e9

    def drain(self) -> int:
        """Take everything that waits in the sockets now. Returns how much that was."""
        total = 0
        for ingress in self._sockets:
            most = 2 * BATCH + 2 * (ingress.queue_length or UNBOUNDED_QUEUE)
            taken = 0
            while taken < most and (batch := ingress.receive()):
                taken += batch
            total += taken
        return total

    async def _pump(self, ingress: Ingress) -> None:
        while True:
            await trio.lowlevel.wait_readable(ingress.sock)
            ingress.receive()
