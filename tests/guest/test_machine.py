"""A real machine: its RAM, its stops, its watchpoints and its ends."""

from __future__ import annotations

import mmap
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from ktstr_tui.guest.image import KernelImage
from ktstr_tui.guest.machine import Machine, MachineSpec, open_machine
from ktstr_tui.model.errors import HostError
from ktstr_tui.model.topology import Topology
from tests.guest.conftest import BootGuest, Guest
from tests.guest.waiting import BOOT_DEADLINE_S
from tests.oracles.gdb_memory import read_memory, read_physical

pytestmark = pytest.mark.guest

KERNEL_HALF = 1 << 63


def find_vmcoreinfo(machine: Machine) -> str:
    """The note that the kernel keeps for crash dumps, found in RAM from outside."""
    for fd, offset, _, length in machine.ram_parts():
        with mmap.mmap(fd, length, prot=mmap.PROT_READ, offset=offset) as ram:
            at = ram.find(b"OSRELEASE=")
            while at >= 0:
                note = ram[at : ram.find(b"\0", at)]
                if b"SYMBOL(init_uts_ns)" in note:
                    return note.decode()
                at = ram.find(b"OSRELEASE=", at + 1)
    raise AssertionError("no vmcoreinfo note in guest RAM")


async def symbol_address(guest: Guest, name: str) -> int:
    line = await guest.ask(f"symbol {name}")
    address = int(line.split()[0], 16)
    assert address, f"the guest hides its symbols: {line!r}"
    return address


def read_ram(machine: Machine, guest_phys: int, length: int) -> bytes:
    for fd, offset, start, size in machine.ram_parts():
        if start <= guest_phys and guest_phys + length <= start + size:
            return os.pread(fd, length, offset + guest_phys - start)
    raise AssertionError(f"{guest_phys:#x} is not in RAM")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_ram_holds_what_the_guest_says(
    machine_spec: MachineSpec, boot_guest: BootGuest, kernel: KernelImage
) -> None:
    async with boot_guest(machine_spec) as guest:
        note = find_vmcoreinfo(guest.machine)
        assert f"OSRELEASE={kernel.release}\n" in note
        fields = dict(line.split("=", 1) for line in note.splitlines() if "=" in line)
        # KASLR is on, so this address cannot be guessed.
        uts = await symbol_address(guest, "init_uts_ns")
        assert int(fields["SYMBOL(init_uts_ns)"], 16) == uts
        threads = await guest.machine.vcpu_threads()
        assert sorted(threads) == [0, 1]
        for thread in threads.values():
            assert str(thread) in os.listdir(f"/proc/{guest.machine.pid}/task")


async def test_stop_registers_memory_and_resume(machine_spec: MachineSpec, boot_guest: BootGuest) -> None:
    async with boot_guest(machine_spec) as guest:
        gdb = guest.machine.gdb
        banner = await symbol_address(guest, "linux_banner")
        for _ in range(5):
            stop = await gdb.stop()
            assert stop.reason == "interrupt"
            registers = [await gdb.registers(vcpu) for vcpu in range(2)]
            for values in registers:
                assert values.cr0 & 0x8000_0001 == 0x8000_0001, "paging and protected mode"
                assert values.efer & 0x500 == 0x500, "long mode"
                # In the kernel gs_base points to per-CPU data, in user mode k_gs_base does.
                assert max(values.gs_base, values.k_gs_base or 0) >= KERNEL_HALF
            assert registers[0].gs_base != registers[1].gs_base
            assert (await read_memory(gdb, banner, 14)) == b"Linux version "
            await gdb.resume()
            assert (await guest.ask("cat /proc/sys/kernel/ostype")) == "Linux\n"
        statistics = gdb.statistics()
        assert statistics.stops == 5
        assert statistics.bad_checksums == statistics.junk_bytes == 0


async def test_a_watched_write_stops_the_guest(machine_spec: MachineSpec, boot_guest: BootGuest) -> None:
    async with boot_guest(machine_spec) as guest:
        gdb = guest.machine.gdb
        address = await symbol_address(guest, "panic_timeout")
        await gdb.stop()
        await gdb.arm_watch(address)
        await gdb.resume()
        await guest.tell("write /proc/sys/kernel/panic 77")
        with trio.fail_after(BOOT_DEADLINE_S):
            stop = await gdb.wait_stop()
        assert (stop.reason, stop.watch_address) == ("watch", address)
        assert int.from_bytes(await read_memory(gdb, address, 4), "little") == 77
        await gdb.disarm_watch(address)
        await gdb.resume()
        assert await guest.answer() == "ok"
        assert await guest.ask("write /proc/sys/kernel/panic 78") == "ok"
        assert gdb.running


