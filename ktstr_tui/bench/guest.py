"""Benches on a real guest: booting, sampling, freezing.

The machine under the bench is noisy, so subject and baseline take turns within one run, and what counts is the
ratio of their medians. Absolute times are given to understand the ratio, not to be compared between machines.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import trio

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.control import RunControl, plan_of
from ktstr_tui.backend.edit.reboots import Reboots
from ktstr_tui.backend.live import LiveGuest, Setup, open_live_guest
from ktstr_tui.backend.outcome import RunEnd
from ktstr_tui.backend.prepare import Prepared, prepare
from ktstr_tui.backend.run_dirs import take_place
from ktstr_tui.backend.session import machine_spec
from ktstr_tui.control.authority import Authority
from ktstr_tui.guest import qemu
from ktstr_tui.guest.guest_time import GuestTime, HostTime, RunTime
from ktstr_tui.guest.machine import open_machine
from ktstr_tui.guest.origin import Origin
from ktstr_tui.guest.seeded_boot import find_or_make
from ktstr_tui.kernel.sampler import SampleReader
from ktstr_tui.link.stream import Stream
from ktstr_tui.model.drops import Drops
from ktstr_tui.model.errors import GuestError
from ktstr_tui.model.events import Event, SchedulerChanged, WorkersReported
from ktstr_tui.model.report import Pause
from ktstr_tui.text.output import say
from ktstr_tui.wire.frames import FrameAssembler
from ktstr_tui.wire.messages import MsgType

GOAL_BOOT_RATIO = 1.25
GOAL_SAMPLE_US = 1000.0
GOAL_WORK_RATIO = 0.98
GOAL_PAUSE_RATIO = 3.0
FREEZE_TOPOLOGIES = ("1n1l2c1t", "1n1l8c1t")
FREEZE_WARMUP = 5
"""Rounds before those that count: the first capture of a scheduler reads its types as well."""
FREEZE_GAP_S = 0.05
"""Between two stops, so that the guest runs at its own pace again."""
WINDOW_S = 2.5
"""One stretch with the sampler on, or off."""
SETTLE_S = 0.3
EVENT_TIMEOUT_S = 60.0


class _NoAudience:
    def viewers(self) -> int:
        return 0

    def is_gone(self, viewer: str) -> bool:
        return False

    def sources(self) -> dict[str, Drops]:
        return {}


@asynccontextmanager
async def live_guest(
    config: RunConfig, prepared: Prepared, restored: Origin | None = None
) -> AsyncIterator[tuple[LiveGuest, Stream]]:
    """Start a guest as a run has it, without viewers and recording; typed and armed when the context begins."""
    with take_place(None, "bench") as place:
        clock: RunTime = GuestTime() if prepared.observed else HostTime()
        ending, stream = RunEnd(), Stream(clock.now_ns)
        setup = Setup(
            config=config,
            prepared=prepared,
            reboots=Reboots(config, prepared, stream, ending),
            place=place,
            audience=_NoAudience(),
            control=RunControl(
                plan_of(config, "bench", prepared.scenario.duration_ms),
                stream,
                ending,
                Authority(),
                place.data_dir,
                clock,
            ),
            started_ns=time.monotonic_ns(),
            time=clock,
        )
        spec = replace(machine_spec(config, prepared, place), restored=restored)
        saved = await find_or_make(spec) if spec.determinism and spec.run_files is not None else None
        async with (
            open_machine(spec, saved) as machine,
            open_live_guest(machine, stream, setup, ending) as guest,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(setup.control.run)
            nursery.start_soon(guest.run)
            with trio.move_on_after(config.boot_deadline_s):
                await guest.typed.wait()
            if guest.view is None:
                raise GuestError("the guest did not come up for the bench", "", machine.console.tail())
            try:
                yield guest, stream
            finally:
                ending.set("the bench is done")
                await setup.control.shut_down()


def summary(values: list[float]) -> dict[str, float]:
    """Median, 99th percentile and both ends."""
    ordered = sorted(values)
    return {
        "p50": statistics.median(ordered),
        "p99": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
        "min": ordered[0],
        "max": ordered[-1],
    }


def bench_boot(rounds: int) -> dict[str, Any]:
    """Measure the boot to SysRdy, ours against bare QEMU with the same kernel, initramfs, accelerator and CPUs.

    Where boots are saved, the time from a saved one is measured beside it.
    """
    return trio.run(_bench_boot, rounds)


async def _bench_boot(rounds: int) -> dict[str, Any]:
    config = RunConfig(scenario="idle", sample_hz=0, fresh_boot=True)
    prepared = await prepare(config, say)
    saving = await prepare(msgspec.structs.replace(config, fresh_boot=False), say)
    ours: list[float] = []
    bare: list[float] = []
    saved: list[float] = []
    if saving.saves_boot:
        await _boot(config, saving)
    for turn in range(rounds):
        bare.append(await trio.to_thread.run_sync(_boot_bare, config, prepared))
        ours.append(await _boot(config, prepared))
        if saving.saves_boot:
            saved.append(await _boot(config, saving))
        said = f", from the saved boot {saved[-1]:.0f} ms" if saved else ""
        say(f"round {turn + 1}: ours {ours[-1]:.0f} ms, bare {bare[-1]:.0f} ms{said}")
    ratio = statistics.median(ours) / statistics.median(bare)
    return {
        "bench": "boot",
        "accelerator": prepared.verdict.accelerator,
        "baseline": "qemu-system-x86_64 with the same kernel, initramfs, CPUs and memory, and nothing attached",
        "rounds": rounds,
        "ours_ms": summary(ours),
        "bare_ms": summary(bare),
        "saved_ms": summary(saved) if saved else None,
        "saved_ratio": statistics.median(saved) / statistics.median(bare) if saved else None,
        "ratio": ratio,
        "goal_ratio": GOAL_BOOT_RATIO,
        "met": ratio <= GOAL_BOOT_RATIO,
    }


async def _boot(config: RunConfig, prepared: Prepared) -> float:
    """Measure the milliseconds to a guest that is up."""
    async with live_guest(config, prepared) as (_, stream):
        assert stream.state.boot_ms is not None
        return stream.state.boot_ms


def _boot_bare(config: RunConfig, prepared: Prepared) -> float:
    """Measure the milliseconds from starting a bare QEMU to the guest's SysRdy frame."""
    accelerator = prepared.verdict.accelerator
    threads = qemu.threads_for(qemu.qemu_version(qemu.find_qemu()), prepared.topology.cpus)
    with tempfile.TemporaryDirectory(prefix="ktstr-bare-") as name:
        initrd = Path(name) / "initrd"
        initrd.write_bytes(prepared.files.whole)
        started_ns = time.monotonic_ns()
        process = subprocess.Popen(
            [
                *(str(qemu.find_qemu()), "-nodefaults", "-no-reboot", "-display", "none"),
                *("-M", "q35", "-accel", f"tcg,thread={threads}" if accelerator == "tcg" else "kvm"),
                *("-cpu", qemu.cpu_model(accelerator, qemu.host_cpu_field("vendor_id"))),
                *("-smp", str(prepared.topology.cpus), "-m", str(config.memory_mib)),
                *("-kernel", str(prepared.kernel.path_to_boot), "-initrd", str(initrd)),
                *("-append", qemu.KERNEL_COMMAND_LINE, "-serial", "null"),
                *("-device", "virtio-serial-pci", "-chardev", "stdio,id=bulk,signal=off"),
                *("-device", f"virtserialport,chardev=bulk,name={qemu.BULK_PORT_NAME}"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert process.stdout is not None
            assembler = FrameAssembler()
            while data := process.stdout.read1(65536):  # type: ignore[attr-defined]
                if any(frame.msg_type == MsgType.SysRdy for frame in assembler.feed(data)):
                    return (time.monotonic_ns() - started_ns) / 1e6
        finally:
            process.kill()
            process.communicate()
    raise GuestError("a bare QEMU ended before the guest was up")


def bench_sample(rounds: int) -> dict[str, Any]:
    """Measure one look at all CPUs, and the guest's work with the sampler on against off."""
    return trio.run(_bench_sample, rounds)


async def _bench_sample(rounds: int) -> dict[str, Any]:
    config = RunConfig(scenario="steady", scheduler="demo:fifo", sample_hz=10)
    prepared = await prepare(config, say)
    async with live_guest(config, prepared) as (guest, stream):
        view, sampler = guest.view, guest.sampler
        assert view is not None
        assert sampler is not None
        await attached(stream)
        reader = SampleReader(view)
        read_us, floor_us = [], []
        for _ in range(300):
            read_us.append(reader.sample().read_us)
            started_ns = time.perf_counter_ns()
            for slot in (view.scx_root_slot(),) * 100:
                view.prog.read_u64(slot)
            floor_us.append((time.perf_counter_ns() - started_ns) / 1e3)
            await trio.sleep(0.01)
        work: dict[bool, list[float]] = {True: [], False: []}
        for turn in range(2 * rounds):
            # on off off on …: a drift of the machine's speed hits both alike.
            on = turn % 4 in (0, 3)
            sampler.set_hz(config.sample_hz if on else 0)
            await trio.sleep(SETTLE_S)
            work[on].append(await _work_rate(stream))
        say(f"{len(read_us)} reads, {2 * rounds} windows of {WINDOW_S:g} s")
    ratio = statistics.median(work[True]) / statistics.median(work[False])
    read = summary(read_us)
    return {
        "bench": "sample",
        "accelerator": prepared.verdict.accelerator,
        "cpus": prepared.topology.cpus,
        "read_us": read,
        "read_baseline": "100 reads of 8 bytes of guest memory through drgn",
        "read_baseline_us": summary(floor_us),
        "read_ratio": read["p50"] / statistics.median(floor_us),
        "goal_read_us": GOAL_SAMPLE_US,
        "read_met": read["p50"] <= GOAL_SAMPLE_US,
        "work_baseline": "iterations a second of the guest's workers with the sampler off, windows in turn",
        "sample_hz": config.sample_hz,
        "work_on_per_s": summary(work[True]),
        "work_off_per_s": summary(work[False]),
        "work_ratio": ratio,
        "goal_work_ratio": GOAL_WORK_RATIO,
        "work_met": ratio >= GOAL_WORK_RATIO,
    }


async def next_event(stream: Stream, wanted: Callable[[Event], bool]) -> Event:
    """Wait for the next event on the stream that is wanted."""
    send, receive = trio.open_memory_channel[Event](1)

    def sink(event: Event, data: bytes) -> None:
        if wanted(event):
            with suppress(trio.WouldBlock):
                send.send_nowait(event)

    stream.add_sink(sink)
    try:
        with trio.fail_after(EVENT_TIMEOUT_S):
            return await receive.receive()
    finally:
        stream.remove_sink(sink)


async def attached(stream: Stream) -> None:
    """Wait until the scheduler is attached."""
    if "attached" not in stream.state.last_change:
        await next_event(
            stream, lambda event: isinstance(event, SchedulerChanged) and event.change == "attached"
        )


async def _work_rate(stream: Stream) -> float:
    """Measure the iterations a second of all workers, between two reports of the guest about `WINDOW_S` apart."""
    first, first_ns = await _next_report(stream)
    await trio.sleep(WINDOW_S - 1)
    last, last_ns = await _next_report(stream)
    return (last - first) * 1e9 / (last_ns - first_ns)


async def _next_report(stream: Stream) -> tuple[int, int]:
    """Read the iterations of all workers so far, and when the guest's report of them came."""
    report = await next_event(stream, lambda event: isinstance(event, WorkersReported))
    assert isinstance(report, WorkersReported)
    return sum(worker.iterations for worker in report.workers), report.mono_ns


def bench_freeze(rounds: int) -> dict[str, Any]:
    """Measure the pause of a full capture against a bare stop-and-continue taken in turn, at two sizes of machine."""
    machines = [trio.run(_bench_freeze, rounds, topology) for topology in FREEZE_TOPOLOGIES]
    return {
        "bench": "freeze",
        "accelerator": machines[0].pop("accelerator"),
        "rounds": rounds,
        "baseline": "stop and resume at once, by the same task over the same stub, each after a capture",
        "machines": machines,
        "goal_ratio": GOAL_PAUSE_RATIO,
        "met": all(machine["ratio"] <= GOAL_PAUSE_RATIO for machine in machines),
    }


async def _bench_freeze(rounds: int, topology: str) -> dict[str, Any]:
    config = RunConfig(scenario="steady", scheduler="demo:fifo", sample_hz=0, topology=topology)
    prepared = await prepare(config, say)
    captures, bares, tasks, maps = [], [], 0, 0
    async with live_guest(config, prepared) as (guest, stream):
        await attached(stream)
        for turn in range(FREEZE_WARMUP + rounds):
            report = await guest.coordinator.capture("on-demand", "bench")
            assert report.pause is not None
            await trio.sleep(FREEZE_GAP_S)
            bare = await guest.coordinator.bare_pause()
            await trio.sleep(FREEZE_GAP_S)
            if turn >= FREEZE_WARMUP:
                captures.append(report.pause)
                bares.append(bare)
                tasks, maps = max(tasks, len(report.tasks)), len(report.maps)
        say(f"{prepared.topology.cpus} vCPUs: {rounds} captures, up to {tasks} runnable tasks, {maps} maps")
    total = summary([pause.total_us for pause in captures])
    bare_total = summary([pause.total_us for pause in bares])
    return {
        "accelerator": prepared.verdict.accelerator,
        "cpus": prepared.topology.cpus,
        "tasks_at_most": tasks,
        "maps": maps,
        "pause_us": total,
        "parts_p50_us": _parts(captures),
        "bare_us": bare_total,
        "bare_parts_p50_us": _parts(bares),
        "ratio": total["p50"] / bare_total["p50"],
        "ratio_p99": total["p99"] / bare_total["p99"],
        "ratio_quiet": _low([pause.total_us for pause in captures])
        / _low([pause.total_us for pause in bares]),
    }


def _low(values: list[float]) -> float:
    """Take the 10th percentile. Load of the host makes every stop longer, which flatters the ratio of medians."""
    return sorted(values)[len(values) // 10]


def _parts(pauses: list[Pause]) -> dict[str, float]:
    parts: dict[str, list[float]] = {}
    for pause in pauses:
        for name, value in msgspec.structs.asdict(pause).items():
            if value is not None and name != "total_us":
                parts.setdefault(name, []).append(value)
    return {name: statistics.median(values) for name, values in parts.items()}
