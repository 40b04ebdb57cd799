"""Carries out what the loop decided: one queue in, one gate, and a result for every action.

Emission is not execution. The loop hands an action over and goes on; here it waits for its turn, passes the gate, and
is dispatched in a task of its own. A dispatcher that raises makes a failure record. What cannot be done yet is put off,
sixteen times at most, and passes the same gate again.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import trio

from ktstr_tui.control.admit import Admit, AdmitGate, Defer, Gate, RuleGate
from ktstr_tui.control.ledger import Ledger
from ktstr_tui.control.results import Results
from ktstr_tui.control.rings import Rings
from ktstr_tui.model import events as ev
from ktstr_tui.model.control import PendingAction
from ktstr_tui.model.errors import GuestError, HostError, InternalError, KtstrError

CAPACITY = 1024
MAX_DEFERRALS = 16
"""Deferrals and retries of one action together."""
AT_A_TIME = 16
"""Actions that are being carried out at the same time."""
ASSERT_DEPTH = 1000
"""Waiting actions from which on the loop does less."""
RELEASE_DEPTH = 200
"""Waiting actions down to which it has to get before it does everything again."""
IDLE_S = 0.1
"""How often the depth is looked at when nothing happens."""


class Dispatcher(Protocol):
    """Does what actions say."""

    async def dispatch(self, pending: PendingAction) -> Any:  # noqa: ANN401
        """Do it and return the result for whoever asked.

        Raises:
            RetryLaterError: It cannot be done yet.
            KtstrError: It failed.
        """
        ...


class RetryLaterError(Exception):
    """An action cannot be carried out yet.

    Args:
        after_s: When to try again.
        reason: Why not now.
    """

    def __init__(self, after_s: float, reason: str) -> None:
        super().__init__(reason)
        self.after_s = after_s
        self.reason = reason


class ExecutorStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of the executor."""

    dispatched: int
    retries: int
    """Dispatches after the first one of an action."""
    deferrals: int
    gated: int
    asserts: int
    """How often it fell behind."""
    releases: int
    append_failures: int
    depth: int
    """Actions that wait for their turn."""


