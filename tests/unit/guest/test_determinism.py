"""Machines with a seed: their options, what is refused, and the stations at which the host may speak."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from ktstr_tui.guest import determinism, qemu
from ktstr_tui.guest.determinism import Determinism, check_determinism, why_no_observer
from ktstr_tui.guest.machine import MachineSpec
from ktstr_tui.guest.stations import (
    BUFFER_BYTES,
    MOST_BUFFERS,
    PATIENCE_S,
    SWALLOW_ROUNDS,
    Given,
    StationedStream,
    Stations,
)
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.topology import Topology
from tests.unit.guest.test_qemu import fake_qemu, option


@pytest.fixture
def spec(tmp_path: Path) -> MachineSpec:
    return MachineSpec(
        kernel=tmp_path / "vmlinuz",
        initrd=b"",
        topology=Topology.of_cpus(8),
        memory_bytes=512 << 20,
        accelerator="tcg",
        socket_dir=tmp_path,
        console_log=tmp_path / "console.log",
        determinism=Determinism(7, 2),
        observed=True,
    )


def command(spec: MachineSpec, directory: Path) -> list[str]:
    fake_qemu(directory, "exit 1")
    channels = {"qmp": 3, "gdb": 4, "bulk": 5, "stats": 6, "page": 7}
    return qemu.command(directory / qemu.PROGRAM, spec, "/fd/9", ("/fd/1",), channels)


def test_no_clock_and_no_chance_of_the_host(spec: MachineSpec, tmp_path: Path) -> None:
    built = command(spec, tmp_path)
    assert option(built, "-accel") == ["tcg,thread=single"], "of any number of vCPUs"
    assert option(built, "-icount") == ["shift=1,align=off,sleep=off"]
    assert option(built, "-rtc") == ["base=2026-01-01T00:00:00,clock=vm"]
    assert option(built, "-seed") == ["7"]
    assert "virtio-serial-pci,ioeventfd=off" in option(built, "-device")
    assert option(built, "-plugin") == [f"{determinism.observer_file()},page=7,link=4"]
    assert "ktstr_seed=7" in option(built, "-append")[0].split(), "for the workers"
    assert "-gdb" not in built, "its handshake would stop the guest"


def test_without_an_observer_the_stub_connects_before_the_guest_runs(
    spec: MachineSpec, tmp_path: Path
) -> None:
    built = command(replace(spec, observed=False), tmp_path)
    assert option(built, "-gdb") == ["chardev:gdb"]
    assert "-S" in built
    assert option(built, "-plugin") == []


def test_a_machine_without_a_seed_is_as_ever(spec: MachineSpec, tmp_path: Path) -> None:
    built = command(replace(spec, determinism=None, observed=False), tmp_path)
    assert not {"-icount", "-seed", "-rtc", "-plugin", "-S"} & set(built)
    assert "virtio-serial-pci" in option(built, "-device")
    assert "ktstr_seed" not in option(built, "-append")[0]


@pytest.mark.parametrize(
    ("seed", "instruction_ns", "said"),
    [
        (-1, 4, "seed"),
        (1 << 32, 4, "seed"),
        (1, 3, "power of two"),
        (1, 0, "power of two"),
        (1, 2048, "power of two"),
    ],
)
def test_what_no_machine_can_have(seed: int, instruction_ns: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_determinism(seed, instruction_ns)


def test_an_old_qemu_has_no_observer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = tmp_path / "ktstr-observer.so"
    monkeypatch.setattr(determinism, "observer_file", lambda: plugin)
    assert "is missing" in (why_no_observer(tmp_path / "a", "10.0.2") or "")
    plugin.touch()
    assert "older than 9.2" in (why_no_observer(tmp_path / "b", "7.2.22 (Debian)") or "")
    fake_qemu(tmp_path, 'echo "no plugins here" >&2; exit 1')
    assert why_no_observer(tmp_path / qemu.PROGRAM, "10.0.2") == "no plugins here"


class Port:
    """A port with both ends in this process; like QEMU's main loop it takes a buffer at each question."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair()
        self.theirs.setblocking(False)
        self.asked, self.room, self.taken = 0, 1 << 30, b""
        self.given: list[Given] = []
        self.buffers: list[int] = []
        self.stations = Stations(self._ask)
        self.stations.on_given = self.given.append
        self.stream = StationedStream(self.stations, "bulk", ours)
        self.stations.bulk = self.stream.stream

    async def _ask(self) -> object:
        await trio.lowlevel.checkpoint()
        self.asked += 1
        self._take()
        return None

    async def take_at_once(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self.theirs)
            self._take()

    def _take(self) -> None:
        with suppress(BlockingIOError):
            if size := min(BUFFER_BYTES, self.room):
                found = self.theirs.recv(size)
                self.taken += found
                self.buffers.append(len(found))
                self.room -= size

    def arrived(self) -> bytes:
        taken, self.taken = self.taken, b""
        return taken


