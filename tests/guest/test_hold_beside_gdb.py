"""A hold of the observer shows what gdb's stop at the same instant of another run of that seed shows.

Stops of the stub are not part of a run with a seed: what comes after one depends on the host. What comes before the
first does not. So one run is held at a store, and where a block of translated code begins; a second one is stopped by
gdb's watchpoint on that store; and a third one by the arrival of gdb while the observer holds it, which lets it come to
the end of that block. A breakpoint is of no use here: it changes what is translated, and so the turns of the vCPUs.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from ktstr_tui.guest import observed, qemu
from ktstr_tui.guest.boot import pass_boot
from ktstr_tui.guest.determinism import Determinism
from ktstr_tui.guest.engine import Registers, Stop
from ktstr_tui.guest.gdb import GdbClient, connect_gdb
from ktstr_tui.guest.hold import HoldEngine
from ktstr_tui.guest.machine import Machine, MachineSpec, open_machine
from ktstr_tui.guest.machine_state import load_state
from ktstr_tui.guest.qmp import QmpClient
from ktstr_tui.guest.ram import data_ranges
from ktstr_tui.guest.seeded_boot import find_or_make, main_thread_waits
from ktstr_tui.kernel.memory import GuestRam
from ktstr_tui.kernel.view import KernelView
from tests.guest.waiting import BOOT_DEADLINE_S

pytestmark = pytest.mark.guest
WATCHED, LENGTH, VALUE = "panic_timeout", 4, 123
AT_STATION = 20
IMPORTANT = {"rip", "rsp", "eflags", "cr3", "gs_base"}
PAGE_BYTES = 4096
ZEROS = bytes(PAGE_BYTES)


class Seen(msgspec.Struct, frozen=True):
    """A machine that stands."""

    stop: Stop
    registers: tuple[Registers, ...]
    pages: dict[tuple[int, int], bytes]
    """Digest of each page that is not all zeros, by RAM file and offset."""


@asynccontextmanager
async def beginning(spec: MachineSpec) -> AsyncIterator[Machine]:
    """A machine that is held at its first instructions, and will be told to write."""
    origin = await find_or_make(spec)
    async with open_machine(spec, origin) as machine:
        await pass_boot(machine)
        stations = machine.stations
        assert stations is not None
        said = [f"write /proc/sys/kernel/panic {VALUE}\n".encode()]
        # At a station that is counted, so at the same instruction of each run.
        stations.pull = lambda: said.pop() if said and stations.visited >= AT_STATION else b""
        yield machine


def pages_of(machine: Machine) -> dict[tuple[int, int], bytes]:
    return {
        (number, start): hashlib.blake2b(page, digest_size=16).digest()
        for number, fd in enumerate(machine.ram_fds)
        for first, stop in data_ranges(fd)
        for start in range(first, stop, PAGE_BYTES)
        if (page := os.pread(fd, PAGE_BYTES, start)) != ZEROS
    }


async def look(machine: Machine, engine: HoldEngine | GdbClient) -> Seen:
    """Look at a machine when it stands."""
    with trio.fail_after(BOOT_DEADLINE_S):
        return await read(machine, engine, await engine.wait_stop())


async def read(machine: Machine, engine: HoldEngine | GdbClient, stop: Stop) -> Seen:
    """Look at a machine that stands."""
    vcpus = range(machine.spec.topology.cpus)
    await engine.ask_registers(vcpus)
    registers = tuple([await engine.next_registers() for _ in vcpus])
    return Seen(stop, registers, pages_of(machine))


class Held(msgspec.Struct, frozen=True):
    """What the observer shows of one run."""

    address: int
    """Of what is written."""
    at_store: Seen
    total: int
    """Instructions before a block that comes later."""
    behind_block: Seen
    """Where the next one begins."""


async def held(spec: MachineSpec) -> Held:
    """Hold one run at the store, and then where two blocks begin one after the other."""
    async with beginning(spec) as machine:
        engine, stations = machine.engine, machine.stations
        assert isinstance(engine, HoldEngine)
        assert stations is not None
        address = KernelView.open(GuestRam.from_fds(machine.ram_parts())).symbols.find(WATCHED)
        assert address is not None
        await engine.stop()
        await engine.arm_watch(address, LENGTH)
        await engine.resume()
        stations.begin()
        at_store = await look(machine, engine)
        totals: list[int] = []
        seen: list[Seen] = []
        done = trio.Event()

        async def at_count(total: int) -> None:
            totals.append(total)
            if len(totals) == 1:
                engine.hold_at(total + 1)
                return
            seen.append(await read(machine, engine, await engine.stop()))
            done.set()
            await engine.resume()

        engine.at_count = at_count
        assert engine.held is not None
        # All of the block that the store is in is counted, so that is where the next one begins.
        assert engine.held.in_block
        behind = engine.held.total
        engine.hold_at(behind)
        await engine.resume()
        with trio.fail_after(BOOT_DEADLINE_S):
            await done.wait()
        assert totals[0] == behind
        return Held(address, at_store, totals[0], seen[0])


@contextmanager
def with_stub(place: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Give machines a stub beside the observer."""
    command = qemu.command
    with monkeypatch.context() as patch:
        stub = ["-gdb", f"unix:{place},server=on,wait=off"]
        patch.setattr(qemu, "command", lambda *words: [*command(*words), *stub])
        yield patch


