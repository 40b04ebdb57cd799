"""No action is lost without a count: the books kept by the events alone, beside those of the executor."""

from __future__ import annotations

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from ktstr_tui.control.admit import Defer, Gate, RuleGate, Verdict
from ktstr_tui.control.executor import ActionQueue, Executor, RetryLaterError
from ktstr_tui.control.ledger import Ledger
from ktstr_tui.model import control as ct
from ktstr_tui.model import events as ev
from ktstr_tui.model.errors import HostError
from tests.unit.control.rig import Dispatched, now_ns


def pending(id_: int) -> ct.PendingAction:
    return ct.PendingAction(id=id_, action=ct.TakeCapture(trigger="early"), emitted_at_ns=0)


class Books:
    """Keeps the books by the events alone, independently of the ledger, and compares after each of them."""

    def __init__(self) -> None:
        self.where: dict[int, str] = {}
        self.ledger: Ledger | None = None
        self.compared = 0

    def take(self, event: ev.Event) -> None:
        if isinstance(event, ev.ActionChanged):
            assert self.where.get(event.id) not in ("done", "failed", "gated", "dropped"), "an end is an end"
            self.where[event.id] = event.disposition
        if self.ledger is not None:
            counts = self.ledger.counts()
            assert counts.emitted == len(self.where)
            assert counts.emitted == (
                counts.done + counts.failed + counts.dropped + counts.deferred + counts.in_flight
            )
            assert counts.done == self._count("done")
            assert counts.failed == self._count("failed")
            assert counts.dropped == self._count("dropped") + self._count("gated")
            # What is tried again says so only by its next end.
            assert counts.deferred + counts.in_flight == self._count("emitted") + self._count("deferred")
            self.compared += 1

    def _count(self, how: str) -> int:
        return sum(it == how for it in self.where.values())


FATES = st.sampled_from(["done", "fail", "raise", "retry", "retry-once", "hang", "gate", "defer"])


@given(fates=st.lists(FATES, max_size=60), capacity=st.integers(1, 40), seconds=st.floats(0, 2))
@settings(max_examples=60)
def test_no_action_is_lost_without_a_count(fates: list[str], capacity: int, seconds: float) -> None:
    compared = trio.run(_keep_books, fates, capacity, seconds, clock=MockClock(autojump_threshold=0))
    assert compared >= len(fates), "the books were compared at every change"


async def _keep_books(fates: list[str], capacity: int, seconds: float) -> int:
    """Carry out actions with those fates; returns how often books kept from the events were equal to the counts."""
    tries: dict[int, int] = {}

    async def work(pending: ct.PendingAction) -> None:
        fate = fates[pending.id - 1]
        tries[pending.id] = tries.get(pending.id, 0) + 1
        await trio.sleep(0.01)
        if fate == "fail":
            raise HostError("no")
        if fate == "raise":
            raise ValueError("no")
        if fate == "retry" or (fate == "retry-once" and tries[pending.id] == 1):
            raise RetryLaterError(0.02, "later")
        if fate == "hang":
            await trio.sleep_forever()

    def rule(pending: ct.PendingAction) -> Verdict | None:
        fate = fates[pending.id - 1]
        if fate == "gate":
            return Gate("no")
        return Defer(0.03, "later") if fate == "defer" else None

    books = Books()
    ledger = books.ledger = Ledger(books.take)
    executor = Executor(
        Dispatched(work), ledger, books.take, now_ns, gate=RuleGate((rule,)), queue=ActionQueue(capacity)
    )
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(executor.run)
            for id_ in range(1, len(fates) + 1):
                executor.submit(pending(id_))
                if id_ % 7 == 0:
                    await trio.sleep(0.005)
    for id_ in range(len(books.where) + 1, len(fates) + 1):
        executor.submit(pending(id_))
    counts = ledger.counts()
    if seconds:
        assert (counts.deferred, counts.in_flight) == (0, 0)
    assert counts.emitted == len(fates)
    return books.compared
