"""The coordinator's queue: work that others want done by the task that owns the engine.

A requester waits for its answer and may be cancelled meanwhile. Its turn is then skipped; if the work is
already under way it is finished, and the work itself looks at ``abandoned`` and undoes what a cancelled
requester can no longer observe.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from ktstr_tui.model.errors import HostError, KtstrError

MAX_PENDING = 32
"""Requests that may wait; more are refused and counted."""


@dataclass(eq=False, slots=True)
class Request:
    """One piece of work and its outcome."""

    work: Callable[[Request], Awaitable[None]]
    done: trio.Event = field(default_factory=trio.Event)
    error: KtstrError | None = None
    changed: bool = False
    """Whether the work changed anything."""
    abandoned: bool = False
    """Whether the requester is gone."""


class RequestQueue:
    """Requests in order, and what the owning task does between them."""

    def __init__(self) -> None:
        self.refused = 0
        self._queue: deque[Request] = deque()
        self._idle: trio.CancelScope | None = None
        self._closed: KtstrError | None = None

    def __len__(self) -> int:
        """Requests that wait for their turn."""
        return len(self._queue)

    @property
    def closed(self) -> bool:
        """Whether the queue is not served any more."""
        return self._closed is not None

    def submit(self, work: Callable[[Request], Awaitable[None]]) -> Request:
        """Queue work without waiting for it. The program's own requests are not refused."""
        request = Request(work)
        if self._closed is not None:
            request.error = self._closed
            request.done.set()
            return request
        self._queue.append(request)
        if self._idle is not None:
            self._idle.cancel()
        return request

    async def call(
        self,
        work: Callable[[Request], Awaitable[None]],
        undo: Callable[[Request], Awaitable[None]] | None = None,
    ) -> bool:
        """Queue work and wait until it is done; returns whether it changed anything.

        Args:
            work: What to do in the task that owns the engine.
            undo: Queued when the caller is cancelled after ``work`` changed something.

        Raises:
            HostError: Too many requests wait already.
            KtstrError: What the work failed with, or why the queue is closed.
        """
        if len(self._queue) >= MAX_PENDING:
            self.refused += 1
            raise HostError(f"{MAX_PENDING} requests are already waiting for the guest", "ask less often")
        request = self.submit(work)
        try:
            await request.done.wait()
        except trio.Cancelled:
            request.abandoned = True
            if undo is not None and request.changed and request.done.is_set():
                self.submit(undo)
            raise
        if request.error is not None:
            raise request.error
        return request.changed

    def pop(self) -> Request | None:
        """The next request, if one waits."""
        return self._queue.popleft() if self._queue else None

    async def idle(self, wait: Callable[[], Awaitable[None]]) -> None:
        """Run ``wait`` until it ends or a request comes, whichever is first."""
        with trio.CancelScope() as self._idle:
            await wait()
        self._idle = None

    def close(self, reason: KtstrError) -> None:
        """Fail what waits and what will come."""
        self._closed = self._closed or reason
        while self._queue:
            request = self._queue.popleft()
            request.error = self._closed
            request.done.set()
