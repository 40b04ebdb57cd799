"""What every engine must do, as checks that take any engine over any guest.

An `EngineUnderTest` brings an engine and a guest that can be made to write. `CHECKS` leave the guest running and
unwatched, so that one real guest serves them all, one after the other; `ENDINGS` end it. A new engine is held to the
rules by two parametrised tests (see ``tests/unit/guest/test_engine.py`` and ``tests/guest/test_engine.py``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

import pytest
import trio
import trio.testing

from ktstr_tui.guest.engine import Engine, EngineLostError, Stop
from ktstr_tui.model.errors import HostError, InternalError

WORDS = 2
PATIENCE_S = 60.0
"""For what must happen; generous, because it only matters when something is broken."""
CANCEL_AFTER_S = 0.3


class EngineUnderTest(Protocol):
    """An engine, and a guest with `WORDS` words of 4 bytes that nobody writes unless asked."""

    @property
    def engine(self) -> Engine: ...

    @property
    def nr_vcpus(self) -> int: ...

    def address(self, word: int) -> int:
        """Guest-virtual address of a word."""
        ...

    async def write(self, word: int, value: int) -> None:
        """Make the running guest write to a word; does not wait for that."""
        ...

    async def written(self) -> None:
        """Wait until the guest has carried out one `write` and goes on."""
        ...

    async def read(self, word: int) -> int:
        """The word's value, of a stopped guest."""
        ...

    async def hang(self) -> None:
        """Let the engine answer nothing any more."""
        ...

    def recover(self) -> None:
        """Undo `hang`."""
        ...

    def kill(self) -> None:
        """End the guest from outside."""
        ...


Check: TypeAlias = Callable[[EngineUnderTest], Awaitable[None]]


async def stop_and_resume(it: EngineUnderTest) -> None:
    before = it.engine.statistics()
    for _ in range(3):
        assert _runs(it)
        with trio.fail_after(PATIENCE_S):
            stop = await it.engine.stop()
        assert (stop.reason, stop.watch_address) == ("interrupt", None)
        assert stop.vcpu in range(it.nr_vcpus)
        assert not _runs(it)
        await it.engine.resume()
    assert _runs(it)
    after = it.engine.statistics()
    assert (after.stops - before.stops, after.watch_stops - before.watch_stops) == (3, 0)
    assert not any(it.engine.drops().values())


async def a_resumed_guest_goes_on(it: EngineUnderTest) -> None:
    await it.engine.stop()
    await it.engine.resume()
    await it.write(0, 41)
    await it.written()
    await it.engine.stop()
    assert await it.read(0) == 41
    await it.engine.resume()


async def what_needs_the_other_state_is_refused_and_changes_nothing(it: EngineUnderTest) -> None:
    running: list[Callable[[], Awaitable[object]]] = [
        it.engine.resume,
        lambda: it.engine.ask_registers([0]),
        lambda: it.engine.arm_watch(it.address(0)),
        lambda: it.engine.disarm_watch(it.address(0)),
    ]
    for refused in running:
        with pytest.raises(InternalError):
            await refused()
        assert _runs(it)
    # A byte too many would have stopped it.
    await it.write(0, 42)
    await it.written()
    await it.engine.stop()
    for refused in (it.engine.stop, it.engine.wait_stop):
        with pytest.raises(InternalError):
            await refused()
        assert not _runs(it)
    await it.engine.resume()


async def registers_of_all_vcpus(it: EngineUnderTest) -> None:
    with pytest.raises(InternalError):
        await it.engine.next_registers()
    await it.engine.stop()
    await it.engine.ask_registers(range(it.nr_vcpus))
    first = [await it.engine.next_registers() for _ in range(it.nr_vcpus)]
    # A second time, because nothing moves meanwhile; and together with the stop.
    await it.engine.ask_registers(range(it.nr_vcpus))
    assert [await it.engine.next_registers() for _ in range(it.nr_vcpus)] == first
    assert all(registers.rip for registers in first)
    with pytest.raises(InternalError):
        await it.engine.next_registers()
    await it.engine.resume()
    await it.engine.stop(range(it.nr_vcpus))
    assert all([(await it.engine.next_registers()).rip for _ in range(it.nr_vcpus)])
    await it.engine.resume()