async def test_ram_above_the_pci_hole(machine_spec: MachineSpec, boot_guest: BootGuest) -> None:
    spec = replace(machine_spec, memory_bytes=3 << 30)
    async with boot_guest(spec) as guest:
        machine = guest.machine
        assert [(s.guest_phys, s.length) for s in machine.segments] == [(0, 2 << 30), (4 << 30, 1 << 30)]
        await machine.gdb.stop()
        await compare_with_gdb(machine, per_part=40)
        await machine.gdb.resume()


async def compare_with_gdb(machine: Machine, per_part: int) -> None:
    """Pages that hold data, read from the RAM files and by QEMU's own physical reads."""
    random_source = random.Random(1)
    for fd, offset, guest_phys, length in machine.ram_parts():
        pages = list(data_pages(fd, offset, length))
        assert pages, f"no data in the RAM at {guest_phys:#x}"
        for page in random_source.sample(pages, min(per_part, len(pages))):
            phys = guest_phys + page - offset
            if 0xA0000 <= phys < 0x100000:
                continue  # VGA and option ROMs lie over the RAM there
            assert await read_physical(machine.gdb, phys, 64) == read_ram(machine, phys, 64), hex(phys)


def data_pages(fd: int, offset: int, length: int) -> list[int]:
    pages: list[int] = []
    at, end = offset, offset + length
    while at < end:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            break
        at = min(os.lseek(fd, start, os.SEEK_HOLE), end)
        pages += range(start, at, mmap.PAGESIZE)
    return pages


async def test_topology_as_the_guest_sees_it(machine_spec: MachineSpec, boot_guest: BootGuest) -> None:
    topology = Topology.parse("2n4l2c2t")
    spec = replace(machine_spec, topology=topology, memory_bytes=3 << 30)
    async with boot_guest(spec) as guest:
        cpus = range(topology.cpus)
        for node in range(2):
            listed = (await guest.ask(f"cat /sys/devices/system/node/node{node}/cpulist")).strip()
            assert listed == spans([cpu for cpu in cpus if topology.node_of(cpu) == node])
            total = await guest.ask(f"cat /sys/devices/system/node/node{node}/meminfo")
            kilobytes = int(total.split("MemTotal:")[1].split()[0])
            assert kilobytes * 1024 > (3 << 30) // 2 * 0.9
        for cpu in cpus:
            base = f"/sys/devices/system/cpu/cpu{cpu}"
            level = (await guest.ask(f"cat {base}/cache/index3/level")).strip()
            shared = (await guest.ask(f"cat {base}/cache/index3/shared_cpu_list")).strip()
            assert (level, shared) == (
                "3",
                spans([c for c in cpus if topology.llc_of(c) == topology.llc_of(cpu)]),
            )
            siblings = (await guest.ask(f"cat {base}/topology/thread_siblings_list")).strip()
            assert siblings == spans([cpu & ~1, cpu | 1])
        assert len(guest.machine.ram_fds) == 2
        assert sum(segment.length for segment in guest.machine.segments) == 3 << 30
        await guest.machine.gdb.stop()
        await compare_with_gdb(guest.machine, per_part=20)


def spans(cpus: list[int]) -> str:
    assert cpus == list(range(cpus[0], cpus[-1] + 1))
    return f"{cpus[0]}-{cpus[-1]}" if len(cpus) > 1 else str(cpus[0])


@pytest.mark.parametrize(
    ("command", "reason", "detail"),
    [
        ("panic", "panic", "sysrq triggered crash"),
        ("poweroff", "poweroff", "powered off"),
        ("reboot", "reset", "rebooted"),
    ],
)
async def test_ends_that_the_guest_chose(
    command: str, reason: str, detail: str, machine_spec: MachineSpec, boot_guest: BootGuest
) -> None:
    async with boot_guest(machine_spec) as guest:
        await guest.tell(command)
        with trio.fail_after(BOOT_DEADLINE_S):
            ended = await guest.machine.wait_exit()
        assert (ended.reason, ended.returncode, ended.signal) == (reason, 0, None)
        assert detail in ended.detail
        if command == "panic":
            assert any("Kernel panic - not syncing" in line for line in ended.console_tail)