async def stopped_by_watch(spec: MachineSpec, address: int, monkeypatch: pytest.MonkeyPatch) -> Seen:
    """What gdb shows where its watchpoint is hit, which it has set before the machine goes on."""
    place, execute = str(spec.socket_dir / "gdb"), QmpClient.execute
    clients: list[GdbClient] = []
    async with AsyncExitStack() as stack:

        async def load_and_attach(qmp: QmpClient, state: Path) -> None:
            await load_state(qmp, state)
            stream = await stack.enter_async_context(await trio.open_unix_socket(place))
            clients.append(await connect_gdb(stream, resume=False))
            await clients[0].arm_watch(address, LENGTH)

        async def continue_by_gdb(qmp: QmpClient, name: str, **rest: Any) -> Any:  # noqa: ANN401
            # Only of a machine that it has let run itself does the stub say that it stopped.
            return await (clients[0].resume() if name == "cont" else execute(qmp, name, **rest))

        with with_stub(place, monkeypatch) as patch:
            patch.setattr(observed, "load_state", load_and_attach)
            patch.setattr(QmpClient, "execute", continue_by_gdb)
            async with beginning(spec) as machine:
                assert machine.stations is not None
                machine.stations.begin()
                return await look(machine, clients[0])


async def stopped_behind_block(spec: MachineSpec, total: int, monkeypatch: pytest.MonkeyPatch) -> Seen:
    """What gdb shows at the end of a block that was about to be executed when it came."""
    place = str(spec.socket_dir / "gdb")
    with with_stub(place, monkeypatch):
        async with AsyncExitStack() as stack:
            machine = await stack.enter_async_context(beginning(spec))
            engine, come = machine.engine, trio.Event()
            assert isinstance(engine, HoldEngine)
            assert machine.stations is not None
            streams: list[trio.SocketStream] = []

            async def at_count(count: int) -> None:
                assert count == total
                streams.append(await stack.enter_async_context(await trio.open_unix_socket(place)))
                await main_thread_waits(machine.pid)
                come.set()

            engine.at_count = at_count
            engine.hold_at(total)
            machine.stations.begin()
            with trio.fail_after(BOOT_DEADLINE_S):
                await come.wait()
                gdb = await connect_gdb(streams[0], resume=False)
                return await read(machine, gdb, Stop("interrupt"))
    raise AssertionError


def compare(ours: Seen, theirs: Seen, vcpu: int, lacks: set[str]) -> None:
    """Both show the same, but for what ours does not show of the vCPU that it holds."""
    for number, (mine, other) in enumerate(zip(ours.registers, theirs.registers, strict=True)):
        known = mine.by_name()
        assert known == {name: other.by_name()[name] for name in known}, number
        assert IMPORTANT - known.keys() == (lacks if number == vcpu else set())
    assert {at for at in {*ours.pages, *theirs.pages} if ours.pages.get(at) != theirs.pages.get(at)} == set()
    assert len(ours.pages) > 1000


async def test_registers_and_memory_are_those_of_gdb(
    machine_spec: MachineSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(machine_spec, accelerator="tcg", determinism=Determinism(42), observed=True, run_files=b"")
    ours = await held(spec)
    vcpu = ours.at_store.stop.vcpu
    theirs = await stopped_by_watch(spec, ours.address, monkeypatch)
    assert ours.at_store.stop == theirs.stop == Stop("watch", vcpu, ours.address)
    # Within a block the emulator does not know the flags of the vCPU that it executes.
    compare(ours.at_store, theirs, vcpu, {"eflags"})
    behind = await stopped_behind_block(spec, ours.total, monkeypatch)
    compare(ours.behind_block, behind, vcpu, set())
