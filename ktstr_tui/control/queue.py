"""The loop's queue of events: bounded, with three ways in and a typed refusal for each way of not getting in.

A flood of samples or text must not push out the one event that an action waits for. So events that the next of their
kind makes up for are refused at `capacity`, all others only at `capacity` and `reserve`; the order stays one.
"""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

import msgspec
import trio

from ktstr_tui.model import events as ev
from ktstr_tui.model.errors import HostError

CAPACITY = 1024
RESERVE = 1024
REPLACEABLE = (
    ev.Sampled, ev.OutputText, ev.Logged, ev.WorkersReported, ev.FramesCounted, ev.DropsCounted, ev.BackendBeat,
    ev.TasksMeasured, ev.TasksListed, ev.TraceRead, ev.BeatsObserved, ev.BeatRefused, ev.WatchpointHit, ev.ProbeRead,
    ev.ProbeFailed, ev.SchedulerValuesRead,
)  # fmt: skip
"""The next event of the kind makes up for a lost one, or no decision rests on it."""


class QueueFullError(HostError):
    """The loop is behind, and its queue takes no more of these."""


class LoopClosedError(HostError):
    """The loop has ended."""


class Shutdown(msgspec.Struct, frozen=True):
    """Ends the loop at its place in the queue; what is behind it is not looked at."""


Input: TypeAlias = ev.Event | Shutdown


class EventQueue:
    """Events on their way to the loop, in order.

    Args:
        capacity: How many events there may be before those that can be done without are refused.
        reserve: How many more of the others there may be.
    """

    def __init__(self, capacity: int = CAPACITY, reserve: int = RESERVE) -> None:
        self._waiting: deque[Input] = deque()
        self._capacity = capacity
        self._most = capacity + reserve
        self._handles = 0
        self._closed = False
        self._filled = trio.Event()
        self._room = trio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def finished(self) -> bool:
        """Whether nothing is in it and nothing can come any more."""
        return not self._waiting and not self._handles

    def opened(self) -> None:
        """Count one more handle."""
        self._handles += 1

    def released(self) -> None:
        """Count one handle less; the last one wakes the loop up."""
        self._handles -= 1
        if not self._handles:
            self.wake()

    def close(self) -> None:
        """Take nothing more, because nobody takes anything out any more."""
        self._closed = True
        self._waiting.clear()
        self._room.set()

    def offer(self, item: Input) -> None:
        """Put something in without waiting.

        Raises:
            QueueFullError: It is full for events of this kind.
            LoopClosedError: The loop has ended.
        """
        waiting = self._waiting
        if self._closed:
            raise LoopClosedError("the control loop has ended")
        count = len(waiting)
        if count >= self._capacity and (count >= self._most or isinstance(item, REPLACEABLE)):
            raise QueueFullError("the control loop is behind and its queue is full", "try again in a moment")
        waiting.append(item)
        if not count:
            self._filled.set()

    async def put(self, item: Input) -> None:
        """Put something in, and wait for room if need be.

        Raises:
            LoopClosedError: The loop has ended.
        """
        while True:
            if len(self._waiting) < self._capacity or self._closed:
                self.offer(item)
                return
            self._room = self._room if not self._room.is_set() else trio.Event()
            await self._room.wait()

    def take(self) -> Input | None:
        """Take the oldest one; None when there is nothing."""
        if not self._waiting:
            return None
        item = self._waiting.popleft()
        if len(self._waiting) < self._capacity:
            self._room.set()
        return item

    def wake(self) -> None:
        """Let `wait` return."""
        self._filled.set()

    async def wait(self) -> None:
        """Wait until there is something, or until somebody wakes the waiter."""
        await self._filled.wait()

    def rest(self) -> None:
        """Get ready to wait for what comes next."""
        if self._filled.is_set() and not self._waiting:
            self._filled = trio.Event()


class LoopHandle:
    """A way to the loop; it ends when the last handle is closed.

    Args:
        queue: Of the loop.
    """

    def __init__(self, queue: EventQueue) -> None:
        self._queue = queue
        self._open = True
        queue.opened()

    def clone(self) -> LoopHandle:
        """One more handle of the same loop."""
        return LoopHandle(self._queue)

    def close(self) -> None:
        """Give this handle up."""
        if self._open:
            self._open = False
            self._queue.released()

    async def publish(self, item: Input) -> None:
        """Hand an event to the loop, and wait while its queue is full.

        Raises:
            LoopClosedError: The loop has ended, or this handle is closed.
        """
        self._require_open()
        await self._queue.put(item)

    async def publish_timeout(self, item: Input, timeout_s: float) -> None:
        """Hand an event to the loop, and wait for so long at most.

        Raises:
            QueueFullError: There was no room in time.
            LoopClosedError: The loop has ended, or this handle is closed.
        """
        self._require_open()
        with trio.move_on_after(timeout_s) as patience:
            await self._queue.put(item)
        if patience.cancelled_caught:
            raise QueueFullError(f"the control loop was behind for {timeout_s:g} s", "try again in a moment")

    def publish_nowait(self, item: Input) -> None:
        """Hand an event to the loop without waiting.

        Raises:
            QueueFullError: There is no room.
            LoopClosedError: The loop has ended, or this handle is closed.
        """
        self._require_open()
        self._queue.offer(item)

    def _require_open(self) -> None:
        if not self._open:
            raise LoopClosedError("this way to the control loop is closed")