async def test_a_guest_that_panicked_and_does_not_reboot_is_ended(
    machine_spec: MachineSpec, boot_guest: BootGuest
) -> None:
    async with boot_guest(replace(machine_spec, append="panic=0")) as guest:
        await guest.tell("panic")
        with trio.fail_after(BOOT_DEADLINE_S):
            ended = await guest.machine.wait_exit()
        assert (ended.reason, ended.signal) == ("panic", signal.SIGKILL)


async def test_qemu_killed_from_outside(machine_spec: MachineSpec, boot_guest: BootGuest) -> None:
    async with boot_guest(machine_spec) as guest:
        os.kill(guest.machine.pid, signal.SIGKILL)
        with trio.fail_after(BOOT_DEADLINE_S):
            ended = await guest.machine.wait_exit()
        assert (ended.reason, ended.signal, ended.returncode) == ("killed", signal.SIGKILL, None)


async def test_quit_and_what_is_left(machine_spec: MachineSpec) -> None:
    async with open_machine(machine_spec) as machine:
        assert (machine_spec.socket_dir / "qmp.sock").is_socket()
        with trio.fail_after(BOOT_DEADLINE_S):
            ended = await machine.quit()
        assert ended.reason == "quit"
    assert list(machine_spec.socket_dir.iterdir()) == []
    assert not alive(machine.pid)
    assert machine.exit == ended


async def test_cancelling_the_body_ends_qemu(machine_spec: MachineSpec) -> None:
    with trio.CancelScope() as scope:
        async with open_machine(machine_spec) as machine:
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert not alive(machine.pid)


async def test_an_error_in_the_body_comes_out_as_it_is(machine_spec: MachineSpec) -> None:
    with pytest.raises(ValueError, match="as it is"):
        async with open_machine(machine_spec) as machine:
            raise ValueError("as it is")
    assert not alive(machine.pid)


async def test_a_flooding_console_is_bounded_and_clean(
    machine_spec: MachineSpec, boot_guest: BootGuest
) -> None:
    async with boot_guest(machine_spec) as guest:
        await guest.tell("flood")
        console = guest.machine.console
        with trio.fail_after(BOOT_DEADLINE_S):
            await guest.machine.console.wait_bytes(100_000)
        await guest.machine.quit()
        tail = console.tail()
        assert any("flood" in line for line in tail)
        assert all(line.isprintable() for line in tail)
        assert sum(map(len, tail)) < 1_000_000
        assert machine_spec.console_log.stat().st_size == console.statistics().bytes


async def test_qemu_that_refuses_to_start_says_why(machine_spec: MachineSpec, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"no kernel" * 1000)
    with pytest.raises(HostError, match="QEMU did not start") as caught:
        async with open_machine(replace(machine_spec, kernel=broken)):
            pass
    assert "kernel" in caught.value.message


PARENT = """
import sys, trio
from pathlib import Path
from ktstr_tui.guest.machine import MachineSpec, open_machine
from ktstr_tui.model.topology import Topology

async def main() -> None:
    kernel, initrd, accelerator, directory = sys.argv[1:]
    spec = MachineSpec(Path(kernel), Path(initrd), Topology(), 256 << 20, accelerator, Path(directory),
                       Path(directory) / "log")
    async with open_machine(spec) as machine:
        print(machine.pid, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


async def test_no_qemu_survives_a_killed_parent(
    machine_spec: MachineSpec, probe_initrd: bytes, tmp_path: Path
) -> None:
    initrd = tmp_path / "initrd"
    initrd.write_bytes(probe_initrd)
    arguments = (
        str(machine_spec.kernel),
        str(initrd),
        machine_spec.accelerator,
        str(machine_spec.socket_dir),
    )
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", PARENT, *arguments], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    line = await process.stdout.receive_some(100)
    pid = int(line)
    pidfd = os.pidfd_open(pid)
    try:
        process.kill()
        await process.wait()
        with trio.fail_after(BOOT_DEADLINE_S):
            await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)
