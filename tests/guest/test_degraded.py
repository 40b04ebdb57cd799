"""Stops that fail on a real engine: QEMU stands still itself, QEMU is killed, a scheduler just leaves."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trio

from ktstr_tui.capture.finisher import CaptureTimedOutError
from ktstr_tui.guest.machine import Machine, MachineSpec
from ktstr_tui.guest.scenario import parse_scenario
from ktstr_tui.model.errors import GuestError
from ktstr_tui.model.events import CaptureTaken, DualSaved
from ktstr_tui.model.report_files import DegradedReport, DualReport, decode_report, why_alone
from ktstr_tui.wire.frames import encode_frame
from ktstr_tui.wire.messages import MsgType
from tests.guest.booting import open_booted, spec_of
from tests.guest.runs import call, call_json, headless_run
from tests.guest.test_coordinator import Observed, _pump, observed
from tests.guest.waiting import wait_said

pytestmark = pytest.mark.guest
BUSY = """
name = "busy"

[[workers]]
kind = "spin"
count = 3

[[steps]]
name = "fifo"
duration_ms = {fifo_ms}
scheduler = "demo:fifo"

[[steps]]
name = "after"
duration_ms = 60000
scheduler = "none"
"""


@asynccontextmanager
async def busy(machine_spec: MachineSpec, directory: Path, fifo_ms: int = 60_000) -> AsyncIterator[Observed]:
    """Observe a guest whose CPUs are never idle, under a scheduler that works."""
    scenario = parse_scenario(BUSY.format(fifo_ms=fifo_ms), "busy.toml")
    seen = {"SysRdy": trio.Event()}
    async with (
        open_booted(spec_of(machine_spec, scenario)) as machine,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(_pump, machine, seen)
        await wait_said(machine, seen["SysRdy"])
        async with observed(machine, directory) as watch:
            await machine.bulk.send_all(encode_frame(MsgType.AccessorReady))
            await watch.wait_until(lambda: ("attached", "fifo", None) in watch.changes())
            yield watch
        nursery.cancel_scope.cancel()


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that stands still, as on a host that hangs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def registers_by_monitor(machine: Machine) -> list[dict[str, int]]:
    """What QEMU's own monitor tells of the registers, for each vCPU."""
    text = await machine.qmp.execute("human-monitor-command", command_line="info registers -a")
    parts = re.split(r"CPU#\d+", str(text))[1:]
    wanted = r"\b(R[A-Z0-9]{1,2}|RIP)\s*=([0-9a-f]{16})"
    return [{name.lower(): int(value, 16) for name, value in re.findall(wanted, part)} for part in parts]


async def test_a_rendezvous_that_times_out_is_degraded_and_the_next_capture_is_whole(
    machine_spec: MachineSpec, tmp_path: Path
) -> None:
    captures = tmp_path / "captures"
    async with busy(machine_spec, captures) as watch:
        coordinator, machine = watch.coordinator, watch.machine
        before = await coordinator.capture("on-demand")
        with stopped(machine.pid):
            for _ in range(2):
                with pytest.raises(CaptureTimedOutError, match="rendezvous timed out: stopping the vCPUs"):
                    await coordinator.capture("guest", "request 7")
        whole = await coordinator.capture("on-demand")
        assert not whole.is_placeholder
        assert not whole.unavailable.get("registers")
        # None of the answers to the two questions of before are taken for those of a later stop.
        for _ in range(3):
            await coordinator.freeze("test")
            frozen = await coordinator.capture("on-demand")
            truth = await registers_by_monitor(machine)
            assert len(truth) == len(frozen.vcpus) == 2
            for vcpu, registers in zip(frozen.vcpus, truth, strict=True):
                assert registers.keys() >= {"rip", "rsp", "rax", "r15"}
                assert {name: vcpu.registers[name] for name in registers} == registers
            await coordinator.thaw("test")
        taken = watch.of(CaptureTaken)
        assert before.guest_ns is not None
        assert whole.guest_ns is not None
        assert whole.guest_ns > before.guest_ns
        assert machine.gdb.statistics().discarded_replies >= 4
        assert coordinator.statistics().timeouts == 2
    assert [it.report.is_placeholder for it in taken] == [False, True, True, False, False, False, False]
    for number in (2, 3):
        event = taken[number - 1]
        path = captures / f"{number:03d}-guest-{number:03d}.degraded.json"
        assert event.path == str(path)
        assert not path.with_name(f"{number:03d}-guest-{number:03d}.json").exists()
        degraded = decode_report(path.read_bytes())
        assert degraded == event.degraded
        assert isinstance(degraded, DegradedReport)
        assert re.match(r"rendezvous timed out after \d+ ms: 0 of 2 vCPUs answered; ", degraded.reason)
        assert degraded.elapsed_ms >= 2000
        assert (degraded.trigger, degraded.trigger_detail) == ("guest", "request 7")
        assert (degraded.watchpoint_hit, degraded.exit_kind) == (False, 0)
        assert [(it.cpu, it.registers) for it in degraded.vcpus] == [(0, {}), (1, {})]
        assert degraded.kernel == before.kernel
        assert "rendezvous timed out" in event.report.unavailable["tasks"]


