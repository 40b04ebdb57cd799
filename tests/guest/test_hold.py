"""The rules of engines, kept by the observer over a real kernel."""

from __future__ import annotations

import os
import signal
import socket
from dataclasses import replace

import pytest
import trio
import trio.testing

from ktstr_tui.guest.determinism import Determinism
from ktstr_tui.guest.engine import EngineLostError
from ktstr_tui.guest.hold import HoldEngine
from ktstr_tui.guest.machine import MachineSpec
from ktstr_tui.kernel.memory import GuestRam
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.topology import Topology
from tests.contracts.engine import CHECKS, ENDINGS, Check
from tests.guest.conftest import BootGuest, Guest
from tests.guest.sysctl_words import SYSCTLS, SysctlGuest, hit_one_of_many
from tests.guest.test_machine import symbol_address
from tests.guest.waiting import BOOT_DEADLINE_S

pytestmark = pytest.mark.guest
SEED = 42
STOPS, STOPS_AT_MOST, STEPS = 10, 40, 2000


@pytest.fixture
def seeded(machine_spec: MachineSpec) -> MachineSpec:
    """A machine that the observer holds."""
    return replace(machine_spec, accelerator="tcg", determinism=Determinism(SEED), observed=True)


class HeldGuest(SysctlGuest):
    """A booted guest that the observer holds."""

    def __init__(self, guest: Guest, addresses: list[int], view: KernelView | None = None) -> None:
        super().__init__(guest, addresses)
        self.engine = guest.machine.engine
        self._view = view

    async def read(self, word: int) -> int:
        assert self._view is not None
        await trio.lowlevel.checkpoint()
        return int.from_bytes(self._view.space.read(self._addresses[word], 4), "little")

    async def hang(self) -> None:
        os.kill(self._guest.machine.pid, signal.SIGSTOP)
        # The thread of the vCPUs may run on for a while: only when all threads stand is the parent told.
        os.waitid(os.P_PID, self._guest.machine.pid, os.WSTOPPED | os.WNOWAIT)  # noqa: ASYNC222 - it is at once
        # A machine that is held just then is stopped already; it is let run, which it cannot.
        await trio.testing.wait_all_tasks_blocked()
        while isinstance(self.engine, HoldEngine) and self.engine.held is not None:  # noqa: ASYNC110
            await trio.sleep(0.01)


async def test_all_rules_but_those_of_the_end(seeded: MachineSpec, boot_guest: BootGuest) -> None:
    async with boot_guest(seeded) as guest:
        addresses = [await symbol_address(guest, name) for name, _ in SYSCTLS]
        view = KernelView.open(GuestRam.from_fds(guest.machine.ram_parts()))
        held = HeldGuest(guest, addresses, view)
        for check in CHECKS:
            with trio.fail_after(BOOT_DEADLINE_S):
                await check(held)
        with trio.fail_after(BOOT_DEADLINE_S):
            assert len(await vcpus_of_stops(guest, view)) > 1
            await steps_end_with_the_vcpu_that_makes_them(guest)


async def steps_end_with_the_vcpu_that_makes_them(guest: Guest) -> None:
    """Also where its turn is over, as at the end of what an idle one does, and others execute before it does again."""
    engine = guest.machine.engine
    assert isinstance(engine, HoldEngine)
    for vcpu in range(guest.machine.spec.topology.cpus):
        await engine.stop()
        for _ in range(STEPS):
            engine.resume_as = f"s:{vcpu + 1:x};c"
            await engine.resume()
            assert (await engine.wait_stop()).vcpu == vcpu
        engine.resume_as = "c"
        await engine.resume()


async def vcpus_of_stops(guest: Guest, view: KernelView) -> set[int]:
    """The vCPUs that stops were on, each of which is the one whose memory the registers point to."""
    engine, nr = guest.machine.engine, guest.machine.spec.topology.cpus
    offsets = await symbol_address(guest, "__per_cpu_offset")
    own_memory = of_cpus(view, offsets, nr)
    seen: set[int] = set()
    for number in range(STOPS_AT_MOST):
        if number >= STOPS and len(seen) > 1:
            break
        stop = await engine.stop()
        await engine.ask_registers([stop.vcpu])
        own = await engine.next_registers()
        assert own_memory[stop.vcpu] in (own.gs_base, own.k_gs_base)
        seen.add(stop.vcpu)
        await engine.resume()
        await guest.ask("cat /proc/interrupts")
    return seen


async def test_sixteen_vcpus_have_registers_of_their_own_and_a_write_is_told_of_the_one_that_made_it(
    seeded: MachineSpec, boot_guest: BootGuest
) -> None:
    async with boot_guest(replace(seeded, topology=Topology.of_cpus(16))) as guest:
        engine, nr = guest.machine.engine, guest.machine.spec.topology.cpus
        view = KernelView.open(GuestRam.from_fds(guest.machine.ram_parts()))
        own = of_cpus(view, await symbol_address(guest, "__per_cpu_offset"), nr)
        panic_timeout = await symbol_address(guest, "panic_timeout")
        await engine.stop()
        await engine.ask_registers(range(nr))
        for cpu in range(nr):
            registers = await engine.next_registers()
            assert own[cpu] in (registers.gs_base, registers.k_gs_base)
        await engine.arm_watch(panic_timeout)
        await engine.resume()
        await guest.tell("write /proc/sys/kernel/panic 77")
        with trio.fail_after(BOOT_DEADLINE_S):
            stop = await engine.wait_stop()
        await engine.ask_registers([stop.vcpu])
        writer = await engine.next_registers()
        assert own[stop.vcpu] in (writer.gs_base, writer.k_gs_base)
        assert isinstance(engine, HoldEngine)
        assert engine.held is not None
        assert engine.held.value == 77
        await engine.resume()


def of_cpus(view: KernelView, offsets: int, nr: int) -> list[int]:
    """Where each CPU has its memory, which a register of its vCPU points to."""
    return [int.from_bytes(view.space.read(offsets + 8 * cpu, 8), "little") for cpu in range(nr)]


@pytest.mark.parametrize("check", ENDINGS, ids=lambda check: check.__name__)
async def test_the_end_of_the_guest(check: Check, seeded: MachineSpec, boot_guest: BootGuest) -> None:
    async with boot_guest(seeded) as guest:
        with trio.fail_after(BOOT_DEADLINE_S):
            await check(HeldGuest(guest, [0, 0]))
        await guest.machine.wait_exit()


async def test_ten_thousand_watches_tell_the_one_that_is_hit_and_the_end_of_the_backend_ends_the_machine(
    seeded: MachineSpec, boot_guest: BootGuest
) -> None:
    async with boot_guest(seeded) as guest:
        machine, engine = guest.machine, await hit_one_of_many(guest)
        assert engine.held is not None
        assert (engine.held.value, engine.held.width) == (77, 4)
        assert not any(engine.drops().values())

        machine._gdb_stream.socket.shutdown(socket.SHUT_RDWR)
        with trio.fail_after(BOOT_DEADLINE_S):
            ended = await machine.wait_exit()
        assert ended.returncode == 1
        assert "the backend is gone while the machine is held" in ended.detail
        with pytest.raises(EngineLostError):
            await engine.resume()