class ActionQueue:
    """Actions on their way to the executor.

    Args:
        capacity: How many there may be.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._waiting: deque[PendingAction] = deque()
        self._capacity = capacity
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, pending: PendingAction) -> bool:
        """Put an action in; False when it is full or nobody takes any more."""
        if self._closed or len(self._waiting) >= self._capacity:
            return False
        self._waiting.append(pending)
        return True

    def take(self) -> PendingAction | None:
        """Take the oldest one; None when there is none."""
        return self._waiting.popleft() if self._waiting else None

    def close(self) -> list[PendingAction]:
        """Take nothing more; returns what was in it."""
        self._closed = True
        rest = list(self._waiting)
        self._waiting.clear()
        return rest


class Executor:
    """Takes actions from the loop. Single use.

    Args:
        dispatcher: Does what they say.
        ledger: Keeps where each action is; shared with the loop.
        emit: Takes events.
        clock: Host monotonic clock for failure records.
        gate: Lets actions through.
        rings: Keep what failed; shared with the loop.
        queue: Actions of the loop.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        ledger: Ledger,
        emit: Callable[[ev.Event], object],
        clock: Callable[[], int],
        *,
        gate: AdmitGate | None = None,
        rings: Rings | None = None,
        queue: ActionQueue | None = None,
    ) -> None:
        self._dispatcher = dispatcher
        self._ledger = ledger
        self._emit = emit
        self._clock = clock
        self._gate: AdmitGate = RuleGate() if gate is None else gate
        self._rings = Rings() if rings is None else rings
        self._queue = ActionQueue() if queue is None else queue
        self._results = Results()
        self._tries: dict[int, int] = {}
        self._later: list[tuple[float, int, PendingAction]] = []
        self._running: dict[int, PendingAction] = {}
        self._wake = trio.Event()
        self._dispatched = self._retries = self._asserts = self._releases = 0
        self._behind = False

    # -- for the loop and for those who ask ------------------------------------------------------------

    def submit(self, pending: PendingAction) -> None:
        """Take an action over, or drop it, say so and count it when there is no room."""
        self._ledger.emitted(pending)
        if not self._queue.offer(pending):
            full = HostError("too many actions wait already", "try again in a moment")
            self._give_up(pending, "dropped", full)
        self._wake.set()

    async def result(self, command_seq: int) -> Any:  # noqa: ANN401
        """Wait for what a command came to; ask right after it was accepted, without a checkpoint in between.

        Raises:
            KtstrError: It failed, or was given up.
        """
        return await self._results.result(command_seq)

    def refuse(self, command_seq: int, error: Exception) -> None:
        """Tell whoever waits for a command that no action will come of it."""
        self._results.give(command_seq, error=error)

    async def run(self) -> None:
        """Carry actions out until cancelled; what is open then has failed."""
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    self._start_due(nursery)
                    self._watch_depth()
                    await self._wait()
        finally:
            self._end()

    def drops(self) -> dict[str, int]:
        """Return what was given up so far, by reason."""
        return {**self._ledger.drops(), "records-not-kept": self._append_failures()}

    def statistics(self) -> ExecutorStatistics:
        """Counters so far."""
        return ExecutorStatistics(
            dispatched=self._dispatched,
            retries=self._retries,
            deferrals=self._ledger.deferrals,
            gated=self._ledger.gated,
            asserts=self._asserts,
            releases=self._releases,
            append_failures=self._append_failures(),
            depth=len(self._queue),
        )

    # -- inside ----------------------------------------------------------------------------------------

    def _append_failures(self) -> int:
        return self._rings.failures.append_failures + self._rings.log.append_failures

    def _watch_depth(self) -> None:
        depth = len(self._queue) + len(self._later)
        if not self._behind and depth >= ASSERT_DEPTH:
            self._behind, self._asserts = True, self._asserts + 1
        elif self._behind and depth <= RELEASE_DEPTH:
            self._behind, self._releases = False, self._releases + 1
        else:
            return
        self._emit(ev.BackpressureChanged(on=self._behind, depth=depth))

    async def _wait(self) -> None:
        """Wait until there may be something to start, or look at the depth again."""
        patience = IDLE_S
        if self._later:
            patience = min(patience, max(0.0, self._later[0][0] - trio.current_time()))
        with trio.move_on_after(patience):
            await self._wake.wait()
        await trio.lowlevel.checkpoint()
        if self._wake.is_set():
            self._wake = trio.Event()

    def _start_due(self, nursery: trio.Nursery) -> None:
        while len(self._running) < AT_A_TIME:
            if self._later and self._later[0][0] <= trio.current_time():
                pending = heapq.heappop(self._later)[2]
                self._ledger.tried_again(pending)
            else:
                taken = self._queue.take()
                if taken is None:
                    return
                pending = taken
            self._consider(pending, nursery)

    def _consider(self, pending: PendingAction, nursery: trio.Nursery) -> None:
        verdict = self._gate.admit(pending)
        match verdict:
            case Admit():
                self._running[pending.id] = pending
                nursery.start_soon(self._dispatch, pending)
            case Defer(after_s=after_s, reason=reason):
                self._put_off(pending, after_s, reason)
            case Gate(reason=reason):
                self._give_up(pending, "gated", HostError(f"{pending.action.kind} is not done now: {reason}"))

    def _put_off(self, pending: PendingAction, after_s: float, reason: str) -> None:
        tries = self._tries[pending.id] = self._tries.get(pending.id, 0) + 1
        if tries > MAX_DEFERRALS:
            self._fail(pending, HostError(f"given up after {MAX_DEFERRALS} tries: {reason}", "try it again"))
            return
        self._ledger.deferred(pending, reason)
        heapq.heappush(self._later, (trio.current_time() + after_s, pending.id, pending))
        self._wake.set()

    async def _dispatch(self, pending: PendingAction) -> None:
        self._dispatched += 1
        self._retries += pending.id in self._tries
        try:
            value = await self._dispatcher.dispatch(pending)
        except RetryLaterError as later:
            self._leave(pending)
            self._put_off(pending, later.after_s, later.reason)
        except trio.Cancelled:
            self._leave(pending)
            self._fail(pending, GuestError("the run ended before this was done"))
            raise
        except Exception as error:  # whatever a dispatcher raises, the executor goes on
            self._leave(pending)
            self._fail(pending, error)
        else:
            self._leave(pending)
            self._tries.pop(pending.id, None)
            self._ledger.ended(pending, "done")
            self._results.give(pending.command_seq, value)

    def _leave(self, pending: PendingAction) -> None:
        self._running.pop(pending.id, None)
        self._gate.release(pending.id)
        self._wake.set()

    def _fail(self, pending: PendingAction, error: Exception) -> None:
        self._give_up(pending, "failed", error)

    def _give_up(self, pending: PendingAction, how: Any, error: Exception) -> None:  # noqa: ANN401
        known = error if isinstance(error, KtstrError) else _unexpected(error)
        self._tries.pop(pending.id, None)
        self._rings.fail(pending.action.kind, known.message, self._clock(), pending.id)
        self._ledger.ended(pending, how, known.message, type(error).__name__)
        self._results.give(pending.command_seq, error=known)

    def _end(self) -> None:
        gone = GuestError("the run ended before this was done")
        for pending in [*self._queue.close(), *(it[2] for it in self._later), *self._running.values()]:
            self._fail(pending, gone)
        self._later.clear()
        self._results.close(gone)


def _unexpected(error: Exception) -> InternalError:
    return InternalError(f"{type(error).__name__}: {error}", "please report it")
