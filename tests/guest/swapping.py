"""The guest program without a run, whose scheduler the test changes frame by frame."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio

from ktstr_tui.guest.machine import Machine, MachineSpec
from ktstr_tui.guest.scenario import Scenario, Step
from ktstr_tui.wire.frames import Frame, FrameAssembler, encode_frame
from ktstr_tui.wire.messages import MsgType
from ktstr_tui.wire.scheduler_payloads import (
    CHUNK_BYTES,
    SchedChunk,
    SchedCommand,
    SchedOp,
    SchedReply,
    SchedUpload,
)
from tests.guest.booting import open_booted, spec_of
from tests.guest.waiting import BOOT_DEADLINE_S


class Swapping:
    """A guest that runs a scenario, and answers commands about its scheduler."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.frames: list[Frame] = []
        self._news = trio.Event()
        self._id = 0

    async def listen(self) -> None:
        """Keep all that the guest says."""
        assembler = FrameAssembler()
        async for data in self.machine.bulk:
            for frame in assembler.feed(bytes(data)):
                self.frames.append(frame)
                if frame.msg_type == MsgType.SysRdy:
                    await self.send(MsgType.AccessorReady)
                if frame.msg_type == MsgType.Exit:
                    await self.send(MsgType.Shutdown)
            self._news.set()
            self._news = trio.Event()

    async def send(self, kind: MsgType, payload: bytes = b"") -> None:
        """Send a frame."""
        await self.machine.bulk.send_all(encode_frame(kind, payload))

    def of(self, kind: MsgType) -> list[bytes]:
        """Payloads of one type so far."""
        return [frame.payload for frame in self.frames if frame.msg_type == kind]

    def log(self) -> str:
        """What schedulers printed so far."""
        return b"".join(self.of(MsgType.SchedLog)).decode("utf-8", "replace")

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until what the guest said fulfils something."""
        with trio.move_on_after(BOOT_DEADLINE_S) as scope:
            while not condition():
                await self._news.wait()
        assert not scope.cancelled_caught, (self.log()[-3000:], self.machine.console.tail(20))

    async def step(self, number: int) -> None:
        """Wait for a step of the scenario to begin, counted from 1."""
        await self.until(lambda: len(self.of(MsgType.Stimulus)) >= number)

    async def reply(self, number: int) -> SchedReply:
        """The answer to the command of a number."""

        def found() -> list[SchedReply]:
            replies = [SchedReply.unpack(payload) for payload in self.of(MsgType.SchedReply)]
            return [reply for reply in replies if reply.request_id == number]

        await self.until(found)
        (only,) = found()
        return only

    async def command(self, op: SchedOp, target: str = "") -> SchedReply:
        """Give a command and wait for its answer."""
        self._id += 1
        await self.send(MsgType.SchedCommand, SchedCommand(self._id, op, target).pack())
        return await self.reply(self._id)

    async def replace(self, data: bytes, target: str = "", name: str = "new.bpf.o") -> SchedReply:
        """Upload an object, have it replace a scheduler, and wait for the answer."""
        number = await self.begin_replace(data, target, name)
        return await self.reply(number)

    async def begin_replace(self, data: bytes, target: str = "", name: str = "new.bpf.o") -> int:
        """The same without waiting; returns the number of the command."""
        frames = [encode_frame(MsgType.SchedChunk, piece) for piece in pieces(self._id + 1, data)]
        return await self.upload(SchedUpload(self._id + 1, zlib.crc32(data), len(data), name), frames, target)

    async def upload(self, head: SchedUpload, frames: Iterable[bytes], target: str = "") -> int:
        """Announce an object, send any frames and the command to replace a scheduler by it."""
        self._id += 1
        await self.send(MsgType.SchedUpload, head.pack())
        for frame in frames:
            await self.machine.bulk.send_all(frame)
        await self.send(MsgType.SchedCommand, SchedCommand(self._id, SchedOp.REPLACE, target).pack())
        return self._id


def pieces(number: int, data: bytes) -> list[bytes]:
    """The payloads that carry an object."""
    return [
        SchedChunk(number, at, data[at : at + CHUNK_BYTES]).pack() for at in range(0, len(data), CHUNK_BYTES)
    ]


OpenSwapping = Callable[..., AbstractAsyncContextManager[Swapping]]


@pytest.fixture
def swapping(machine_spec: MachineSpec) -> OpenSwapping:
    """Opens a guest that runs some steps and waits for commands."""

    @asynccontextmanager
    async def open_one(*steps: Step) -> AsyncIterator[Swapping]:
        scenario = Scenario("test", steps)
        async with (
            open_booted(spec_of(machine_spec, scenario)) as machine,
            trio.open_nursery() as nursery,
        ):
            guest = Swapping(machine)
            nursery.start_soon(guest.listen)
            await guest.step(1)
            yield guest
            nursery.cancel_scope.cancel()

    return open_one
