"""The gdb client against a scripted stub, and the packet reader against everything."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeAlias

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import (
    MemoryReceiveStream,
    MemorySendStream,
    MockClock,
    memory_stream_pair,
    wait_all_tasks_blocked,
)

from ktstr_tui.guest.engine import EngineLostError, EngineTimeoutError, Registers, Stop
from ktstr_tui.guest.gdb import GdbClient, connect_gdb
from ktstr_tui.guest.gdb_packets import PacketReader, encode
from ktstr_tui.guest.gdb_stop import parse_stop
from ktstr_tui.guest.gdb_target import includes, parse_features
from ktstr_tui.model.errors import HostError, InternalError
from tests.oracles.gdb_memory import read_memory

NAMES = Registers.__struct_fields__
TARGET = '<?xml version="1.0"?><target><architecture>i386:x86-64</architecture><xi:include href="core.xml"/></target>'
CORE = (
    '<feature name="org.gnu.gdb.i386.core">'
    + "".join(f'<reg name="{name}" bitsize="{32 if name == "eflags" else 64}"/>' for name in NAMES)
    + "</feature>"
)


MemoryStream: TypeAlias = trio.StapledStream[MemorySendStream, MemoryReceiveStream]


class Stub:
    """QEMU's side, faithful in what bites: a byte that comes while the guest runs stops it and is lost."""

    nr_vcpus = 4
    slots = 4

    def __init__(self, stream: MemoryStream, no_ack: bool = True) -> None:
        self.stream = stream
        self.no_ack = no_ack
        self.running = True
        self.stop_reply = "T02thread:01;"
        self.silent = False
        self.asked: list[str] = []
        self.lost_bytes = 0
        self.memory = bytes(range(256)) * 16
        self.watches: dict[int, str] = {}
        self._buffer = b""
        self._answers = trio.Event()
        self._answers.set()

    def hang(self) -> None:
        """Read nothing any more."""
        self._answers = trio.Event()

    def recover(self) -> None:
        """Undo `hang`."""
        self._answers.set()

    def die(self) -> None:
        """Close the connection."""
        self.stream.send_stream.close()
        self.stream.receive_stream.close()

    async def run(self) -> None:
        with suppress(trio.ClosedResourceError):
            async for data in self.stream:
                await self._answers.wait()
                for byte in bytes(data):
                    await self._byte(byte)

    async def _byte(self, byte: int) -> None:
        if self.running:
            self.lost_bytes += byte != 3
            await self.halt(self.stop_reply)
            return
        self._buffer += bytes([byte])
        if len(self._buffer) > 3 and self._buffer[-3:-2] == b"#":
            text = self._buffer[self._buffer.index(b"$") + 1 : -3].decode()
            self._buffer = b""
            self.asked.append(text)
            if not self.silent:
                await self._answer(text)

    async def halt(self, reply: str) -> None:
        self.running = False
        await self.say(reply)

    async def say(self, text: str) -> None:
        await self.stream.send_all(encode(text))

    async def _answer(self, text: str) -> None:
        if text == "vCont;c":
            self.running = True
        elif text.startswith("qXfer:features:read:"):
            name, _, window = text.removeprefix("qXfer:features:read:").partition(":")
            start, _, length = window.partition(",")
            document = {"target.xml": TARGET, "core.xml": CORE}[name]
            part = document[int(start, 16) : int(start, 16) + int(length, 16)]
            await self.say(("l" if int(start, 16) + len(part) >= len(document) else "m") + part)
        else:
            await self.say(self._reply(text))

    def _reply(self, text: str) -> str:
        if text == "QStartNoAckMode":
            return "OK" if self.no_ack else ""
        if text.startswith("qSupported"):
            return "PacketSize=1000;qXfer:features:read+"
        if text == "g":
            return "".join(
                (n + 1).to_bytes(4 if name == "eflags" else 8, "little").hex() for n, name in enumerate(NAMES)
            )
        if text[0] == "m":
            address, _, length = text[1:].partition(",")
            chunk = self.memory[int(address, 16) : int(address, 16) + int(length, 16)]
            return chunk.hex() if chunk else "E14"
        if text[:3] in ("Z2,", "z2,"):
            return self._watch(text[0] == "Z", *text[3:].split(","))
        if text.startswith("Hg"):
            return "OK" if int(text[2:], 16) <= self.nr_vcpus else "E22"
        return "OK"

    def _watch(self, arm: bool, address: str, length: str) -> str:
        if arm and (address == "bad" or len(self.watches) == self.slots):
            return "E22"
        if arm:
            self.watches[int(address, 16)] = length
        elif self.watches.pop(int(address, 16), None) != length:
            return "E22"
        return "OK"


