"""A session over a stream in memory, with a target that is not there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from ktstr_tui.capture.debug_access import Resume
from ktstr_tui.capture.stop.debugger import DebuggerStop
from ktstr_tui.capture.watch.debugger_points import Point
from ktstr_tui.debug.files import OfferedFile
from ktstr_tui.debug.session import Session, SessionCounts
from ktstr_tui.debug.target import Target, Told
from ktstr_tui.guest.gdb_packets import PacketReader, encode
from ktstr_tui.model.errors import KtstrError, UsageError

SYMBOLS = bytes(range(256)) * 300


class FakeTarget:
    """Two vCPUs, and a word for each that a debugger asks."""

    vcpus = 2
    goes_back = False
    description: Mapping[str, str] = {"target.xml": "<target>" + "x" * 200 + "</target>"}

    def __init__(self) -> None:
        self.asked: list[tuple[int, str]] = []
        self.resumed: list[Resume] = []
        self.gone_back: list[tuple[int, bool]] = []
        self.points: set[Point] = set()
        self.interrupts = 0
        self.error: KtstrError | None = None
        self.send, self._stops = trio.open_memory_channel[Told](10)

    def describe(self, vcpu: int) -> str:
        return f"CPU {vcpu}: }}$#*"

    async def run(self) -> None:
        await trio.sleep_forever()

    async def wait_stop(self) -> Told:
        return await self._stops.receive()

    async def interrupt(self) -> None:
        self.interrupts += 1
        await self.send.send(DebuggerStop(vcpu=0, interrupted=True))

    async def resume(self, how: Resume) -> None:
        self._fail()
        self.resumed.append(how)

    async def go_back(self, vcpu: int, *, step: bool) -> None:
        self._fail()
        self.gone_back.append((vcpu, step))

    async def ask(self, vcpu: int, request: str) -> str:
        self._fail()
        self.asked.append((vcpu, request))
        return "cafe" if request[:1] != "m" else "E14"

    async def write(self, vcpu: int, request: str) -> str:
        self._fail()
        raise UsageError("this run allows no writes", "start it with --allow-writes")

    def want(self, point: Point) -> None:
        self._fail()
        self.points.add(point)

    def drop(self, point: Point) -> None:
        self.points.discard(point)

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error


class Debugger:
    """The other end, as a debugger without acknowledgements."""

    def __init__(self, stream: trio.abc.Stream, target: FakeTarget) -> None:
        self.stream, self.target = stream, target
        self.counts = SessionCounts()
        self.reason: str | None = None
        """Why the session ended."""
        self._reader = PacketReader()
        self._packets: list[str] = []

    async def receive(self) -> str:
        while not self._packets:
            data = await self.stream.receive_some(1 << 20)
            assert data, "the session is over"
            self._packets += self._reader.feed(bytes(data))
        return self._packets.pop(0)

    async def ask(self, request: str) -> str:
        await self.stream.send_all(encode(request))
        return await self.receive()

    async def tell(self, data: bytes) -> None:
        """Send something that is not answered."""
        await self.stream.send_all(data)
        await wait_all_tasks_blocked()


@asynccontextmanager
async def serving(target: Target | None = None) -> AsyncIterator[Debugger]:
    """A session that has just begun."""
    ours, theirs = memory_stream_pair()
    fake = FakeTarget()
    debugger = Debugger(ours, fake)

    async def serve() -> None:
        first = DebuggerStop(vcpu=0, interrupted=True)
        session = Session(theirs, target or fake, OfferedFile(SYMBOLS), first, debugger.counts)
        debugger.reason = await session.run()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        assert await debugger.ask("QStartNoAckMode") == "OK"
        yield debugger
        nursery.cancel_scope.cancel()
