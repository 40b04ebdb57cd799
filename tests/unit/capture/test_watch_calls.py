"""Calls of functions watched through an engine that sees them, and any number of watches of any length."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ktstr_tui.capture.watch import watches as watches_module
from ktstr_tui.capture.watch.watch_spec import WatchSpec
from ktstr_tui.capture.watch.watch_table import WatchTable
from ktstr_tui.guest.engine import Stop, WatchLimits
from ktstr_tui.kernel.c_types import ExpressionError
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.report import Argument
from tests.unit.capture.watching import COUNTER, ODD, WatchRig, watching

pytestmark = pytest.mark.usefixtures("no_threads")
INSERT = 0xFFFF_FFFF_8100_0100
ARGUMENTS = (Argument(name="dsq_id", type="u64", value="0x7"),)
CALLS = WatchSpec(expression="call:insert", budget_per_s=2)


class FakeFunction:
    """A function that is always called with the same."""

    name, address, note = "insert", INSERT, "this kernel also has insert___v2"

    def arguments(self, view: object, registers: object) -> tuple[Argument, ...]:
        return ARGUMENTS


def find(btf: object, symbols: object, name: str, *, suggest: bool) -> FakeFunction:
    if name != "insert":
        raise ExpressionError(f"this kernel has no function {name!r}", "Did you mean insert?")
    return FakeFunction()


@asynccontextmanager
async def seeing_calls(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WatchRig]:
    monkeypatch.setattr(watches_module, "find_function", find)
    monkeypatch.setattr(
        "tests.unit.capture.fakes.WatchLimits", lambda slots: WatchLimits(None, unlimited=True)
    )
    async with watching() as rig:
        rig.view.btf = rig.view.symbols = None  # type: ignore[attr-defined]
        yield rig


async def call(rig: WatchRig) -> None:
    """The guest calls the function, which stops it if somebody wants to be told."""
    if rig.engine.calls[INSERT]():
        rig.engine.arrive(Stop("watch", 1, INSERT))
    await wait_all_tasks_blocked()


async def test_a_call_is_a_hit_with_arguments(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with seeing_calls(monkeypatch) as rig:
        assert await rig.coordinator.watches.add(CALLS) == 1
        await call(rig)
        (hit,) = rig.hits()
        assert (hit.expression, hit.vcpu, hit.arguments, hit.value) == ("call:insert", 1, ARGUMENTS, None)
        assert hit.writer is not None
        assert await rig.coordinator.watches.remove(1)
        assert rig.engine.calls == {}


async def test_calls_above_the_budget_are_counted_and_do_not_stop_the_guest(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with seeing_calls(monkeypatch) as rig:
        await rig.coordinator.watches.add(CALLS)
        stops = rig.engine.stops
        for _ in range(5):
            await call(rig)
        assert (len(rig.hits()), rig.engine.stops - stops) == (2, 2)
        await trio.sleep(1)
        await call(rig)
        assert [it.untold for it in rig.hits()] == [0, 0, 3]
        assert rig.coordinator.watches.drops()["calls-untold"] == 3
        assert rig.states(1)[-1][0] == "armed", "never paused"


async def test_an_engine_that_sees_no_calls_is_named(
    autojump_clock: MockClock,
) -> None:
    async with watching() as rig:
        with pytest.raises(UsageError, match="cannot be watched in this run") as refused:
            await rig.coordinator.watches.add(CALLS)
        assert "run --seed N" in refused.value.hint
        with pytest.raises(UsageError, match="4 or 8 bytes"):
            await rig.coordinator.watches.add(WatchSpec(expression="counter", length_bytes=3))


async def test_an_unknown_function_is_refused_with_those_like_it(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with seeing_calls(monkeypatch) as rig:
        with pytest.raises(UsageError, match="no function 'inser'") as refused:
            await rig.coordinator.watches.add(WatchSpec(expression="call:inser"))
        assert refused.value.hint == "Did you mean insert?"


async def test_watches_of_any_length_at_any_address(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with seeing_calls(monkeypatch) as rig:
        await rig.coordinator.watches.add(WatchSpec(expression="odd", length_bytes=3))
        await rig.coordinator.watches.add(WatchSpec(expression="counter", length_bytes=100))
        assert (rig.engine.watches[ODD], rig.engine.watches[COUNTER]) == (3, 100)
        with pytest.raises(UsageError, match="1 to 4096 bytes"):
            await rig.coordinator.watches.add(WatchSpec(expression="wide", length_bytes=5000))


def test_there_are_as_many_slots_as_anybody_needs() -> None:
    table, slots = WatchTable(WatchLimits(None, unlimited=True)), []
    for _ in range(200):
        slot, left = table.free_slot()
        assert left is None
        slots.append(slot)
        table.enter(table.make(slot, CALLS))
    assert len(set(slots)) == 200
    assert 4 not in slots, "the row of what has no slot"
