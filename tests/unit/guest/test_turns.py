"""Whose turn it is: the observer's table, compiled as it stands, and the vCPU that is found by its registers."""

from __future__ import annotations

import ctypes
import shutil
import socket
import struct
import subprocess
from contextlib import closing
from pathlib import Path
from unittest.mock import AsyncMock

import msgspec
import pytest
import trio

from ktstr_tui.guest import observer_page
from ktstr_tui.guest.engine import Registers
from ktstr_tui.guest.hold import HoldEngine
from ktstr_tui.guest.observer_page import MAX_VCPUS, HoldReason, ObserverPage
from ktstr_tui.guest.stations import stream_of
from ktstr_tui.guest.turns import whose_turn
from ktstr_tui.model.errors import HostError, InternalError

SOURCE = Path(__file__).parents[3] / "native/observer/turns.c"
STATES = (0x1000, 0x2000, 0x3000)
NR_VCPUS = 3


class Turns(ctypes.Structure):
    """`struct turns`."""

    _fields_ = (
        ("now", ctypes.c_void_p),
        ("vcpu", ctypes.c_uint32),
        ("nr", ctypes.c_uint32),
        ("states", ctypes.c_void_p * MAX_VCPUS),
        ("numbers", ctypes.c_uint32 * MAX_VCPUS),
    )


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler is not None, "no C compiler: apt install gcc libc6-dev"
    path = tmp_path_factory.mktemp("turns") / "turns.so"
    subprocess.run([compiler, "-O1", "-Wall", "-Werror", "-fPIC", "-shared", "-o", path, SOURCE], check=True)
    loaded = ctypes.CDLL(str(path))
    loaded.turns_begin.restype = loaded.turns_learn.restype = ctypes.c_bool
    return loaded


def begin(library: ctypes.CDLL, turns: Turns, state: int) -> bool:
    known: bool = library.turns_begin(ctypes.byref(turns), ctypes.c_void_p(state))
    return known


def learn(library: ctypes.CDLL, turns: Turns, state: int, number: int, nr_vcpus: int = NR_VCPUS) -> bool:
    taken: bool = library.turns_learn(ctypes.byref(turns), ctypes.c_void_p(state), number, nr_vcpus)
    return taken


def test_a_turn_is_of_the_number_that_was_learned(library: ctypes.CDLL) -> None:
    turns = Turns()
    assert not begin(library, turns, STATES[0])
    assert not turns.now
    for state, number in zip(STATES, (2, 0, 1), strict=True):
        assert learn(library, turns, state, number)
    for state, number in zip(STATES, (2, 0, 1), strict=True):
        assert begin(library, turns, state)
        assert (turns.now, turns.vcpu) == (state, number)


def test_a_number_is_of_one_vcpu_and_there_is_none_beyond_the_machine(library: ctypes.CDLL) -> None:
    turns = Turns()
    assert not learn(library, turns, STATES[0], NR_VCPUS)
    assert learn(library, turns, STATES[0], 1)
    assert not learn(library, turns, STATES[1], 1)
    assert turns.nr == 1


def test_as_many_as_there_are(library: ctypes.CDLL) -> None:
    turns = Turns()
    for number in range(MAX_VCPUS):
        assert learn(library, turns, 16 + number, number, MAX_VCPUS + 1)
    assert not learn(library, turns, 8, MAX_VCPUS, MAX_VCPUS + 1)
    assert begin(library, turns, 16 + MAX_VCPUS - 1)


def registers(**values: int) -> Registers:
    every = dict.fromkeys(Registers.__struct_fields__, 0)
    return Registers(**(every | values))


def printed(own: Registers, **values: int) -> Registers:
    """What the monitor prints of it."""
    return msgspec.structs.replace(own, k_gs_base=None, cr8=None, **values)


def test_it_is_the_vcpu_with_the_same_registers() -> None:
    one, other = registers(rsp=1, k_gs_base=5, rip=7), registers(rsp=2, rip=7)
    of_all = {0: printed(one, rip=3, eflags=2), 1: printed(other)}
    assert whose_turn(one, of_all, ()) == 0
    assert whose_turn(other, of_all, ()) == 1


def test_of_vcpus_that_are_alike_it_is_the_first_that_was_not_met() -> None:
    reset = registers()
    of_all = {vcpu: printed(reset) for vcpu in (1, 0, 2)}
    assert whose_turn(reset, of_all, ()) == 0
    assert whose_turn(reset, of_all, {0}) == 1


