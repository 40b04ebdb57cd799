"""The rules of engines, for the fake of the coordinator's tests and for the gdb client over a scripted stub."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio
import trio.testing
from trio.testing import MockClock, memory_stream_pair

from ktstr_tui.guest.engine import Engine
from ktstr_tui.guest.gdb import connect_gdb
from tests.contracts.engine import CHECKS, ENDINGS, Check, EngineUnderTest
from tests.unit.capture.fakes import FakeEngine, FakeView
from tests.unit.guest.test_gdb import Stub

WORDS = 0xFFFF_FFFF_8000_0000


class FakeGuest:
    """Words that the fake engine watches."""

    nr_vcpus = FakeView.nr_cpus

    def __init__(self) -> None:
        self.fake = FakeEngine(FakeView())
        self.engine: Engine = self.fake
        self._values: dict[int, int] = {}

    def address(self, word: int) -> int:
        return WORDS + 0x1000 * word

    async def write(self, word: int, value: int) -> None:
        await trio.lowlevel.checkpoint()
        self._values[word] = value
        self.fake.hit(self.address(word))

    async def written(self) -> None:
        await trio.testing.wait_all_tasks_blocked()

    async def read(self, word: int) -> int:
        await trio.lowlevel.checkpoint()
        return self._values[word]

    async def hang(self) -> None:
        await trio.lowlevel.checkpoint()
        self.fake.stop_delay_s = 5.0

    def recover(self) -> None:
        self.fake.stop_delay_s = 0.0

    def kill(self) -> None:
        self.fake.die()


class StubGuest:
    """Words of a scripted stub."""

    nr_vcpus = Stub.nr_vcpus

    def __init__(self, stub: Stub, engine: Engine) -> None:
        self.engine = engine
        self._stub = stub
        self._values: dict[int, int] = {}

    def address(self, word: int) -> int:
        return WORDS + 0x1000 * word

    async def write(self, word: int, value: int) -> None:
        # A guest writes when it runs, and the stub has to be told that first.
        await trio.testing.wait_all_tasks_blocked()
        self._values[word] = value
        if self.address(word) in self._stub.watches:
            await self._stub.halt(f"T05thread:02;watch:{self.address(word):x};")

    async def written(self) -> None:
        await trio.testing.wait_all_tasks_blocked()

    async def read(self, word: int) -> int:
        await trio.lowlevel.checkpoint()
        return self._values[word]

    async def hang(self) -> None:
        await trio.lowlevel.checkpoint()
        self._stub.hang()

    def recover(self) -> None:
        self._stub.recover()

    def kill(self) -> None:
        self._stub.die()


@asynccontextmanager
async def fake_guest() -> AsyncIterator[EngineUnderTest]:
    await trio.lowlevel.checkpoint()
    yield FakeGuest()


@asynccontextmanager
async def stub_guest() -> AsyncIterator[EngineUnderTest]:
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        stub = Stub(theirs)
        nursery.start_soon(stub.run)
        yield StubGuest(stub, await connect_gdb(ours, watch_slots=stub.slots))
        nursery.cancel_scope.cancel()


Opened = Callable[[], AbstractAsyncContextManager[EngineUnderTest]]


@pytest.mark.parametrize("opened", [fake_guest, stub_guest])
@pytest.mark.parametrize("check", [*CHECKS, *ENDINGS], ids=lambda check: check.__name__)
async def test_engine(check: Check, opened: Opened, autojump_clock: MockClock) -> None:
    async with opened() as guest:
        await check(guest)
