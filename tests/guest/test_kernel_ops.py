"""Reads and writes of a real kernel's memory, against what the kernel itself, the gdb stub and drgn say."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from drgn.helpers.linux.pid import find_task

from ktstr_tui.capture.bridge import SnapshotBridge
from ktstr_tui.guest.initramfs import pack_cpio
from ktstr_tui.guest.machine import MachineSpec, open_machine
from ktstr_tui.guest.scenario import parse_scenario
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.ops.guest_ops import GuestKernelOps
from ktstr_tui.port.actions import (
    Action,
    KernelOpRequested,
    RefuseKernelOp,
    SystemReady,
    Text,
    WorkersSeen,
)
from ktstr_tui.port.outbox import Outbox
from ktstr_tui.port.port import GuestPort
from ktstr_tui.port.verdict import judge, result_line
from ktstr_tui.wire.kernel_ops import (
    U32,
    U64,
    Bytes,
    Direct,
    Int,
    KernelOpReply,
    Kva,
    OrU32,
    PerCpuField,
    Symbol,
    Target,
    TaskField,
    Value,
)
from ktstr_tui.wire.messages import MsgType, WorkerSample
from tests.guest.booting import open_booted, spec_of
from tests.guest.conftest import BootGuest
from tests.guest.operating import Operating, operating
from tests.guest.waiting import BOOT_DEADLINE_S, wait_said
from tests.oracles.gdb_memory import read_memory

pytestmark = pytest.mark.guest

PANIC = Symbol("panic_timeout")
SYSCTL = "/proc/sys/kernel/panic"
PROTECTED = ("linux_proc_banner", "_stext", "__start_rodata", "sys_call_table")
SCENARIO = """
name = "weights"
[[workers]]
kind = "sleep"
count = 2
[[workers]]
kind = "spin"
count = 1
[[steps]]
name = "fifo"
duration_ms = 600000
scheduler = "demo:fifo"
"""


async def test_the_guest_and_the_stub_see_what_was_written(
    machine_spec: MachineSpec, boot_guest: BootGuest, tmp_path: Path
) -> None:
    async with boot_guest(machine_spec) as guest, operating(guest.machine, tmp_path) as it:
        address = int((await guest.ask("symbol panic_timeout")).split()[0], 16)
        expected = int(await guest.ask(f"cat {SYSCTL}"))
        writes: list[tuple[Target, Value, int]] = [
            (PANIC, U32(31), 31),
            (PANIC, OrU32(0x40), 95),
            (PANIC, Bytes(b"\x11\0\0\0"), 17),
            (PANIC, Int(-1), -1),
            (Kva(address), U32(123), 123),
            (Direct(it.view.space.page_offset + it.view.space.physical(address)), U32(456), 456),  # type: ignore[operator]
        ]
        for cold in (False, True):
            for target, value, after in writes:
                result = await it.write(target, value, cold=cold)
                assert result.reason == ""
                (place,) = it.told()[-1].entries
                assert (place.before, place.after) == (expected & 0xFFFFFFFF, after & 0xFFFFFFFF)
                expected = after
                assert int(await guest.ask(f"cat {SYSCTL}")) == expected
                assert await it.stub(address) == expected & 0xFFFFFFFF
                assert (result.pause is not None) is cold
        # And the other way round.
        assert await guest.ask(f"write {SYSCTL} 777") == "ok"
        for cold in (False, True):
            assert await it.read(PANIC, U32(), cold=cold) == 777
        lines = [json.loads(line) for line in it.trail.path.read_text().splitlines()]
        assert [(line["what"], line["number"]) for line in lines] == [
            (what, number + 1) for number in range(2 * len(writes)) for what in ("intent", "result")
        ]
        assert [line["entries"][0]["after"] for line in lines[1::2]] == 2 * [
            after & 0xFFFFFFFF for _, _, after in writes
        ]


async def test_a_denied_write_changes_nothing(
    machine_spec: MachineSpec, boot_guest: BootGuest, tmp_path: Path
) -> None:
    async with boot_guest(machine_spec) as guest, operating(guest.machine, tmp_path, allow=False) as it:
        before = await guest.ask(f"cat {SYSCTL}")
        for cold in (False, True):
            assert "does not allow writes" in (await it.write(PANIC, U32(31), cold=cold)).reason
        assert await guest.ask(f"cat {SYSCTL}") == before
        assert await it.read(PANIC, U32()) == int(before) & 0xFFFFFFFF
        assert [json.loads(line)["ok"] for line in it.trail.path.read_text().splitlines()] == [False, False]


async def test_text_and_constants_are_not_written_to_by_any_address(
    machine_spec: MachineSpec, boot_guest: BootGuest, tmp_path: Path
) -> None:
    async with boot_guest(machine_spec) as guest, operating(guest.machine, tmp_path) as it:
        page_offset, symbols = it.view.space.page_offset, it.view.symbols
        assert page_offset is not None
        found = {name: symbols.find(name) for name in PROTECTED}
        addresses = [address for address in found.values() if address is not None]
        assert len(addresses) >= 3
        for address in addresses:
            alias = page_offset + it.view.space.physical(address)
            before = await it.stub(address)
            for target in (Kva(address), Direct(alias)):
                for cold in (False, True):
                    reason = (await it.write(target, U32(0), cold=cold)).reason
                    assert "is kernel text" in reason or "is read-only data of the kernel" in reason
            assert await it.stub(address) == await it.stub(alias) == before
        assert "Linux version" in await guest.ask("cat /proc/version")


async def test_per_cpu_members_are_those_of_the_stub(
    machine_spec: MachineSpec, boot_guest: BootGuest, tmp_path: Path
) -> None:
    async with boot_guest(machine_spec) as guest, operating(guest.machine, tmp_path) as it:
        await it.coordinator.freeze("comparing")
        for cpu in range(it.view.nr_cpus):
            assert await it.read(PerCpuField("runqueues", "cpu", cpu)) == cpu
            runqueue = it.view.cpus.rq_address(cpu)
            for name in ("nr_running", "clock", "curr", "nr_switches"):
                offset = it.view.cpus.rq.offset(name)
                size = 4 if name == "nr_running" else 8
                theirs = await read_memory(guest.machine.gdb, runqueue + offset, size)
                for cold in (False, True):
                    field = PerCpuField("runqueues", name, cpu)
                    assert await it.read(field, cold=cold) == int.from_bytes(theirs, "little"), name
        await it.coordinator.thaw("compared")


@asynccontextmanager
async def weighing(spec: MachineSpec, directory: Path) -> AsyncIterator[tuple[Operating, list[WorkerSample]]]:
    """A guest with demo:fifo and three workers, once these have reported twice."""
    scenario = parse_scenario(SCENARIO, "weights.toml")
    reports: list[WorkersSeen] = []
    ready, reported = trio.Event(), trio.Event()

    def handle(action: Action) -> None:
        if isinstance(action, SystemReady):
            ready.set()
        if isinstance(action, WorkersSeen):
            reports.append(action)
            if len(reports) > 1:
                reported.set()

    async with open_booted(spec_of(spec, scenario)) as machine, trio.open_nursery() as nursery:
        outbox = Outbox()
        port = GuestPort(machine.bulk, outbox, [handle], lambda: 0)
        nursery.start_soon(port.run)
        await wait_said(machine, ready)
        async with operating(machine, directory) as it:
            outbox.reply(MsgType.AccessorReady)
            await wait_said(machine, reported)
            yield it, list(reports[-1].report.workers)
        nursery.cancel_scope.cancel()


async def test_a_workers_weight_is_what_drgn_and_the_stub_say(
    machine_spec: MachineSpec, tmp_path: Path
) -> None:
    async with weighing(machine_spec, tmp_path) as (it, workers):
        pids = {worker.comm.partition("-")[0]: worker.pid for worker in workers}
        for kind, cold, weight in (("sleep", False, 150), ("sleep", True, 160), ("spin", True, 170)):
            pid = pids[kind]
            task = find_task(it.view.prog, pid)
            start_ns = task.start_time.value_()
            told = (await it.ask("read", TaskField(pid, "scx.weight"), None, cold=True)).entries()[0]
            assert (told.start_time_ns, told.before) == (start_ns, task.scx.weight.value_())
            assert (told.comm or "").startswith(kind)
            address = task.scx.weight.address_of_().value_()
            assert told.address == address
            for wrong in (TaskField(pid, "scx.weight", start_ns + 1), TaskField(pid, "scx.weight")):
                assert not (await it.write(wrong, Int(9999), cold=cold)).changed
            assert await it.stub(address) == told.before
            with trio.fail_after(BOOT_DEADLINE_S):
                # A task that sleeps is still found on its CPU now and then, and is refused there.
                while True:
                    result = await it.write(TaskField(pid, "scx.weight", start_ns), Int(weight), cold=cold)
                    if kind != "sleep" or not result.reason.endswith("is running on a CPU"):
                        break
            assert result.reason == ""
            assert await it.stub(address) == task.scx.weight.value_() == weight
        # Neither the agent, which is real-time, nor a pointer of a worker.
        init = (await it.ask("read", TaskField(1, "start_time"), U64(), cold=False)).entries()[0]
        reason = (await it.write(TaskField(1, "scx.weight", init.start_time_ns), Int(1), cold=True)).reason
        assert "not scheduled by sched_ext" in reason
        reason = (await it.write(TaskField(pid, "scx.dsq", start_ns), U64(0), cold=True)).reason
        assert "not an integer" in reason


async def test_what_bpf_compiled_is_not_written_to(machine_spec: MachineSpec, tmp_path: Path) -> None:
    async with weighing(machine_spec, tmp_path) as (it, _):
        programs = [
            symbol for symbol in it.view.bpf_symbols.read(it.view.fresh_space()) if "fifo" in symbol.name
        ]
        assert programs
        for program in programs:
            before = await it.stub(program.start, 8)
            reason = (await it.write(Kva(program.start), Bytes(b"\xcc"), cold=True)).reason
            assert "is code" in reason or "is read-only" in reason
            assert await it.stub(program.start, 8) == before


# -- a guest that asks for itself ------------------------------------------------------------------------


@pytest.fixture(scope="session")
def asking_initrd(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> bytes:
    """An initramfs with the program that asks its host for kernel operations."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler is not None, "no C compiler: apt install gcc libc6-dev"
    program = tmp_path_factory.mktemp("asking") / "init"
    sources = [checkout / "tests/guest/probe/kernel_op.c", *(checkout / "native/frames").glob("*.c")]
    include = f"-I{checkout / 'native'}"
    command = [
        compiler,
        "-O1",
        "-static",
        "-Wall",
        "-Werror",
        include,
        "-o",
        str(program),
        *map(str, sources),
    ]
    subprocess.run(command, check=True)
    return pack_cpio({"/init": (0o755, program.read_bytes())})