@pytest.fixture
def port() -> Iterator[Port]:
    made = Port()
    yield made
    made.theirs.close()


async def test_bytes_wait_for_a_station_and_are_written_down(port: Port, autojump_clock: MockClock) -> None:
    await port.stations.visit(100)
    assert port.asked == 0, "nothing to swallow"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(port.stream.send_all, b"one")
        await trio.testing.wait_all_tasks_blocked()
        assert port.arrived() == b""
        await port.stations.visit(200)
    assert port.arrived() == b"one"
    assert port.given == [Given(200, "bulk", b"one")]
    assert port.asked == 1 + SWALLOW_ROUNDS
    await port.stream.aclose()


async def test_all_of_a_large_object_is_taken_before_the_machine_runs(
    port: Port, autojump_clock: MockClock
) -> None:
    pieces = [bytes(BUFFER_BYTES * 8)] * 4
    port.stations.pull = lambda: pieces.pop() if pieces else b""
    await port.stations.visit(100)
    assert (len(port.arrived()), len(pieces)) == (MOST_BUFFERS * BUFFER_BYTES, 2), (
        "the rest waits for the next station"
    )
    await port.stations.visit(200)
    assert (len(port.arrived()), pieces, port.stations.late) == (MOST_BUFFERS * BUFFER_BYTES, [], 0)
    assert [it.instructions for it in port.given] == [100, 100, 200, 200]
    await port.stream.aclose()


@pytest.mark.parametrize("eager", [False, True])
async def test_the_guest_gets_the_same_buffers_however_busy_the_host_is(
    port: Port, eager: bool, autojump_clock: MockClock
) -> None:
    pieces = [b"a" * 300, b"b" * (BUFFER_BYTES + 1), b"c" * 16]
    port.stations.pull = lambda: pieces.pop(0) if pieces else b""
    async with trio.open_nursery() as nursery:
        if eager:
            nursery.start_soon(port.take_at_once)
        await port.stations.visit(100)
        nursery.cancel_scope.cancel()
    assert port.buffers == [300, BUFFER_BYTES, 1, 16]
    await port.stream.aclose()


async def test_what_the_guest_has_no_room_for_is_counted(port: Port, autojump_clock: MockClock) -> None:
    answers = [bytes(BUFFER_BYTES * 3)]
    port.stations.pull, port.room = lambda: answers.pop() if answers else b"", BUFFER_BYTES
    await port.stations.visit(100)
    assert (len(port.arrived()), port.stations.late) == (BUFFER_BYTES, 1)
    await port.stream.aclose()


async def test_a_send_that_is_given_up_sends_nothing(port: Port, autojump_clock: MockClock) -> None:
    with trio.move_on_after(1):
        await port.stream.send_all(b"never")
    await port.stations.visit(100)
    assert port.arrived() == b""
    await port.stream.aclose()


async def test_a_station_waits_for_answers_but_not_for_ever(port: Port, autojump_clock: MockClock) -> None:
    answers = [b"two"]

    async def settle() -> None:
        await trio.sleep(1)

    port.stations.settle, port.stations.pull = settle, lambda: answers.pop() if answers else b""
    await port.stations.visit(300)
    assert (port.arrived(), port.stations.late) == (b"two", 0)
    port.stations.settle = trio.sleep_forever
    started_s = trio.current_time()
    await port.stations.visit(400)
    assert port.stations.late == 1
    assert trio.current_time() - started_s == PATIENCE_S
    await port.stream.aclose()


async def test_drained_is_a_reader_with_nothing_left(port: Port, autojump_clock: MockClock) -> None:
    def drained() -> bool:
        return port.stream.drained

    assert not drained(), "nobody reads"
    port.stations.end()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(port.stream.receive_some, 10)
        await trio.testing.wait_all_tasks_blocked()
        assert drained()
        port.theirs.send(b"x")
        assert not drained()
    await port.stream.aclose()


async def test_what_comes_between_two_stations_is_taken_at_the_next(
    port: Port, autojump_clock: MockClock
) -> None:
    taken: list[bytes] = []

    async def read() -> None:
        while data := await port.stream.receive_some():
            taken.append(bytes(data))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        port.theirs.send(b"early")
        await trio.testing.wait_all_tasks_blocked()
        assert taken == []
        await port.stations.visit(100)
        assert taken == [b"early"]
        port.theirs.send(b"later")
        await trio.testing.wait_all_tasks_blocked()
        assert taken == [b"early"]
        await port.stations.hear()
        assert taken == [b"early", b"later"]
        port.theirs.send(b"last")
        port.stations.end()
        await trio.testing.wait_all_tasks_blocked()
        assert taken == [b"early", b"later", b"last"]
        nursery.cancel_scope.cancel()
    await port.stream.aclose()
