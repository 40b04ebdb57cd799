"""The one task that owns the engine, and so every stop of the guest.

the task: wait for a hit or a request ─▶ guest stopped ─▶ read and copy ─▶ guest runs ─▶ emit
                                             │                                             └▶ finisher: render, save
                                             └ stays stopped, while frozen by a user: requests only

Watchpoint hits arrive here by themselves; everybody else puts a request in the queue and waits for the answer. That
makes the rendezvous serial without a lock: the next request is looked at only when the guest runs again (or a user
froze it), and a requester that is cancelled leaves nothing half done, because the work is not done in its
task.

Waiting for a hit is given up when a request comes, never the work itself. What a request fails with goes to its
requester; only the loss of the guest ends the task as well, and a guest that is stopped then is resumed.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from ktstr_tui.capture.finisher import Finisher
from ktstr_tui.capture.stop.guest_stop import GuestStop
from ktstr_tui.capture.stop.inspector import StopInspector
from ktstr_tui.capture.stop.rendezvous import Rendezvous, RendezvousTimeoutError, Stopwatch
from ktstr_tui.capture.stop.requests import Request, RequestQueue
from ktstr_tui.guest.engine import EngineLostError, Stop
from ktstr_tui.model.errors import GuestError, UsageError
from ktstr_tui.model.events import Event, Logged, Severity


class Owner:
    """Serves hits and requests, one after the other.

    Args:
        rendezvous: Stops and resumes; nobody else may use its engine.
        requests: What others want done.
        guest_stop: Stops the guest.
        inspector: Hears when no stop will come any more.
        finisher: Runs as long as this does.
        emit: Takes events.
    """

    def __init__(
        self,
        rendezvous: Rendezvous,
        requests: RequestQueue,
        guest_stop: GuestStop,
        inspector: StopInspector,
        finisher: Finisher,
        emit: Callable[[Event], object],
    ) -> None:
        self.serving = False
        """Whether a request is being carried out."""
        self.abandoned = 0
        """Requests whose requester was gone before their turn."""
        self.unexpected = 0
        """Stops that nobody waited for any more."""
        self._rendezvous = rendezvous
        self._requests = requests
        self._guest_stop = guest_stop
        self._inspector = inspector
        self._finisher = finisher
        self._emit = emit

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the engine until cancelled or until the guest is gone. A guest that is stopped then is resumed."""
        # Shielded: what the last stop leaves behind is to be finished too, so the finisher ends after it.
        finishing = trio.CancelScope(shield=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._finish, finishing)
            task_status.started()
            lost: GuestError | None = None
            try:
                while True:
                    await self._turn()
            except GuestError as error:
                lost = error
                self._requests.close(error)
                # How a guest ended is reported with the end of the run.
                severity: Severity = "info" if isinstance(error, EngineLostError) else "warning"
                self._emit(Logged(severity=severity, source="coordinator", text=error.message))
            finally:
                self._requests.close(GuestError("the run is ending"))
                try:
                    self._inspector.end(lost, self._rendezvous.log.now_ns())
                    await self._guest_stop.end()
                finally:
                    finishing.cancel()

    async def _finish(self, scope: trio.CancelScope) -> None:
        with scope:
            await self._finisher.run()

    async def _turn(self) -> None:
        request = self._requests.pop()
        if request is not None:
            await self._serve(request)
            return
        stops: list[Stop] = []

        async def wait() -> None:
            if self._rendezvous.stopped:
                await trio.sleep_forever()
            stops.append(await self._rendezvous.engine.wait_stop())

        await self._requests.idle(wait)
        for stop in stops:
            await self._on_stop(stop)

    async def _on_stop(self, stop: Stop) -> None:
        self._rendezvous.stopped_itself()
        if stop.reason != "watch" and not self._guest_stop.debugger.owns(stop):
            self.unexpected += 1
        async with self._guest_stop.block(Stopwatch(), stop):
            pass

    async def _serve(self, request: Request) -> None:
        if request.abandoned:
            self.abandoned += 1
            return
        self.serving = True
        try:
            await request.work(request)
        except (RendezvousTimeoutError, UsageError) as error:
            request.error = error
        except GuestError as error:
            request.error = error
            raise
        finally:
            self.serving = False
            request.done.set()
