"""``bench rerun``: what the observer costs a run with a seed, beside QEMU with the same options and without it.

Three figures, each with its baseline: guest seconds per second of host CPU from the start to a guest that is up; a hold
and go, against stop and continue over the gdb stub; a thousand watches that nothing hits, against none.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

import trio

from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.live import LiveGuest
from ktstr_tui.backend.prepare import Prepared, prepare
from ktstr_tui.bench.guest import live_guest, summary
from ktstr_tui.guest import qemu
from ktstr_tui.guest.determinism import Determinism, machine_arguments
from ktstr_tui.guest.hold import HoldEngine
from ktstr_tui.model.errors import GuestError
from ktstr_tui.text.output import say
from ktstr_tui.wire.frames import FrameAssembler
from ktstr_tui.wire.messages import MsgType

GOAL_SPEED_RATIO: Final = 0.9
GOAL_HOLD_US: Final = 100.0
GOAL_WATCHED_RATIO: Final = 1.1
NR_WATCHES: Final = 1000
WINDOW: Final = 500_000_000
"""Instructions of a window in which watches cost."""
WATCHED_BYTES: Final = 8
LOOK_S: Final = 0.002
TOPOLOGIES: Final = ("1n1l2c1t", "1n1l8c1t")
_DETERMINISM: Final = Determinism(1)


def bench_rerun(rounds: int) -> dict[str, Any]:
    """Measure all of it."""
    return trio.run(_bench, rounds)


async def _bench(rounds: int) -> dict[str, Any]:
    config = RunConfig(
        scenario="steady", scheduler="demo:fifo", sample_hz=0, determinism=_DETERMINISM, fresh_boot=True
    )
    prepared = await prepare(config, say)
    if not prepared.observed:
        raise GuestError(f"this host has no observer: {prepared.verdict.reason}", "run ktstr-tui doctor")
    bare_s = await trio.to_thread.run_sync(_boot_bare, config, prepared)
    async with live_guest(config, prepared) as (guest, _):
        ours_s, boot = _cpu_s(guest.machine.pid), "from the start to readable memory"
        with_watches, without = await _watched(guest)
    say(f"boot: {ours_s:.2f} s of CPU, bare {bare_s:.2f} s")
    machines = [await _holds(rounds, topology) for topology in TOPOLOGIES]
    speed, watched = bare_s / ours_s, with_watches / without
    return {
        "bench": "rerun",
        "baseline": "QEMU with the same icount options and no plugin, until the guest is up",
        "boot": boot,
        "ours_cpu_s": ours_s,
        "bare_cpu_s": bare_s,
        "speed_ratio": speed,
        "goal_speed_ratio": GOAL_SPEED_RATIO,
        "speed_met": speed >= GOAL_SPEED_RATIO,
        "machines": machines,
        "goal_hold_us": GOAL_HOLD_US,
        "hold_met": all(it["hold_us"]["p50"] <= GOAL_HOLD_US for it in machines),
        "watches": NR_WATCHES,
        "watched_ratio": watched,
        "goal_watched_ratio": GOAL_WATCHED_RATIO,
        "watched_met": watched <= GOAL_WATCHED_RATIO,
    }


async def _holds(rounds: int, topology: str) -> dict[str, Any]:
    """Measure holds of the observer and stops of the stub, on machines of one size."""
    pauses: dict[bool, list[float]] = {}
    for held in (True, False):
        determinism = _DETERMINISM if held else None
        config = RunConfig(
            scenario="steady",
            scheduler="demo:fifo",
            sample_hz=0,
            topology=topology,
            accelerator="auto" if held else "tcg",
            determinism=determinism,
        )
        async with live_guest(config, await prepare(config, say)) as (guest, _):
            pauses[held] = [(await guest.coordinator.bare_pause()).total_us for _ in range(rounds)]
    hold, stop = summary(pauses[True]), summary(pauses[False])
    return {"topology": topology, "hold_us": hold, "stop_us": stop, "ratio": hold["p50"] / stop["p50"]}


async def _watched(guest: LiveGuest) -> tuple[float, float]:
    """Host CPU seconds of a window of instructions, with watches and without, taken in turn."""
    engine, view = guest.engine, guest.view
    if not isinstance(engine, HoldEngine) or view is None:
        raise GuestError("the guest cannot be watched", "")
    first = view.symbols.find("linux_banner")
    if first is None:
        raise GuestError("the kernel has no linux_banner", "take another kernel")
    spent: dict[bool, float] = {True: 0.0, False: 0.0}
    for watched in (True, False, False, True):
        # Constants: nothing is stored there, so no watch is hit.
        ranges = [
            (first + 2 * WATCHED_BYTES * it, WATCHED_BYTES) for it in range(NR_WATCHES if watched else 0)
        ]
        await guest.coordinator.while_stopped(lambda ranges=ranges: engine.watch_besides(ranges))  # type: ignore[misc]
        spent[watched] += await _window_s(guest.machine.pid, engine)
    await guest.coordinator.while_stopped(lambda: engine.watch_besides([]))
    return spent[True], spent[False]


async def _window_s(pid: int, engine: HoldEngine) -> float:
    begin, begin_s = sum(engine.counts), _cpu_s(pid)
    while (done := sum(engine.counts) - begin) < WINDOW:  # noqa: ASYNC110 - nobody tells
        await trio.sleep(LOOK_S)
    return (_cpu_s(pid) - begin_s) * WINDOW / done


def _cpu_s(pid: int) -> float:
    """CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _boot_bare(config: RunConfig, prepared: Prepared) -> float:
    """CPU seconds of a QEMU without the plugin until the guest says that it is up."""
    with tempfile.TemporaryDirectory(prefix="ktstr-bare-") as name:
        initrd = Path(name) / "initrd"
        initrd.write_bytes(prepared.files.whole)
        process = subprocess.Popen(
            [
                *(str(qemu.find_qemu()), "-nodefaults", "-no-reboot", "-display", "none"),
                *("-M", "q35", "-accel", "tcg,thread=single", *machine_arguments(_DETERMINISM)),
                *("-cpu", qemu.cpu_model("tcg", qemu.host_cpu_field("vendor_id"))),
                *("-smp", str(prepared.topology.cpus), "-m", str(config.memory_mib)),
                *("-kernel", str(prepared.kernel.path_to_boot), "-initrd", str(initrd)),
                *("-append", f"{qemu.KERNEL_COMMAND_LINE} pti=off", "-serial", "null"),
                *("-device", "virtio-serial-pci,ioeventfd=off", "-chardev", "stdio,id=bulk,signal=off"),
                *("-device", f"virtserialport,chardev=bulk,name={qemu.BULK_PORT_NAME}"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            assembler = FrameAssembler()
            assert process.stdout is not None
            while data := process.stdout.read1(65536):  # type: ignore[attr-defined]
                if any(frame.msg_type == MsgType.SysRdy for frame in assembler.feed(data)):
                    return _cpu_s(process.pid)
        finally:
            process.kill()
            process.communicate()
    raise GuestError("a bare QEMU ended before the guest was up")
