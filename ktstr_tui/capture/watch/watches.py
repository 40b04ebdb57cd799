"""The user's watchpoints: slots 1 to 3 beside slot 0, each on what a C expression points to.

pending ──▶ armed ──▶ paused │ pending: memory is not typed yet, or a pointer on the way is NULL. armed: every
write stops the guest for as long as it takes to read what was written, and by whom. paused: there were more
hits in a second than its budget allows, and only its user sets it again. failed: the host or the expression
forbids it, for a reason that is told; its slot can be used again.

A slot is taken, and an expression refused, at once and without waiting (`UserWatches.register`), because the
snapshot bridge promises so to whoever asks through it. Arming needs a standing guest, so it is a request in the
coordinator's queue, like everything that touches the stub. What happens at stops is in `watch_stops`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from ktstr_tui.capture.stop.rendezvous import Rendezvous
from ktstr_tui.capture.stop.requests import Request, RequestQueue
from ktstr_tui.capture.watch.slots import HitBudget
from ktstr_tui.capture.watch.watch_spec import (
    SLOTS,
    CaptureHit,
    CopyWriter,
    RawHit,
    Watch,
    WatchesStatistics,
    WatchSpec,
)
from ktstr_tui.capture.watch.watch_stops import WatchStops
from ktstr_tui.guest.engine import Stop
from ktstr_tui.kernel.expressions import ExpressionError, NullPointer
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.model.errors import KtstrError, UsageError
from ktstr_tui.model.events import Event

__all__ = ["UserWatches", "WatchPort", "WatchSpec", "WatchesStatistics"]


@dataclass(frozen=True, slots=True)
class WatchPort:
    """What the coordinator does for the watches."""

    say: Callable[[Event], object]
    """Takes events at any time."""
    stand: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]
    """Runs something while the guest stands, in the task that owns the stub."""
    copy_writer: CopyWriter
    clock: Callable[[], int]
    """Host monotonic clock, in nanoseconds."""


class UserWatches:
    """Slots 1 to 3.

    Args:
        rendezvous: Reaches the stub.
        requests: The coordinator's queue.
        hooks: What the coordinator does for the watches.
    """

    def __init__(self, rendezvous: Rendezvous, requests: RequestQueue, hooks: WatchPort) -> None:
        self._requests = requests
        self._hooks = hooks
        self._view: Any = None
        self._watches: dict[int, Watch] = {}
        self._stops = WatchStops(rendezvous, hooks.copy_writer, hooks.clock, self._drop)

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
            if self._view is not None:
                self._compile(watch, suggest=suggest)
        except KtstrError:
            self._stops.counts.refused += 1
            raise
        watch.released = released
        self._watches[watch.slot] = watch
        if self._leads_somewhere(watch):
            watch.settled = self._requests.submit(self._standing(lambda: self._settle(watch)))
        else:
            self._hooks.say(watch.changed())
        return watch.slot

    async def wait_settled(self, slot: int) -> None:
        """Wait until a watch that was registered is armed or pending; raises as `add` does."""
        watch = self._watches.get(slot)
        if watch is None or watch.settled is None:
            return
        await watch.settled.done.wait()
        error = watch.settled.error or watch.error
        if error is not None:
            if self._watches.get(slot) is watch:
                self._hooks.say(self._drop(watch, "it could not be set"))
            raise error

    async def remove(self, slot: int) -> bool:
        """Take a watch away; False when there is none in that slot.

        Raises:
            UsageError: That slot is not the user's.
            GuestError: The guest is gone.
        """
        watch = self._find(slot)
        if watch is None:
            return False

        async def take_away() -> None:
            # First, so that the look at this very stop does not arm it again.
            watch.state = "removed"
            await self._stops.disarm(watch)

        async def work(request: Request) -> None:
            if watch.address is not None:
                await self._hooks.stand(take_away)
            if self._watches.get(slot) is watch:
                self._hooks.say(self._drop(watch, "as asked"))
                request.changed = True

        return await self._requests.call(work)

    async def resume(self, slot: int) -> bool:
        """Arm a watch again that was paused; False when it was not.

        Raises:
            UsageError: That slot is not the user's.
            HostError: The accelerator has no debug register left.
            GuestError: The guest is gone.
        """
        watch = self._find(slot)
        if watch is None or watch.state != "paused":
            return False
        watch.refill()
        watch.state, watch.detail = "pending", ""
        await self._requests.call(self._standing(lambda: self._settle(watch)))
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
            "refused": counts.refused,
        }

    def statistics(self) -> WatchesStatistics:
        """Counters so far."""
        armed = sum(watch.state == "armed" for watch in self._watches.values())
        return WatchesStatistics(slots_taken=len(self._watches), armed=armed, **asdict(self._stops.counts))

    # -- what the coordinator asks ---------------------------------------------------------------------

    def attach(self, view: Any) -> None:  # noqa: ANN401
        """Memory is readable by type: what waited for that is compiled now and armed at the next stop."""
        self._view = view
        for watch in self._watches.values():
            try:
                self._compile(watch, suggest=True)
            except KtstrError as error:
                self._stops.counts.refused += 1
                self._hooks.say(watch.fail(error))
                self._release(watch)

    def poll(self) -> bool:
        """Whether a stop would change anything: a pointer moved, or what was NULL no longer is.

        Reads memory of the running guest, so the answer may be wrong; a stop finds out.
        """
        return self._view is not None and any(self._moved(watch) for watch in self._watches.values())

    def claims(self, stop: Stop) -> bool:
        """Whether a watch of the user's made that stop, one that is set or was until a moment ago."""
        if stop.watch_address is None:
            return False
        watched = (watch.address for watch in self._watches.values())
        return stop.watch_address in watched or stop.watch_address in self._stops.left

    async def look(self, stop: Stop, capture: CaptureHit) -> None:
        """Find out at a stop what was written; wants a standing guest.

        Args:
            stop: Why the guest stands.
            capture: Captures it for a watch that wants that.
        """
        if self._view is not None:
            await self._stops.look(list(self._watches.values()), self._view, stop, capture)
            self._release_failed()

    def drain(self) -> list[Event]:
        """What happened while the guest stood; call it when it runs again."""
        outbox, self._stops.outbox = self._stops.outbox, []
        return [it.render() if isinstance(it, RawHit) else it for it in outbox]

    # -- the rest --------------------------------------------------------------------------------------

    def _standing(self, work: Callable[[], Awaitable[None]]) -> Callable[[Request], Awaitable[None]]:
        async def serve(request: Request) -> None:
            await self._hooks.stand(work)

        return serve

    async def _settle(self, watch: Watch) -> None:
        if self._watches.get(watch.slot) is watch:
            await self._stops.settle(watch, self._view)
            self._release_failed()

    def _find(self, slot: int) -> Watch | None:
        if slot not in SLOTS:
            raise UsageError(f"slot {slot} is not a user slot", f"user slots are {SLOTS[0]} to {SLOTS[-1]}")
        return self._watches.get(slot)

    def _take_slot(self, spec: WatchSpec) -> Watch:
        spec = msgspec.structs.replace(spec, expression=spec.expression.strip())
        spec.check()
        for watch in self._watches.values():
            if watch.spec.expression == spec.expression and watch.state != "failed":
                raise UsageError(f"slot {watch.slot} watches {spec.expression} already")
        free = next((slot for slot in SLOTS if slot not in self._watches), None)
        if free is None:
            failed = next((it for it in self._watches.values() if it.state == "failed"), None)
            if failed is None:
                raise UsageError(
                    f"all {len(SLOTS)} watch slots are taken (slot 0 is reserved for exit_kind)",
                    "remove a watch first",
                )
            self._hooks.say(self._drop(failed, "its slot was reused"))
            free = failed.slot
        return Watch(free, spec, HitBudget(spec.budget_per_s))

    def _compile(self, watch: Watch, *, suggest: bool) -> None:
        location = self._view.expressions.compile(watch.spec.expression, suggest=suggest)
        watch.location = location
        if not location.moves:
            address = watch.locate(self._view)
            try:
                self._view.fresh_space().read(address, watch.spec.length_bytes)
            except MemoryReadError as problem:
                raise ExpressionError(f"{watch.spec.expression}: {problem.message}") from problem

    def _leads_somewhere(self, watch: Watch) -> bool:
        """Whether the expression can be armed at once; notes why not."""
        if watch.location is None:
            return False
        try:
            watch.locate(self._view)
        except (NullPointer, MemoryReadError, ExpressionError) as problem:
            watch.detail = problem.message
            return False
        return True

    def _moved(self, watch: Watch) -> bool:
        if watch.location is None or watch.state not in ("armed", "pending"):
            return False
        if watch.address is not None and not watch.location.moves:
            return False
        try:
            return watch.locate(self._view) != watch.address
        except MemoryReadError:
            return False
        except (NullPointer, ExpressionError):
            return watch.address is not None

    def _release_failed(self) -> None:
        for watch in self._watches.values():
            if watch.state == "failed":
                self._release(watch)

    def _drop(self, watch: Watch, why: str) -> Event:
        del self._watches[watch.slot]
        self._release(watch)
        watch.state, watch.address, watch.detail = "removed", None, why
        return watch.changed()

    def _release(self, watch: Watch) -> None:
        released, watch.released = watch.released, None
        if released is not None:
            released()