Body: TypeAlias = Callable[[GdbClient, Stub], Awaitable[None]]


async def with_stub(body: Body, no_ack: bool = True) -> Stub:
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        stub = Stub(theirs, no_ack)
        nursery.start_soon(stub.run)
        client = await connect_gdb(ours, 4)
        await wait_all_tasks_blocked()
        assert stub.running, "connecting leaves the guest running"
        await body(client, stub)
        nursery.cancel_scope.cancel()
    return stub


@pytest.mark.parametrize("no_ack", [True, False])
async def test_a_round_of_stop_look_and_resume(no_ack: bool) -> None:
    async def body(client: GdbClient, stub: Stub) -> None:
        for _ in range(3):
            stop = await client.stop()
            assert stop == Stop("interrupt")
            registers = await client.registers(1)
            assert [getattr(registers, name) for name in NAMES] == list(range(1, len(NAMES) + 1))
            assert await read_memory(client, 100, 3000) == stub.memory[100:3100]
            await client.resume()
            await wait_all_tasks_blocked()
            assert stub.running
        assert client.statistics().stops == 3

    stub = await with_stub(body, no_ack)
    assert stub.lost_bytes == 0, "nothing but 0x03 was sent to a running guest"
    # vCPU 1 of ours is thread 2 of the stub's, selected once per stop.
    assert stub.asked.count("Hg2") == 3


async def test_a_watchpoint_that_wins_the_race_gives_one_stop() -> None:
    async def body(client: GdbClient, stub: Stub) -> None:
        await client.stop()
        await client.arm_watch(0xFF25E97382EFE350)
        await client.resume()
        stub.stop_reply = "T05thread:02;watch:ff25e97382efe350;"
        stop = await client.stop()
        assert stop == Stop("watch", 1, 0xFF25E97382EFE350)
        stub.stop_reply = "T02thread:01;"
        await client.resume()
        assert (await client.stop()).reason == "interrupt"
        assert client.statistics().watch_stops == 1

    await with_stub(body)


async def test_waiting_for_a_stop_can_be_given_up_and_taken_up() -> None:
    async def body(client: GdbClient, stub: Stub) -> None:
        await client.stop()
        await client.arm_watch(0x1000)
        await client.resume()
        with trio.move_on_after(0):
            await client.wait_stop()
        await stub.halt("T05thread:01;watch:1000;")
        assert (await client.wait_stop()).watch_address == 0x1000

    await with_stub(body)


async def test_a_cancelled_question_does_not_shift_the_answers() -> None:
    async def body(client: GdbClient, stub: Stub) -> None:
        await client.stop()
        stub.silent = True
        with trio.move_on_after(0.01):
            await read_memory(client, 0, 4)
        assert stub.asked[-1] == "m0,4"
        stub.silent = False
        await stub.say("deadbeef")  # the answer that nobody waits for any more
        assert await read_memory(client, 16, 2) == bytes([16, 17])
        assert client.statistics().discarded_replies == 2  # one more from connecting

    await with_stub(body)


async def test_talking_to_a_running_guest_is_refused() -> None:
    async def body(client: GdbClient, stub: Stub) -> None:
        with pytest.raises(InternalError, match="would stop the guest"):
            await read_memory(client, 0, 4)
        with pytest.raises(InternalError, match="while the guest runs"):
            await client.resume()
        await client.stop()
        with pytest.raises(InternalError, match="wait_stop"):
            await client.wait_stop()

    await with_stub(body)


async def test_a_refused_watch_names_the_address_and_the_way_out() -> None:
    async def body(client: GdbClient, stub: Stub) -> None:
        await client.stop()
        assert await client.ask("m999999,4") == "E14"
        with pytest.raises(HostError, match="refused") as caught:
            await client.arm_watch(0xBAD, 4)
        assert "four slots" in caught.value.hint
        await client.arm_watch(0x1000)
        await client.disarm_watch(0x1000)
        assert stub.asked[-2:] == ["Z2,1000,4", "z2,1000,4"]

    await with_stub(body)


