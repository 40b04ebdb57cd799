"""The user's watchpoints: slots beside slot 0, each on what a C expression points to or on calls of a function.

::

    pending ──the expression leads somewhere──▶ armed ──too many hits──▶ paused
       ▲                                          │                        │
       ├──a pointer on the way became NULL────────┘                        │
       └──its user resumes it──────────────────────────────────────────────┘

    pending, armed ──the accelerator or the expression forbids it──▶ failed
    any state ──its user removes it, or it was for one hit──▶ removed

* pending: memory is not readable by type yet, or a pointer on the way is NULL.
* armed: every write stops the guest for as long as it takes to read what was written, and by whom.
* paused: there were more hits in a second than its budget allows, and only its user arms it again.
* calls of a function are never paused: above their budget they are counted and not told.
* failed: its detail says why; its slot can be used again.

A slot is taken, and an expression refused, at once and without waiting (`UserWatches.register`), because the
snapshot bridge promises so to whoever asks through it. Arming needs a stopped guest, so it is a request in the
coordinator's queue, like everything that uses the engine. What happens at stops is in `watch_stops`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict

from ktstr_tui.capture.memory import TypedMemory
from ktstr_tui.capture.stop.guest_stop import GuestStop
from ktstr_tui.capture.stop.requests import Request, RequestQueue
from ktstr_tui.capture.watch.watch_spec import Watch, WatchesStatistics, WatchSpec
from ktstr_tui.capture.watch.watch_stops import WatchStops
from ktstr_tui.capture.watch.watch_table import WatchTable
from ktstr_tui.kernel.expressions import ExpressionError, NullPointer
from ktstr_tui.kernel.functions import find_function
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.errors import KtstrError

__all__ = ["UserWatches", "WatchSpec", "WatchesStatistics"]


class UserWatches:
    """Sets, removes and resumes watches for users.

    Args:
        table: The watches.
        stops: Looks after those that are armed.
        memory: The guest's memory, once it is readable by type.
        requests: The coordinator's queue.
        guest_stop: Stops the guest.
    """

    def __init__(
        self,
        table: WatchTable,
        stops: WatchStops,
        memory: TypedMemory,
        requests: RequestQueue,
        guest_stop: GuestStop,
    ) -> None:
        self._table = table
        self._stops = stops
        self._memory = memory
        self._requests = requests
        self._guest_stop = guest_stop

    # -- what users ask --------------------------------------------------------------------------------

    async def add(self, spec: WatchSpec) -> int:
        """Set a watch; returns its slot once it is armed, or known to be pending.

        The watch is set even if the caller is cancelled meanwhile.

        Raises:
            UsageError: The expression is invalid, cannot be watched, or no slot is free.
            HostError: The accelerator has no debug register left.
            GuestError: The guest is gone, or did not stop in time.
        """
        slot = self.register(spec)
        await self.wait_settled(slot)
        return slot

    def register(
        self, spec: WatchSpec, released: Callable[[], None] | None = None, *, suggest: bool = True
    ) -> int:
        """Take a slot now, and arm it soon: the part of `add` that does not wait.

        Args:
            spec: What to watch.
            released: Called when the slot is given back, but not when this raises.
            suggest: Whether to look for names like an unknown one.

        Returns:
            The slot, for `wait_settled`.

        Raises:
            UsageError: As for `add`.
        """
        try:
            watch = self._take_slot(spec)
            if self._memory.view is not None:
                _compile(watch, self._memory.view, suggest=suggest)
        except KtstrError:
            self._stops.counts.refused += 1
            raise
        watch.released = released
        self._table.enter(watch)
        if self._leads_somewhere(watch):
            watch.settled = self._requests.submit(self._stopped(lambda: self._stops.settle(watch)))
        else:
            self._guest_stop.say(watch.changed())
        return watch.slot

    async def wait_settled(self, slot: int) -> None:
        """Wait until a watch that was registered is armed or pending; raises as `add` does."""
        watch = self._table.find(slot)
        if watch is None or watch.settled is None:
            return
        await watch.settled.done.wait()
        error = watch.settled.error or watch.error
        if error is not None:
            if self._table.holds(watch):
                self._guest_stop.say(self._table.drop(watch, "it could not be set"))
            raise error

    async def remove(self, slot: int) -> bool:
        """Take a watch away; False when there is none in that slot.

        Raises:
            UsageError: That slot is not the user's.
            GuestError: The guest is gone.
        """
        watch = self._table.find(slot)
        if watch is None:
            return False

        async def take_away() -> None:
            # First, so that the look at this very stop does not arm it again.
            watch.state = "removed"
            await self._stops.disarm(watch)

        async def work(request: Request) -> None:
            if watch.address is not None:
                await self._guest_stop.run(take_away)
            if self._table.holds(watch):
                self._guest_stop.say(self._table.drop(watch, "as asked"))
                request.changed = True

        return await self._requests.call(work)

    async def resume(self, slot: int) -> bool:
        """Arm a watch again that was paused; False when it was not.

        Raises:
            UsageError: That slot is not the user's.
            HostError: The accelerator has no debug register left.
            GuestError: The guest is gone.
        """
        watch = self._table.find(slot)
        if watch is None or watch.state != "paused":
            return False
        watch.refill()
        watch.state, watch.detail = "pending", ""
        await self._requests.call(self._stopped(lambda: self._stops.settle(watch)))
        if watch.error is not None:
            raise watch.error
        return True

    def drops(self) -> dict[str, int]:
        """Return what was lost so far, by reason."""
        counts = self._stops.counts
        return {
            "captures-skipped": counts.captures_skipped,
            "hits-found-late": counts.swallowed,
            "values-unreadable": counts.read_failures,
            "pauses": counts.pauses,
            "calls-untold": counts.calls_untold,
            "refused": counts.refused,
        }

    def statistics(self) -> WatchesStatistics:
        """Counters so far."""
        armed = sum(watch.state == "armed" for watch in self._table)
        return WatchesStatistics(slots_taken=len(self._table), armed=armed, **asdict(self._stops.counts))

    def memory_typed(self, view: KernelView) -> None:
        """Compile what waited for memory that is readable by type; it is armed at the next stop."""
        for watch in self._table:
            try:
                _compile(watch, view, suggest=True)
            except KtstrError as error:
                self._stops.counts.refused += 1
                self._guest_stop.say(watch.fail(error))
                watch.release()

    # -- the rest --------------------------------------------------------------------------------------

    def _stopped(self, work: Callable[[], Awaitable[None]]) -> Callable[[Request], Awaitable[None]]:
        async def serve(request: Request) -> None:
            await self._guest_stop.run(work)

        return serve

    def _take_slot(self, spec: WatchSpec) -> Watch:
        spec = self._table.check(spec)
        slot, failed = self._table.free_slot()
        if failed is not None:
            self._guest_stop.say(self._table.drop(failed, "its slot was reused"))
        return self._table.make(slot, spec)

    def _leads_somewhere(self, watch: Watch) -> bool:
        """Whether the expression can be armed at once; notes why not."""
        view = self._memory.view
        if not watch.found or view is None:
            return False
        try:
            watch.locate(view)
        except (NullPointer, MemoryReadError, ExpressionError) as problem:
            watch.detail = problem.message
            return False
        return True


def _compile(watch: Watch, view: KernelView, *, suggest: bool) -> None:
    if watch.spec.function is not None:
        watch.function = find_function(view.btf, view.symbols, watch.spec.function, suggest=suggest)
        return
    location = view.expressions.compile(watch.spec.expression, suggest=suggest)
    watch.location = location
    if not location.moves:
        address = watch.locate(view)
        try:
            view.fresh_space().read(address, watch.spec.length_bytes)
        except MemoryReadError as problem:
            raise ExpressionError(f"{watch.spec.expression}: {problem.message}") from problem
