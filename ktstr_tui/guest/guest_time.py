"""The time by which a run judges: the host's, or in a run with a seed the guest's.

In a run with a seed a busy host must neither raise an alarm nor move a sample. So everything that waits for a while or
judges how long something took does it on a `RunTime`. `GuestTime` stands between two stations of the machine; at each
one it is set, and whoever waited for that instant is woken, one after the other in the order of their instants, each
only when all that the one before has set going has come to rest. So what happens at a station does not depend on how
fast the host is.

While a person has frozen the guest `GuestTime` goes with the host's clock, or a thaw would wait for ever for the tick
that decides on it. So from then on it is ahead of the guest's clock by as long as the guest stood, as the host's clock
would be, and whoever judges subtracts that (`FrozenLog`).
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import trio

START_NS: Final = 1_000_000_000
"""What `GuestTime` shows before the machine starts; not 0, which is no time."""
STANDING_LOOK_S: Final = 0.05
STUCK_S: Final = 5.0
"""Seconds of the host without any of the guest's, from which on nobody who asks for something waits for it."""
THREAD_LOOK_S: Final = 0.001


class RunTime(Protocol):
    """Tells and waits for the time of a run."""

    def now_ns(self) -> int:
        """The time in nanoseconds; never goes back."""
        ...

    def now_s(self) -> float:
        """The time in seconds, from another beginning."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    async def sleep_hastily(self, seconds: float) -> None:
        """Wait, but no longer than until the guest waits for whoever waits."""
        ...


class HostTime:
    """The host's monotonic clock."""

    def now_ns(self) -> int:
        """The time in nanoseconds."""
        return time.monotonic_ns()

    def now_s(self) -> float:
        """The time in seconds, on trio's clock."""
        return trio.current_time()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await trio.sleep(seconds)

    async def sleep_hastily(self, seconds: float) -> None:
        """Wait; the guest's clock goes on by itself."""
        await trio.sleep(seconds)


class GuestTime:
    """The guest's clock, as far as the stations of its machine have told it."""

    def __init__(self) -> None:
        self._now_ns = START_NS
        self._stood_ns = 0
        self._sleepers: list[tuple[int, int, trio.Event]] = []
        self._hasty: set[trio.Event] = set()
        self._numbers = itertools.count()

    def now_ns(self) -> int:
        """The time in nanoseconds."""
        return self._now_ns

    def now_s(self) -> float:
        """The time in seconds."""
        return self._now_ns / 1e9

    def guest_ns(self) -> int:
        """The same without the time for which the guest stood while a person had frozen it."""
        return self._now_ns - self._stood_ns

    async def sleep(self, seconds: float) -> None:
        """Wait until a station at which so much of the guest's time has gone by."""
        await self._sleep(seconds, hasty=False)

    async def sleep_hastily(self, seconds: float) -> None:
        """Wait as `sleep` does, but no longer than until `hasten` is called."""
        await self._sleep(seconds, hasty=True)

    def hasten(self) -> None:
        """Wake whoever waits hastily: the guest waits for what they do, and its clock stands until it is done."""
        for event in self._hasty:
            event.set()

    async def hasten_when_stuck(self) -> None:
        """Hasten whenever the time has stood for a while, until cancelled.

        QEMU may hang, or somebody has stopped it: then who asks for the end of the run must not wait for the guest.
        """
        while True:
            before_ns = self._now_ns
            await trio.sleep(STUCK_S)
            if self._now_ns == before_ns:
                self.hasten()

    async def _sleep(self, seconds: float, *, hasty: bool) -> None:
        if seconds <= 0:
            await trio.lowlevel.checkpoint()
            return
        entry = (self._now_ns + round(seconds * 1e9), next(self._numbers), trio.Event())
        heapq.heappush(self._sleepers, entry)
        if hasty:
            self._hasty.add(entry[2])
        try:
            await entry[2].wait()
        finally:
            self._hasty.discard(entry[2])
            if entry in self._sleepers:
                self._sleepers.remove(entry)
                heapq.heapify(self._sleepers)

    def note(self, guest_ns: int) -> None:
        """Show a later time without waking anybody: the machine is held between two stations.

        Args:
            guest_ns: What the guest's clock shows, which has not gone on while the guest was frozen.
        """
        self._now_ns = max(self._now_ns, guest_ns + self._stood_ns)

    async def wake(self, rest: Callable[[], Awaitable[None]]) -> None:
        """Wake whoever waited for the time that is shown.

        Args:
            rest: Returns when all that was set going has come to rest.
        """
        while self._sleepers and self._sleepers[0][0] <= self._now_ns:
            heapq.heappop(self._sleepers)[2].set()
            await rest()

    async def go_with_host(self, stands: Callable[[], bool]) -> None:
        """Go with the host's clock while nothing in the guest moves, until cancelled.

        Args:
            stands: Whether it is so now.
        """
        before_s = trio.current_time()
        while True:
            await trio.sleep(STANDING_LOOK_S)
            now_s = trio.current_time()
            if stands():
                passed_ns = round((now_s - before_s) * 1e9)
                self._stood_ns += passed_ns
                self._now_ns += passed_ns
                await self.wake(trio.lowlevel.checkpoint)
            before_s = now_s


async def come_to_rest(busy: Callable[[], bool] = lambda: False) -> None:
    """Return when every task waits for something outside, and nobody is at work for one.

    Args:
        busy: Whether somebody else than a worker thread is.
    """
    from trio.testing import wait_all_tasks_blocked  # noqa: PLC0415 - loads pytest where that is installed

    while True:
        await wait_all_tasks_blocked()
        if not trio.to_thread.current_default_thread_limiter().borrowed_tokens and not busy():
            return
        await trio.sleep(THREAD_LOOK_S)


async def sleep_or(event: trio.Event, sleep: Callable[[float], Awaitable[None]], seconds: float) -> None:
    """Wait until an event is set, but not for longer than ``seconds`` of the time of ``sleep``."""

    async def until_set() -> None:
        await event.wait()
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(until_set)
        await sleep(seconds)
        nursery.cancel_scope.cancel()