async def registers_that_are_not_taken_are_gone_after_the_resume(it: EngineUnderTest) -> None:
    await it.engine.stop(range(it.nr_vcpus))
    await it.engine.next_registers()
    await it.engine.resume()
    await it.engine.stop()
    with pytest.raises(InternalError):
        await it.engine.next_registers()
    await it.engine.ask_registers([it.nr_vcpus - 1])
    assert (await it.engine.next_registers()).rip
    await it.engine.resume()


async def a_vcpu_that_is_not_there_has_no_registers(it: EngineUnderTest) -> None:
    await it.engine.stop()
    await it.engine.ask_registers([it.nr_vcpus])
    with pytest.raises(InternalError):
        await it.engine.next_registers()
    await it.engine.ask_registers([0])
    assert (await it.engine.next_registers()).rip
    await it.engine.resume()


async def a_hit_is_delivered_once_with_its_watch(it: EngineUnderTest) -> None:
    before = it.engine.statistics().watch_stops
    await it.engine.stop()
    for word in range(WORDS):
        await it.engine.arm_watch(it.address(word))
    await it.engine.resume()
    for word in (1, 0):
        await it.write(word, 50 + word)
        with trio.fail_after(PATIENCE_S):
            stop = await it.engine.wait_stop()
        assert (stop.reason, stop.watch_address) == ("watch", it.address(word))
        assert stop.vcpu in range(it.nr_vcpus)
        assert await it.read(word) == 50 + word, "the guest stops behind the write, not before it"
        await it.engine.resume()
        assert await _stops_until_written(it) == []
    assert it.engine.statistics().watch_stops == before + 2
    await it.engine.stop()
    for word in range(WORDS):
        await it.engine.disarm_watch(it.address(word))
    await it.engine.resume()


async def a_watch_that_was_disarmed_stops_nothing(it: EngineUnderTest) -> None:
    await it.engine.stop()
    await it.engine.arm_watch(it.address(0))
    await it.engine.disarm_watch(it.address(0))
    with pytest.raises(HostError):
        await it.engine.disarm_watch(it.address(0))
    await it.engine.resume()
    await it.write(0, 60)
    assert await _stops_until_written(it) == []


async def slots_can_be_exhausted_and_used_again(it: EngineUnderTest) -> None:
    slots = it.engine.watch_limits.slots
    await it.engine.stop()
    addresses = [it.address(0) + 0x100 * i for i in range(slots or 8)]
    for address in addresses:
        await it.engine.arm_watch(address)
    if slots is not None:
        with pytest.raises(HostError):
            await it.engine.arm_watch(it.address(0) + 0x100 * slots)
        await it.engine.disarm_watch(addresses.pop())
        addresses.append(it.address(0) + 0x100 * slots)
        await it.engine.arm_watch(addresses[-1])
    for address in addresses:
        await it.engine.disarm_watch(address)
    for length in it.engine.watch_limits.lengths_bytes:
        aligned = it.address(0) // length * length
        await it.engine.arm_watch(aligned, length)
        await it.engine.disarm_watch(aligned, length)
    await it.engine.resume()


async def a_stop_and_a_hit_at_once_are_one_stop(it: EngineUnderTest) -> None:
    await it.engine.stop()
    await it.engine.arm_watch(it.address(0))
    await it.engine.resume()
    for value in range(70, 75):
        await it.write(0, value)
        with trio.fail_after(PATIENCE_S):
            stop = await it.engine.stop()
        happened = await it.read(0) == value
        if stop.reason == "watch":
            assert happened
            assert stop.watch_address == it.address(0)
        await it.engine.resume()
        later = await _stops_until_written(it)
        # The write makes a stop of its own only if it came after the one that was asked for.
        assert [later_stop.reason for later_stop in later] == ([] if happened else ["watch"])
    await it.engine.stop()
    await it.engine.disarm_watch(it.address(0))
    await it.engine.resume()


