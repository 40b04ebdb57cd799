"""Asks for a stop when memory of the running guest shows something that no hit has reported."""

from __future__ import annotations

from collections.abc import Callable

import trio

from ktstr_tui.capture.stop.follow import SchedulerWatch
from ktstr_tui.capture.stop.guest_stop import GuestStop
from ktstr_tui.capture.stop.inspector import NO_STOP, StopInspector
from ktstr_tui.capture.stop.rendezvous import Stopwatch
from ktstr_tui.capture.stop.requests import Request, RequestQueue
from ktstr_tui.model.errors import GuestError

POLL_S = 0.01
"""How often memory is looked at in place of slot 0 while it is not armed; one look takes some microseconds."""


class Poller:
    """Requests looks of the inspector, one at a time.

    Args:
        guest_stop: Stops the guest.
        requests: The coordinator's queue.
        inspector: Knows what is worth a stop.
        clock: Host monotonic clock, in nanoseconds.
    """

    def __init__(
        self,
        guest_stop: GuestStop,
        requests: RequestQueue,
        inspector: StopInspector,
        clock: Callable[[], int],
    ) -> None:
        self._guest_stop = guest_stop
        self._requests = requests
        self._inspector = inspector
        self._clock = clock
        self._pending = False

    def submit(self) -> None:
        """Ask for a stop and a look."""
        self._pending = True
        self._requests.submit(self._do_look)

    def poll(self) -> None:
        """Ask for a look if one is due and none was asked for yet."""
        if not self._pending and not self._requests.closed and self._inspector.is_due():
            self.submit()

    async def run(self, scheduler: SchedulerWatch, poll: Callable[[], None]) -> None:
        """Call ``poll`` again and again while slot 0 is not armed, until cancelled."""
        # From the write of exit_kind to the end of a scheduler it may be less than a sample.
        while True:
            await scheduler.unarmed.wait()
            poll()
            await trio.sleep(POLL_S)

    async def _do_look(self, request: Request) -> None:
        self._pending = False
        timer, asked_ns = Stopwatch(), self._clock()
        try:
            async with self._guest_stop.block(timer) as jobs:
                if self._guest_stop.stays:
                    # The guest was stopped already, so that no stop brings a look with it.
                    jobs.extend(await self._inspector.look(NO_STOP, timer))
        except GuestError as error:
            self._inspector.missed(error, asked_ns)
            raise
