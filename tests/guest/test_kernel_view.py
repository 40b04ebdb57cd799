"""The typed view of a real kernel against what the kernel itself and the gdb stub say.

The kernel under test is that of ``KTSTR_TEST_KERNEL``.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from drgn import Object, Program
from drgn.helpers.linux.kallsyms import load_vmlinux_kallsyms
from drgn.helpers.linux.pid import for_each_task
from drgn.helpers.linux.sched import task_state_to_char

from ktstr_tui.guest.initramfs import pack_cpio
from ktstr_tui.guest.machine import Machine, MachineSpec, open_machine
from ktstr_tui.kernel.kallsyms import KallsymsIndex
from ktstr_tui.kernel.layout import Layout
from ktstr_tui.kernel.memory import GuestRam, OutOfRange
from ktstr_tui.kernel.orc import Unwinder, calibrate
from ktstr_tui.kernel.sampler import SampleReader
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.kernel.vmcoreinfo import Vmcoreinfo, find_vmcoreinfo
from tests.guest.conftest import BootGuest, Guest
from tests.guest.waiting import BOOT_DEADLINE_S
from tests.oracles.gdb_memory import read_memory

pytestmark = pytest.mark.guest

_FRAME = re.compile(r"\[<0>\] (\S+)\+0x([0-9a-f]+)/0x[0-9a-f]+")
RANDOM_READS = 10_000
SEED = 20261120


OpenView = Callable[[Machine], KernelView]


@pytest.fixture
def view_of() -> Iterator[OpenView]:
    """Opens views and closes their memory afterwards."""
    opened: list[GuestRam] = []

    def view(machine: Machine) -> KernelView:
        opened.append(GuestRam.from_fds(machine.ram_parts()))
        return KernelView.open(opened[-1])

    yield view
    for ram in opened:
        ram.close()


@pytest.fixture(scope="session")
def sleepers_initrd(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The answering program, with sixty sleeping tasks beside it."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler is not None, "no C compiler: apt install gcc libc6-dev"
    at, source = tmp_path_factory.mktemp("sleepers"), Path(__file__).parent / "probe"
    for name in ("init", "sleepers"):
        command = [
            compiler,
            "-O1",
            "-static",
            "-Wno-unused-result",
            "-o",
            str(at / name),
            str(source / f"{name}.c"),
        ]
        subprocess.run(command, check=True)
    files = {"/init": at / "sleepers", "/probe": at / "init"}
    return pack_cpio({path: (0o755, file.read_bytes()) for path, file in files.items()})


def require_symbols_of_drgn(view: KernelView) -> None:
    """Compare every symbol with drgn's own reading of kallsyms, and a part of the answers about names and addresses."""
    ours, drgns = view.symbols.index, load_vmlinux_kallsyms(view.prog)
    # Were it drgn's too, because ours did not understand this kernel, nothing would be compared.
    assert isinstance(ours, KallsymsIndex)
    whole = [
        sorted(
            (it.address, it.name, it.size, it.binding.name, it.kind.name)
            for it in index(None, None, None, False)
        )
        for index in (ours, drgns)
    ]
    assert whole[0] == whole[1]
    for address, name, size, *_ in whole[0][::997]:
        for one in (False, True):
            assert list(map(str, ours(None, name, None, one))) == list(map(str, drgns(None, name, None, one)))
            for at in (address - 1, address, address + size // 2, address + size):
                assert list(map(str, ours(None, None, at, one))) == list(map(str, drgns(None, None, at, one)))


async def test_the_view_says_what_the_guest_says(
    machine_spec: MachineSpec, boot_guest: BootGuest, view_of: OpenView
) -> None:
    async with boot_guest(machine_spec) as guest:
        view = view_of(guest.machine)
        assert view.release == (await guest.ask("cat /proc/sys/kernel/osrelease")).strip()
        assert view.nr_cpus == machine_spec.topology.cpus
        assert view.hz_source == "clocksource_jiffies"
        assert view.hz in (100, 250, 300, 1000)
        assert view.typed_ms > 0
        assert view.scx_root() is None
        assert int((await guest.ask("symbol scx_root")).split()[0], 16) == view.scx_root_slot()
        require_symbols_of_drgn(view)
        sample = SampleReader(view).sample({0: 7, 1: 8})
        assert [cpu.vcpu_cpu_time_ns for cpu in sample.cpus] == [7, 8]
        assert sample.scheduler.state == (await guest.ask("cat /sys/kernel/sched_ext/state")).strip()
        assert sample.scheduler.enable_seq == int(await guest.ask("cat /sys/kernel/sched_ext/enable_seq"))
        assert sample.scheduler.name is None
        # The kernel's own way of telling a task's name, state and threads.
        for task in for_each_task(view.prog):
            pid = task.pid.value_()
            status = await guest.ask(f"cat /proc/{pid}/status") if pid else ""
            if status.startswith("Name:"):
                # Of kernel threads /proc knows more than the 15 characters of comm.
                assert status.splitlines()[0].split("\t")[1].startswith(task.comm.string_().decode())


async def test_a_view_opens_before_user_space_runs(machine_spec: MachineSpec) -> None:
    async with open_machine(machine_spec) as machine:
        ram = GuestRam.from_fds(machine.ram_parts())
        with trio.fail_after(BOOT_DEADLINE_S):
            while (note := find_vmcoreinfo(ram)) is None:  # noqa: ASYNC110 - guest memory rings no bell
                await trio.sleep(0.01)
        view = KernelView.open(ram, note)
        guest = Guest(machine)
        assert await guest.answer() == "ready"
        assert (
            view.release
            == Vmcoreinfo(note).release
            == (await guest.ask("cat /proc/sys/kernel/osrelease")).strip()
        )
        sample = SampleReader(view).sample()
        assert [cpu.unreadable for cpu in sample.cpus] == [None] * machine_spec.topology.cpus
        with pytest.raises(OutOfRange):
            ram.read(ram.end, 1)
        ram.close()


def some_addresses(view: KernelView, rng: random.Random) -> Iterator[tuple[int, int]]:
    """Addresses and lengths in the image, the direct map and vmalloc memory, at random."""
    start, stop = view.symbols.address("_text"), view.symbols.address("__stop_BTF")
    offset = view.space.page_offset
    assert offset is not None
    # The firmware keeps the last pages for itself, and the kernel does not map them.
    ram_end = view.space.memory.end - (2 << 20)
    stacks = [task.stack.value_() for task in for_each_task(view.prog)]
    while True:
        length = rng.choice((1, 2, 4, 8, 16, 64, 200))
        where = rng.random()
        if where < 0.4:
            yield rng.randrange(start, stop - length), length
        elif where < 0.7:
            yield offset + rng.randrange(0x100000, ram_end - length), length
        else:
            yield rng.choice(stacks) + rng.randrange(0, view.tasks.stack_bytes - length), length


async def test_random_reads_equal_those_of_the_gdb_stub(
    machine_spec: MachineSpec, boot_guest: BootGuest, view_of: OpenView
) -> None:
    async with boot_guest(machine_spec) as guest:
        view = view_of(guest.machine)
        gdb = guest.machine.gdb
        await gdb.stop()
        rng = random.Random(SEED)
        space = view.fresh_space()
        for (address, length), _ in zip(some_addresses(view, rng), range(RANDOM_READS), strict=False):
            theirs = await read_memory(gdb, address, length)
            assert theirs == space.read(address, length), hex(address)
            assert theirs == view.prog.read(address, length), hex(address)
        await gdb.resume()
        assert await guest.ask("cat /proc/sys/kernel/ostype") == "Linux\n"


def in_scheduler(view: KernelView, address: int) -> bool:
    """Whether /proc/PID/stack leaves a frame out (``in_sched_functions()``)."""
    bounds = (("__sched_text_start", "__sched_text_end"), ("__lock_text_start", "__lock_text_end"))
    for first, last in bounds:
        start, end = view.symbols.find(first), view.symbols.find(last)
        if start is not None and end is not None and start <= address < end:
            return True
    return False


def unwound(view: KernelView, task: Object) -> list[int] | None:
    """Return addresses of a sleeping task as /proc/PID/stack would list them; None for one that runs."""
    assert isinstance(view.unwinder, Unwinder)
    if task_state_to_char(task) not in "SDIT":
        return None
    frames, end = view.unwinder.unwind_task(task.thread.sp.value_())
    assert end in ("user", "end of stack"), (task.comm.string_(), end)
    assert not any(frame.guess for frame in frames)
    return [frame.address for frame in frames if not in_scheduler(view, frame.address)]


def means(prog: Program, shown: tuple[str, str], address: int) -> bool:
    """Whether ``name+offset`` is this address; several symbols may have one name."""
    name, offset = shown
    return any(symbol.address + int(offset, 16) == address for symbol in prog.symbols(name))


async def compare_stack(view: KernelView, guest: Guest, task: Object) -> bool:
    """Compare one task frame by frame; False when it did not sleep through the comparison."""
    ours = unwound(view, task)
    said = await guest.ask(f"cat /proc/{task.pid.value_()}/stack")
    if ours is None or ours != unwound(view, task):
        return False
    theirs = _FRAME.findall(said)
    assert len(theirs) == len(said.splitlines()) == len(ours), (
        task.comm.string_(),
        said,
        list(map(hex, ours)),
    )
    for shown, address in zip(theirs, ours, strict=True):
        assert means(view.prog, shown, address), (task.comm.string_(), shown, hex(address))
        name = view.symbols.describe(address, exact=False)
        assert name is not None
        assert int(name.split("+")[1], 16) == int(shown[1], 16)
    return True


async def test_stacks_of_sleeping_tasks_equal_the_kernels_own(
    machine_spec: MachineSpec, boot_guest: BootGuest, sleepers_initrd: bytes, view_of: OpenView
) -> None:
    async with boot_guest(replace(machine_spec, initrd=sleepers_initrd)) as guest:
        view = view_of(guest.machine)
        compared, paths = 0, set()
        for task in for_each_task(view.prog):
            pid = task.pid.value_()
            if pid > 1 and await compare_stack(view, guest, task):
                compared += 1
                paths.add(tuple(unwound(view, task) or ()))
        assert compared >= 100
        assert len(paths) >= 20


async def test_the_unwind_tables_calibrate_to_what_the_header_says(
    machine_spec: MachineSpec, boot_guest: BootGuest, view_of: OpenView
) -> None:
    async with boot_guest(machine_spec) as guest:
        view = view_of(guest.machine)
        unwinder = view.unwinder
        assert isinstance(unwinder, Unwinder)
        assert len(unwinder) > 100_000
        sample = [unwinder.entry(k) for k in range(0, len(unwinder), len(unwinder) // 500)]
        assert calibrate(sample, unwinder.header_hash) == unwinder.numbers


async def test_layouts_equal_drgn_objects(
    machine_spec: MachineSpec, boot_guest: BootGuest, view_of: OpenView
) -> None:
    async with boot_guest(machine_spec) as guest:
        view = view_of(guest.machine)
        await guest.machine.gdb.stop()
        layout = Layout(
            view.btf, "task_struct", {"pid": "pid", "prio": "prio", "flags": "flags", "nice": "static_prio"}
        )
        for task in for_each_task(view.prog):
            row = layout.read(view.space, task.value_())
            expected = {name: getattr(task, name).value_() for name in ("pid", "prio", "flags")}
            assert {name: row[name] for name in expected} == expected
            assert row["nice"] == task.static_prio.value_()
            full = view.tasks.full.read(view.space, task.value_())
            assert full["sp"] == task.thread.sp.value_()
            assert full["comm"].partition(b"\0")[0] == task.comm.string_()
            allowed = view.tasks.cpus_allowed(view.space, full["cpus_ptr"])
            words = [task.cpus_ptr.bits[k].value_() for k in range((view.nr_cpus + 63) // 64)]
            assert allowed == sum(word << 64 * k for k, word in enumerate(words))
            assert view.tasks.report(full, allowed, 0).state == task_state_to_char(task)
