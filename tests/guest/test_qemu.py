"""The QEMU that this machine uses: it emulates in parallel, and kernels that patch themselves survive it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from ktstr_tui.guest import qemu
from ktstr_tui.guest.machine import MachineSpec
from ktstr_tui.health.vcpu_times import VcpuTimes
from ktstr_tui.link.recording import read_recording
from ktstr_tui.model.events import SchedulerChanged
from tests.guest.conftest import BootGuest
from tests.guest.runs import call, private_environment

FLIPS = 16
LOAD = """
name = "flip"
[[workers]]
kind = "spin"
count = 2
[[workers]]
kind = "pipe"
[[workers]]
kind = "bursty"
[[workers]]
kind = "mixed"
"""
FLIP = """
[[steps]]
name = "on-{0}"
duration_ms = 400
scheduler = "demo:fifo"
[[steps]]
name = "off-{0}"
duration_ms = 200
scheduler = "none"
"""


async def test_emulation_can_have_a_thread_for_each_cpu(
    machine_spec: MachineSpec, boot_guest: BootGuest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KTSTR_TCG_THREADS", "multi")
    chosen = qemu.choose_qemu()
    assert chosen.threads == "multi", f"QEMU {chosen.short_version} is too old: run scripts/setup"
    async with boot_guest(replace(machine_spec, accelerator="tcg")) as guest:
        threads = await guest.machine.vcpu_threads()
        assert len(set(threads.values())) == 2
        times = VcpuTimes(guest.machine.pid, [threads[cpu] for cpu in sorted(threads)])
        assert times.shared_ns() is None
        assert sorted(times()) == [0, 1]
        # The script that starts a fetched QEMU is gone, and its library path with it is QEMU's alone.
        program = os.readlink(f"/proc/{guest.machine.pid}/exe")
        assert program.endswith(f"/{qemu.PROGRAM}")
        assert (await guest.ask("cat /proc/sys/kernel/ostype")) == "Linux\n"


async def test_on_one_thread_no_cpu_is_given_the_time_of_all(
    machine_spec: MachineSpec, boot_guest: BootGuest
) -> None:
    async with boot_guest(replace(machine_spec, accelerator="tcg")) as guest:
        threads = await guest.machine.vcpu_threads()
        assert len(set(threads.values())) == 1
        times = VcpuTimes(guest.machine.pid, [threads[cpu] for cpu in sorted(threads)])
        assert times() == {}
        assert times.shared_ns()


def test_a_kernel_survives_many_changes_of_the_scheduler(tmp_path: Path) -> None:
    """Each attach and detach patches static keys and trampolines under the feet of busy CPUs."""
    scenario = tmp_path / "flip.toml"
    scenario.write_text(LOAD + "".join(FLIP.format(turn) for turn in range(FLIPS)))
    done = call(
        "run",
        "--headless",
        "--no-seed",
        "--json",
        "--scenario",
        str(scenario),
        env=private_environment(tmp_path),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)
    assert (summary["fault"], summary["last_words"]) == (None, [])
    recording = read_recording(Path(summary["data_dir"]) / "recording.ktstr")
    changes = [event.change for event in recording if isinstance(event, SchedulerChanged)]
    assert changes.count("attached") == changes.count("detached") == FLIPS