async def a_cancelled_wait_loses_nothing(it: EngineUnderTest) -> None:
    await it.engine.stop()
    await it.engine.arm_watch(it.address(1))
    await it.engine.resume()
    with trio.move_on_after(0):
        await it.engine.wait_stop()
    assert _runs(it)
    await it.write(1, 80)
    with trio.fail_after(PATIENCE_S):
        stop = await it.engine.wait_stop()
    assert stop.watch_address == it.address(1), f"{stop}, and {await it.read(1)} is there"
    await it.engine.disarm_watch(it.address(1))
    await it.engine.resume()
    await it.written()


async def a_stop_that_comes_too_late_is_delivered_to_the_next_wait(it: EngineUnderTest) -> None:
    await it.hang()
    with trio.move_on_after(CANCEL_AFTER_S) as scope:
        await it.engine.stop([0])
    assert scope.cancelled_caught
    it.recover()
    if _runs(it):
        with trio.fail_after(PATIENCE_S):
            assert (await it.engine.stop()).reason in ("interrupt", "other")
    await it.engine.ask_registers([0])
    assert (await it.engine.next_registers()).rip
    await it.engine.resume()
    await it.write(0, 81)
    assert await _stops_until_written(it) == []


async def a_guest_that_dies_ends_the_wait_for_a_stop(it: EngineUnderTest) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_expect_loss, it.engine.wait_stop)
        await trio.testing.wait_all_tasks_blocked()
        it.kill()
    with pytest.raises(EngineLostError), trio.fail_after(PATIENCE_S):
        await it.engine.stop()


async def a_guest_that_dies_while_it_is_stopped_is_noticed_by_the_next_call(it: EngineUnderTest) -> None:
    await it.engine.stop()
    it.kill()

    async def ask() -> None:
        # What was sent before QEMU ended may still be taken by the socket.
        await it.engine.ask_registers([0])
        await it.engine.next_registers()

    await _expect_loss(ask)
    await _expect_loss(ask)


async def a_guest_that_dies_in_a_stop_fails_it(it: EngineUnderTest) -> None:
    await it.hang()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_expect_loss, it.engine.stop)
        await trio.testing.wait_all_tasks_blocked()
        it.kill()


def _runs(it: EngineUnderTest) -> bool:
    # A call, because it changes between two looks.
    return it.engine.running


async def _expect_loss(call: Callable[[], Awaitable[object]]) -> None:
    with pytest.raises(EngineLostError), trio.fail_after(PATIENCE_S):
        await call()


async def _stops_until_written(it: EngineUnderTest) -> list[Stop]:
    """Resume the guest at every stop until it has carried out the write that is under way; returns the stops."""
    stops: list[Stop] = []

    async def resume_all() -> None:
        while True:
            stops.append(await it.engine.wait_stop())
            await it.engine.resume()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(resume_all)
        with trio.fail_after(PATIENCE_S):
            await it.written()
        nursery.cancel_scope.cancel()
    return stops


CHECKS: tuple[Check, ...] = (
    stop_and_resume,
    a_resumed_guest_goes_on,
    what_needs_the_other_state_is_refused_and_changes_nothing,
    registers_of_all_vcpus,
    registers_that_are_not_taken_are_gone_after_the_resume,
    a_vcpu_that_is_not_there_has_no_registers,
    a_hit_is_delivered_once_with_its_watch,
    a_watch_that_was_disarmed_stops_nothing,
    slots_can_be_exhausted_and_used_again,
    a_stop_and_a_hit_at_once_are_one_stop,
    a_cancelled_wait_loses_nothing,
    a_stop_that_comes_too_late_is_delivered_to_the_next_wait,
)
ENDINGS: tuple[Check, ...] = (
    a_guest_that_dies_ends_the_wait_for_a_stop,
    a_guest_that_dies_while_it_is_stopped_is_noticed_by_the_next_call,
    a_guest_that_dies_in_a_stop_fails_it,
)