async def test_a_qemu_that_is_killed_while_it_is_being_stopped_is_aborted(
    machine_spec: MachineSpec, tmp_path: Path
) -> None:
    captures = tmp_path / "captures"
    failed: list[GuestError] = []

    async def capture(watch: Observed) -> None:
        try:
            await watch.coordinator.capture("on-demand", tag="mine")
        except GuestError as error:
            failed.append(error)

    async with busy(machine_spec, captures) as watch:
        os.kill(watch.machine.pid, signal.SIGSTOP)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(capture, watch)
            await trio.sleep(0.3)
            os.kill(watch.machine.pid, signal.SIGKILL)
        await watch.wait_until(lambda: bool(watch.of(CaptureTaken)))
        (event,) = watch.of(CaptureTaken)
    assert len(failed) == 1
    assert not isinstance(failed[0], CaptureTimedOutError)
    degraded = decode_report((captures / "001-mine.degraded.json").read_bytes())
    assert degraded == event.degraded
    assert isinstance(degraded, DegradedReport)
    assert re.match(r"aborted after \d+ ms: 0 of 2 vCPUs answered; ", degraded.reason)
    assert event.report.is_placeholder


async def test_an_early_capture_of_a_scheduler_that_leaves_in_good_order(
    machine_spec: MachineSpec, tmp_path: Path
) -> None:
    async with busy(machine_spec, tmp_path / "captures", fifo_ms=5000) as watch:
        early = await watch.coordinator.capture("early")
        await watch.wait_until(lambda: ("detached", "fifo", None) in watch.changes())
        await watch.coordinator.wait_captures_finished()
        (event,) = watch.of(DualSaved)
    path = tmp_path / "captures" / "001-early-001.early-only-late-never-fired.json"
    assert event.path == str(path)
    dual = decode_report(path.read_bytes())
    assert isinstance(dual, DualReport)
    assert (dual.outcome, dual.early, dual.late, dual.diff) == (
        "early-only-late-never-fired",
        early,
        None,
        None,
    )
    assert why_alone(dual) == "the scheduler was not ejected: it left with exit_kind 64 (UNREG)"


def test_a_user_is_told_of_a_stop_that_failed(tmp_path: Path) -> None:
    # Without a scheduler, because a command may take longer to start than a watchdog waits.
    with headless_run(tmp_path, "--no-seed", "--scenario", "steady", "--scheduler", "none") as run:
        run.wait_for("step")
        (pid,) = run.qemu_pids()
        with stopped(pid):
            done = call("capture", run.name, "--tag", "held", env=run.env)
        assert done.returncode == 4
        assert "capture held failed: rendezvous timed out" in done.stderr
        assert "error (guest)" in done.stderr
        whole = call_json("capture", run.name, "--tag", "whole", env=run.env)
        assert len(whole["report"]["vcpus"]) == 2
        status = call_json("status", run.name, env=run.env)
        entries = {entry["tag"]: entry for entry in status["captures"]}
        assert entries["held"]["degraded_reason"].startswith("rendezvous timed out after ")
        assert entries["held"]["path"].endswith("-held.degraded.json")
        assert entries["whole"]["degraded_reason"] is None
        told = call("capture-diff", "held", "--run", run.name, env=run.env)
        assert told.stdout.startswith("held is a degraded report")
        refused = call("capture-diff", "held", "whole", "--run", run.name, env=run.env)
        assert refused.returncode == 2
        assert "cannot be compared: rendezvous timed out" in refused.stderr
        run.process.send_signal(signal.SIGTERM)
        code, summary, _ = run.end()
    assert code == 0, summary["end_reason"]
    saved = json.loads(Path(entries["held"]["path"]).read_text())
    assert saved["schema"] == "degraded"