async def test_a_stub_that_hangs_and_one_that_ends(autojump_clock: MockClock) -> None:
    async def hang(client: GdbClient, stub: Stub) -> None:
        await client.stop()
        stub.silent = True
        with pytest.raises(EngineTimeoutError):
            await client.registers(0)

    async def end(client: GdbClient, stub: Stub) -> None:
        await stub.stream.aclose()
        with pytest.raises(EngineLostError):
            await client.wait_stop()

    await with_stub(hang)
    await with_stub(end)


@pytest.mark.parametrize(
    ("armed", "removed", "told"),
    [
        ((0x1000,), (), 0x1000),
        ((0x1000, 0x2000), (), None),
        ((0x1000, 0x2000), (0x2000,), 0x1000),
        ((), (), None),
    ],
)
async def test_a_hit_at_an_address_that_was_never_watched_is_a_hit_of_something(
    armed: tuple[int, ...], removed: tuple[int, ...], told: int | None
) -> None:
    async def body(client: GdbClient, stub: Stub) -> None:
        await client.stop()
        for address in armed:
            await client.arm_watch(address)
        for address in removed:
            await client.disarm_watch(address)
        await client.resume()
        await stub.halt("T05thread:02;watch:5593300e7000;")
        assert await client.wait_stop() == Stop("watch", 1, told)
        assert client.statistics().misnamed_hits == 1

    await with_stub(body)


async def test_a_hit_of_a_watch_that_was_just_removed_keeps_its_name() -> None:
    async def body(client: GdbClient, stub: Stub) -> None:
        await client.stop()
        await client.arm_watch(0x1000)
        await client.arm_watch(0x2000)
        await client.disarm_watch(0x1000)
        await client.resume()
        await stub.halt("T05thread:01;watch:1000;")
        assert await client.wait_stop() == Stop("watch", 0, 0x1000)

    await with_stub(body)


@pytest.mark.parametrize("text", ["", "T", "Tzz", "T05thread:zz;", "T05watch:nonsense;"])
def test_strange_stop_replies_are_refused(text: str) -> None:
    with pytest.raises(InternalError):
        parse_stop(text)


def test_stop_replies_of_multiprocess_stubs() -> None:
    assert parse_stop("T05thread:p01.03;watch:10;") == Stop("watch", 2, 0x10)
    assert parse_stop("S05") == Stop("other")


def test_a_target_description_that_lacks_a_register_is_refused() -> None:
    assert includes(TARGET) == ["core.xml"]
    with pytest.raises(InternalError, match="cr3"):
        parse_features([TARGET, CORE.replace('"cr3"', '"cr33"')])
    with pytest.raises(InternalError, match="not XML"):
        parse_features(["<target>"])


def test_a_short_register_packet_is_refused() -> None:
    layout = parse_features([TARGET, CORE])
    with pytest.raises(ValueError, match="described"):
        layout.decode(bytes(20))


texts = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="$#}*"))


@given(st.lists(texts), st.data())
def test_packets_survive_any_split(packets: list[str], data: st.DataObject) -> None:
    stream = b"+".join(map(encode, packets))
    reader, found = PacketReader(), []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        found += reader.feed(stream[:cut])
        stream = stream[cut:]
    assert found == packets
    assert reader.junk_bytes == reader.bad_checksums == 0


@given(st.binary(), texts)
def test_junk_never_raises_and_a_packet_behind_it_is_found(junk: bytes, text: str) -> None:
    reader = PacketReader()
    reader.feed(junk)
    # A "$" starts afresh, so at most what the junk itself framed comes before ours.
    assert reader.feed(b"\n" + encode(text))[-1:] == [text] or b"#" in junk or b"$" in junk


def test_escapes_run_lengths_and_checksums() -> None:
    reader = PacketReader()
    body = b"a}\x03b0* c"
    assert reader.feed(b"$%s#%02x" % (body, sum(body) & 255)) == ["a#b0000c"]
    assert reader.feed(b"$abc#00$ok#da") == ["ok"]
    assert reader.bad_checksums == 1