class Asking:
    """Serves a guest that asks, and keeps what it says."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.ready, self.done = trio.Event(), trio.Event()
        self.said: dict[str, str] = {}
        self.ops: GuestKernelOps | None = None
        self._nursery = nursery

    def handle(self, action: Action) -> None:
        if isinstance(action, SystemReady):
            self.ready.set()
        if isinstance(action, Text):
            self.said |= dict(line.split(" ", 1) for line in action.text.splitlines())
        if "done" in self.said:
            self.done.set()
        if self.ops is not None and isinstance(action, KernelOpRequested):
            self.ops.accept(action.request, self._nursery)
        if self.ops is not None and isinstance(action, RefuseKernelOp):
            self.ops.refuse(action.request_id, action.reason)

    def reply(self, name: str) -> KernelOpReply:
        """A reply as the guest got it."""
        return KernelOpReply.unpack(bytes.fromhex(self.said[name]))


async def no_capture(tag: str) -> CaptureReport | None:
    raise AssertionError(f"nobody asked for capture {tag}")


async def test_a_guest_asks_and_looks_for_itself(
    machine_spec: MachineSpec, asking_initrd: bytes, tmp_path: Path
) -> None:
    spec = replace(machine_spec, initrd=asking_initrd)
    bridge = SnapshotBridge(no_capture)
    async with open_machine(spec) as machine, trio.open_nursery() as nursery:
        guest = Asking(nursery)
        outbox = Outbox()
        port = GuestPort(machine.bulk, outbox, [guest.handle], lambda: 0)
        nursery.start_soon(port.run)
        with trio.fail_after(BOOT_DEADLINE_S):
            await guest.ready.wait()
        async with operating(machine, tmp_path) as it:
            guest.ops = GuestKernelOps(it.ops, bridge, outbox.reply, lambda: 0)
            outbox.reply(MsgType.AccessorReady)
            with trio.fail_after(BOOT_DEADLINE_S):
                await guest.done.wait()
            check_asked(guest)
            check_told(it, guest)
        assert len(bridge.drain_kernel_ops()) == guest.ops.statistics().served == 9
        assert guest.ops.statistics().malformed == 2
        verdict = judge(port.dispatcher.drain_bucket())
        results = [(json.loads(result_line(entry))["value"], entry.crc_ok) for entry in verdict.results]
        assert results == [({"p99_us": 12}, True), ({"p99_us": 13}, False)]
        assert verdict.torn == {"PayloadMetrics": 1}
        nursery.cancel_scope.cancel()


def check_asked(guest: Asking) -> None:
    assert guest.reply("hot") == KernelOpReply(1, True)
    assert guest.reply("cold") == KernelOpReply(2, True)
    assert guest.reply("read") == KernelOpReply(3, True, "", (U32(41 | 0x100),))
    assert guest.said["panic-hot"] == "41"
    assert guest.said["panic-cold"] == guest.said["panic-at-last"] == str(41 | 0x100)
    banner = guest.reply("banner")
    assert (banner.request_id, banner.success) == (4, False)
    assert "read-only data of the kernel" in banner.reason
    assert guest.said["version"].startswith("Linux version")
    assert guest.reply("bad-crc") == KernelOpReply(5, False, "the request came with a bad CRC")
    torn = guest.reply("torn")
    assert (torn.request_id, torn.success) == (5, False)
    assert "truncated" in torn.reason


def check_told(it: Operating, guest: Asking) -> None:
    first, second, start_ns = guest.said["recycled"].split()
    assert first == second, "the kernel gave the same pid again"
    assert guest.reply("start-time").read_values == (U64(int(start_ns)),)
    assert "no task with pid" in guest.reply("of-the-dead").reason
    for name in ("heir-hot", "heir-cold"):
        assert f"expected {start_ns} ns" in guest.reply(name).reason
    (weight,) = guest.reply("weight-of-the-heir").read_values
    assert weight != U32(4242)
    assert all(event.who == "guest" for event in it.told())
    assert [event.ok for event in it.told()] == [True, True, False, False, False]
    lines = [json.loads(line) for line in it.trail.path.read_text().splitlines()]
    outcomes = [line for line in lines if line["what"] != "intent"]
    assert [line["ok"] for line in outcomes] == [event.ok for event in it.told()]
    intents = [line["number"] for line in lines if line["what"] == "intent"]
    assert intents == [line["number"] for line in lines if line["what"] == "result"]
