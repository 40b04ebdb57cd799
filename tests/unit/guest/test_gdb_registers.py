"""Registers of all vCPUs in one round trip."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from ktstr_tui.guest.gdb import GdbClient
from ktstr_tui.model.errors import InternalError
from tests.oracles.gdb_memory import read_memory
from tests.unit.guest.test_gdb import NAMES, Stub, with_stub


async def test_all_are_asked_before_the_first_answer_is_read() -> None:
    async def body(client: GdbClient, stub: Stub) -> None:
        await client.stop()
        await client.ask_registers(range(3))
        await wait_all_tasks_blocked()
        assert stub.asked[-6:] == ["Hg1", "g", "Hg2", "g", "Hg3", "g"]
        for _ in range(3):
            assert getattr(await client.next_registers(), NAMES[4]) == 5
        with pytest.raises(InternalError, match="unexpected registers"):
            await client.next_registers()
        await client.resume()

    assert (await with_stub(body)).lost_bytes == 0


async def test_what_is_not_taken_is_skipped() -> None:
    async def body(client: GdbClient, stub: Stub) -> None:
        await client.stop()
        await client.ask_registers(range(4))
        await client.next_registers()
        assert await read_memory(client, 16, 2) == bytes([16, 17])
        with pytest.raises(InternalError, match="unexpected registers"):
            await client.next_registers()
        before = client.statistics().discarded_replies
        await client.ask_registers([0])
        await client.resume()
        assert client.statistics().discarded_replies == before + 2
        await wait_all_tasks_blocked()
        assert stub.running

    await with_stub(body)


async def test_a_wait_that_is_given_up_does_not_shift_the_answers(autojump_clock: MockClock) -> None:
    async def body(client: GdbClient, stub: Stub) -> None:
        await client.stop()
        stub.silent = True
        await client.ask_registers([0, 1])
        with trio.move_on_after(1):
            await client.next_registers()
        stub.silent = False
        for _ in range(4):
            await stub.say("OK")  # the answers that nobody waits for any more
        assert (await client.registers(1)).rax == 1

    await with_stub(body)


async def test_registers_of_a_running_guest_are_refused() -> None:
    async def body(client: GdbClient, stub: Stub) -> None:
        with pytest.raises(InternalError, match="would stop the guest"):
            await client.ask_registers([0])

    await with_stub(body)


@pytest.mark.parametrize("no_ack", [True, False])
async def test_a_stop_may_ask_for_them_in_the_same_write(no_ack: bool) -> None:
    async def body(client: GdbClient, stub: Stub) -> None:
        for _ in range(2):
            assert (await client.stop(range(2))).reason == "interrupt"
            await wait_all_tasks_blocked()
            assert stub.asked[-4:] == ["Hg1", "g", "Hg2", "g"]
            assert (await client.next_registers()).rax == 1
            assert (await client.next_registers()).rax == 1
            await client.resume()
            await wait_all_tasks_blocked()
        assert client.statistics().discarded_replies <= 1  # one from connecting

    await with_stub(body, no_ack)


async def test_a_watchpoint_that_wins_the_race_is_told_before_the_registers() -> None:
    async def body(client: GdbClient, stub: Stub) -> None:
        await client.stop()
        await client.arm_watch(0x1000)
        await client.resume()
        await wait_all_tasks_blocked()
        await stub.halt("T05thread:02;watch:1000;")
        assert (await client.stop([1])).watch_address == 0x1000
        assert (await client.next_registers()).rax == 1

    await with_stub(body)


async def test_a_stop_that_is_given_up_leaves_nothing_behind(autojump_clock: MockClock) -> None:
    async def body(client: GdbClient, stub: Stub) -> None:
        stub.silent = True
        with trio.move_on_after(1):
            await client.stop([0])
        stub.silent = False
        if client.running:
            await client.wait_stop()
        for _ in range(2):
            await stub.say("OK")  # late answers
        assert (await client.registers(1)).rax == 1

    await with_stub(body)
