"""What becomes of actions: one gate for first tries and retries, and an end with a count for every one of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock

from ktstr_tui.control.admit import Admit, Defer, Gate, RuleGate, Verdict
from ktstr_tui.control.executor import (
    ASSERT_DEPTH,
    AT_A_TIME,
    MAX_DEFERRALS,
    RELEASE_DEPTH,
    ActionQueue,
    Executor,
    RetryLaterError,
)
from ktstr_tui.control.ledger import Ledger
from ktstr_tui.control.rings import Rings
from ktstr_tui.model import control as ct
from ktstr_tui.model import events as ev
from ktstr_tui.model.errors import GuestError, InternalError, UsageError
from tests.unit.control.rig import Dispatched, Rig, now_ns

CAPTURE = ct.TakeCapture(trigger="on-demand")
Work = Callable[[ct.PendingAction], Awaitable[Any]]


def pending(id_: int, action: ct.Action = CAPTURE, command_seq: int | None = None) -> ct.PendingAction:
    return ct.PendingAction(id=id_, action=action, emitted_at_ns=0, command_seq=command_seq)


class Bench:
    """An executor without a loop."""

    def __init__(self, work: Work | None = None, **parts: Any) -> None:  # noqa: ANN401
        self.events: list[ev.Event] = []
        self.ledger = Ledger(self.events.append)
        self.rings = parts.pop("rings", None) or Rings()
        self.dispatcher = Dispatched(work)
        self.executor = Executor(
            self.dispatcher, self.ledger, self.events.append, now_ns, rings=self.rings, **parts
        )

    def dispositions(self, id_: int = 1) -> list[str]:
        return [it.disposition for it in self.events if isinstance(it, ev.ActionChanged) and it.id == id_]

    async def run(self, seconds: float = 1.0) -> None:
        with trio.move_on_after(seconds):
            await self.executor.run()


async def fails(pending: ct.PendingAction) -> None:
    raise GuestError("the guest is gone")


async def test_an_action_is_done_and_its_result_goes_to_whoever_asked(autojump_clock: MockClock) -> None:
    async def work(pending: ct.PendingAction) -> str:
        await trio.sleep(0.1)
        return f"did {pending.id}"

    bench, got = Bench(work), []

    async def ask() -> None:
        got.append(await bench.executor.result(7))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.lowlevel.checkpoint()
        bench.executor.submit(pending(1, command_seq=7))
        await bench.run()
    assert got == ["did 1"]
    assert bench.dispositions() == ["emitted", "done"]


async def test_an_exception_in_a_dispatcher_is_a_failure_record(autojump_clock: MockClock) -> None:
    async def work(pending: ct.PendingAction) -> None:
        raise ZeroDivisionError("oops")

    bench = Bench(work)
    bench.executor.submit(pending(1))
    bench.executor.submit(pending(2))
    await bench.run()
    kept = bench.rings.failures.newest()
    assert {(it.source, it.reason) for it in kept} == {("capture", "ZeroDivisionError: oops")}
    assert [it.seq for it in kept] == [1, 2]
    assert {it.action_id for it in kept} == {1, 2}  # side by side, in any order
    assert bench.ledger.counts() == ct.ActionCounts(emitted=2, failed=2)
    assert bench.executor.drops()["action-failed: capture"] == 2


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (GuestError("gone"), GuestError),
        (UsageError("no", "hint"), UsageError),
        (KeyError("x"), InternalError),
    ],
)
async def test_whoever_asked_gets_the_error(autojump_clock: MockClock, error: Exception, kind: type) -> None:
    async def work(pending: ct.PendingAction) -> None:
        raise error

    bench, caught = Bench(work), []

    async def ask() -> None:
        try:
            await bench.executor.result(1)
        except Exception as raised:
            caught.append(raised)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.lowlevel.checkpoint()
        bench.executor.submit(pending(1, command_seq=1))
        await bench.run()
    (raised,) = caught
    assert type(raised) is kind


async def test_a_retry_passes_the_same_gate(autojump_clock: MockClock) -> None:
    asked: list[int] = []

    class Counting:
        def admit(self, pending: ct.PendingAction) -> Verdict:
            asked.append(pending.id)
            return Gate("enough") if len(asked) == 3 else Admit()

        def release(self, action_id: int) -> None:
            asked.append(-action_id)

    async def work(pending: ct.PendingAction) -> None:
        raise RetryLaterError(0.1, "not yet")

    bench = Bench(work, gate=Counting())
    bench.executor.submit(pending(1))
    await bench.run()
    assert asked[:2] == [1, -1]
    assert bench.dispositions() == ["emitted", "deferred", "gated"]
    counts = bench.ledger.counts()
    assert (counts.dropped, bench.ledger.gated) == (1, 1)


@pytest.mark.parametrize("by_gate", [True, False])
async def test_after_sixteen_deferrals_an_action_is_given_up(
    autojump_clock: MockClock, by_gate: bool
) -> None:
    async def work(pending: ct.PendingAction) -> None:
        raise RetryLaterError(0.01, "memory is not typed yet")

    gate = RuleGate((lambda _: Defer(0.01, "memory is not typed yet"),)) if by_gate else RuleGate()
    bench = Bench(work, gate=gate)
    bench.executor.submit(pending(1))
    await bench.run()
    assert bench.dispositions() == ["emitted", *["deferred"] * MAX_DEFERRALS, "failed"]
    assert "given up after 16 tries: memory is not typed yet" in bench.rings.failures.newest()[0].reason


async def test_deferrals_and_retries_share_one_count(autojump_clock: MockClock) -> None:
    tries = 0

    class Half:
        def admit(self, pending: ct.PendingAction) -> Verdict:
            nonlocal tries
            tries += 1
            return Defer(0.01, "later") if tries % 2 else Admit()

        def release(self, action_id: int) -> None:
            pass

    async def work(pending: ct.PendingAction) -> None:
        raise RetryLaterError(0.01, "later")

    bench = Bench(work, gate=Half())
    bench.executor.submit(pending(1))
    await bench.run()
    assert bench.dispositions().count("deferred") == MAX_DEFERRALS


async def test_a_failed_dispatch_releases_its_own_reservation_and_no_other(autojump_clock: MockClock) -> None:
    async def work(pending: ct.PendingAction) -> None:
        if pending.id == 1:
            raise GuestError("gone")
        await trio.sleep_forever()

    gate = RuleGate(limits={"capture": 2})
    bench = Bench(work, gate=gate)
    bench.executor.submit(pending(1))
    bench.executor.submit(pending(2))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.executor.run)
        await trio.sleep(0.5)
        assert gate.reserved == {2: "capture"}
        bench.executor.submit(pending(3))
        bench.executor.submit(pending(4))
        await trio.sleep(0.2)
        assert gate.reserved == {2: "capture", 3: "capture"}
        assert "deferred" in bench.dispositions(4)
        nursery.cancel_scope.cancel()
    assert gate.reserved == {}


async def test_backpressure_is_asserted_at_1000_and_released_at_200(autojump_clock: MockClock) -> None:
    go = trio.Event()

    async def work(pending: ct.PendingAction) -> None:
        await go.wait()

    bench = Bench(work, queue=ActionQueue(2000))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.executor.run)
        for id_ in range(1, ASSERT_DEPTH + AT_A_TIME):
            bench.executor.submit(pending(id_))
        await trio.sleep(0.5)
        assert pressures(bench) == []
        bench.executor.submit(pending(ASSERT_DEPTH + AT_A_TIME))
        await trio.sleep(0.5)  # nothing happens: the depth is looked at all the same
        assert pressures(bench) == [(True, ASSERT_DEPTH)]
        go.set()
        await trio.sleep(0.5)
        nursery.cancel_scope.cancel()
    (_, (on, depth)) = pressures(bench)
    assert not on
    assert depth <= RELEASE_DEPTH
    assert (bench.executor.statistics().asserts, bench.executor.statistics().releases) == (1, 1)


def pressures(bench: Bench) -> list[tuple[bool, int]]:
    return [(it.on, it.depth) for it in bench.events if isinstance(it, ev.BackpressureChanged)]


async def test_what_is_open_when_the_run_ends_has_failed_and_nobody_waits_for_ever(
    autojump_clock: MockClock,
) -> None:
    async def work(pending: ct.PendingAction) -> None:
        await trio.sleep_forever()

    bench, caught = Bench(work, gate=RuleGate(limits={"capture": 1}, again_s=5)), []

    async def ask(seq: int) -> None:
        try:
            await bench.executor.result(seq)
        except GuestError as error:
            caught.append((seq, error.message))

    async with trio.open_nursery() as nursery:
        for seq in (1, 2, 3):
            nursery.start_soon(ask, seq)
        await trio.lowlevel.checkpoint()
        bench.executor.submit(pending(1, command_seq=1))
        bench.executor.submit(pending(2, command_seq=2))
        await bench.run()
        with pytest.raises(GuestError):
            await bench.executor.result(4)
    assert sorted(caught) == [(seq, "the run ended before this was done") for seq in (1, 2, 3)]
    assert bench.ledger.counts() == ct.ActionCounts(emitted=2, failed=2)
    bench.executor.submit(pending(3))
    assert bench.ledger.counts().dropped == 1


async def test_kill_migration_dispatches_to_installed_aborter(autojump_clock: MockClock) -> None:
    """The dangerous command of this program is the end of a run."""
    rig = Rig()
    async with rig.running():
        rig.ask(1, ct.StopRun(reason="ended by ada"))
        await trio.sleep(0.35)
    stops = [it for it in rig.dispatcher.seen if isinstance(it.action, ct.StopRun)]
    assert [(it.action, it.command_seq) for it in stops] == [(ct.StopRun(reason="ended by ada"), 1)]


async def test_non_kill_admin_events_do_not_invoke_aborter(autojump_clock: MockClock) -> None:
    rig = Rig()
    async with rig.running():
        rig.stream.emit(
            ev.CommandDecided(command_seq=1, operator="ada", request="status", outcome="accepted")
        )
        rig.stream.emit(
            ev.CommandDecided(
                command_seq=2,
                operator="eve",
                request="end",
                outcome="rejected",
                wanted=ct.StopRun(reason="x"),
            )
        )
        await trio.sleep(0.35)
    assert rig.dispatcher.seen == []