@pytest.mark.parametrize("own", [None, registers(rsp=9)])
def test_one_that_is_none_of_them_is_said_to_be(own: Registers | None) -> None:
    with pytest.raises(InternalError, match="shows no vCPU"):
        whose_turn(own, {0: printed(registers())}, ())


MONITOR = """CPU#{vcpu}
RAX=0 RBX=0 RCX=0 RDX=0 RSI=0 RDI=0 RBP=0 RSP={rsp:x}
R8 =0 R9 =0 R10=0 R11=0 R12=0 R13=0 R14=0 R15=0
RIP=0 RFL=2
ES =0 0
CS =0 0
SS =0 0
DS =0 0
FS =0 0
GS =0 0
CR0=0 CR2=0 CR3=0 CR4=0
EFER=0
"""


async def test_an_engine_that_is_asked_whose_turn_it_is_answers_and_tells_nobody() -> None:
    ours, theirs = socket.socketpair()
    visited: list[int] = []

    async def monitor() -> str:
        await trio.lowlevel.checkpoint()
        return "".join(MONITOR.format(vcpu=vcpu, rsp=16 * vcpu) for vcpu in range(2))

    async def visit(instructions: int) -> None:
        await trio.lowlevel.checkpoint()
        visited.append(instructions)

    with closing(ObserverPage()) as page, ours, theirs:
        engine = HoldEngine(page, stream_of(ours), monitor, visit, AsyncMock())
        names = Registers.__struct_fields__
        struct.pack_into("<I", page._map, observer_page._HELD, HoldReason.TURN)
        struct.pack_into("<Q", page._map, observer_page._REGISTERS_KNOWN, (1 << len(names)) - 1)
        struct.pack_into("<Q", page._map, observer_page._REGISTERS + 8 * names.index("rsp"), 16)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.run)
            theirs.send(b"h")
            with trio.fail_after(10):
                await trio.lowlevel.wait_readable(theirs)
            assert theirs.recv(1) == b"g"
            assert struct.unpack_from("<I", page._map, observer_page._TURN) == (1,)
            assert (engine.held, engine.running, visited) == (None, True, [])
            theirs.close()


async def test_a_watch_of_a_programs_memory_is_refused_and_a_write_tells_all_that_it_hits() -> None:
    ours, theirs = socket.socketpair()
    with closing(ObserverPage()) as page, ours, theirs:
        engine = HoldEngine(page, stream_of(ours), AsyncMock(), AsyncMock(), AsyncMock())
        engine.running = False
        with pytest.raises(HostError, match="not in the kernel's memory"):
            await engine.arm_watch(0x7FFF_0000_0000, 8)
        await engine.arm_watch(0xFFFF_8000_0000_0000, 8)
        await engine.arm_watch(0xFFFF_8000_0000_0004, 4)
        await engine.arm_watch(0xFFFF_8000_0000_0008, 4)
        struct.pack_into("<II", page._map, observer_page._HELD, HoldReason.WRITE, 1)
        struct.pack_into("<QQQQI", page._map, observer_page._HELD + 16, 0xFFFF_8000_0000_0000, 7, 0, 0, 8)
        engine.running = True
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.run)
            theirs.send(b"h")
            with trio.fail_after(10):
                stop = await engine.wait_stop()
            theirs.close()
        assert stop.watch_address == 0xFFFF_8000_0000_0000
        assert set(stop.also_hit) == {0xFFFF_8000_0000_0004}


async def test_a_vcpu_that_steps_is_told_at_its_next_block_or_at_a_station_that_comes_first() -> None:
    ours, theirs = socket.socketpair()

    async def visit(instructions: int) -> None:
        await trio.lowlevel.checkpoint()

    with closing(ObserverPage()) as page, ours, theirs:
        engine = HoldEngine(page, stream_of(ours), AsyncMock(), visit, AsyncMock())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(engine.run)
            for reason, steps, told in (
                (HoldReason.STOP, "s:2;c", "interrupt"),
                (HoldReason.NEXT, "s:2;c", "other"),
                (HoldReason.STEP, "c", "other"),
            ):
                struct.pack_into("<II", page._map, observer_page._HELD, reason, 1)
                theirs.send(b"h")
                with trio.fail_after(10):
                    stop = await engine.wait_stop()
                assert (stop.reason, stop.vcpu) == (told, 1)
                engine.resume_as = steps
                await engine.resume()
                with trio.fail_after(10):
                    await trio.lowlevel.wait_readable(theirs)
                assert theirs.recv(1) == b"g"
                wanted = 2 if steps == "s:2;c" else 0
                assert struct.unpack_from("<I", page._map, observer_page._NEXT) == (wanted,)
            theirs.close()
