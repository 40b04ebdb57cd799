"""The product's spine, on a real kernel: the tour is ejected and the capture names who waited and where."""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ktstr_tui.link.recording import read_recording
from ktstr_tui.model.fold import fold
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.report_files import decode_report
from ktstr_tui.model.state import RunState
from tests.guest.compilers import REJECTED
from tests.guest.runs import call, call_json, headless_run, private_environment

WORKERS = ("spin-", "bursty-", "pipe-", "yield-", "futex-", "mixed-", "fork-", "sleep-")
PANIC = """
name = "panic"
[[steps]]
name = "boom"
duration_ms = 20000
scheduler = "none"
panic = true
"""


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], int]:
    """The tour, headless, as the README says; shared by the tests that look at its result."""
    path = tmp_path_factory.mktemp("tour")
    done = call("run", "--headless", "--json", "--duration", "200", env=private_environment(path))
    assert done.stdout, done.stderr
    return json.loads(done.stdout), done.returncode


def error_capture(summary: dict[str, Any]) -> dict[str, Any]:
    found = [entry for entry in summary["captures"] if entry["trigger"] == "error"]
    assert len(found) == 1, f"one ejection, one capture, but: {summary['captures']}"
    entry: dict[str, Any] = found[0]
    return entry


def load_report(entry: dict[str, Any]) -> CaptureReport:
    report = decode_report(Path(entry["path"]).read_bytes())
    assert isinstance(report, CaptureReport)
    return report


def test_the_tour_ends_with_the_ejection_captured(tour: tuple[dict[str, Any], int]) -> None:
    summary, code = tour
    capture = error_capture(summary)
    assert code == summary["exit_code"] == 1
    assert capture["exit_kind"] == 1026
    assert capture["pause_us"] > 0
    assert summary["samples"] > 20
    assert summary["boot_ms"] > 0
    assert summary["frames"]["crc_bad"] == 0
    assert summary["frames"]["received"] == sum(summary["frames"]["by_type"].values())
    assert summary["frames"]["skipped_bytes"] == 0
    assert summary["drops"] == {}


def test_the_stalled_task_and_its_queue_are_right(tour: tuple[dict[str, Any], int]) -> None:
    entry = error_capture(tour[0])
    report = load_report(entry)
    first = report.tasks[0]
    assert entry["first_stalled"] == {
        "pid": first.pid,
        "comm": first.comm,
        "age_ms": first.age_ms,
        "dsq": first.dsq,
    }
    assert first.dsq == "0x7", "demo:stall queues everything in its shared DSQ 0x7"
    assert first.age_ms is not None
    assert first.age_ms >= 3000, "it waited longer than the watchdog's 3 s"
    assert all((task.age_ms or 0) <= first.age_ms for task in report.tasks)
    (queue,) = (dsq for dsq in report.dsqs if dsq.id == 7)
    assert first.pid in queue.pids
    assert queue.nr == len(queue.pids)
    assert not report.unavailable
    # The kernel's own words about the same ejection are the oracle.
    assert report.scheduler is not None
    message = report.scheduler.message or ""
    assert "failed to run for" in message
    named_pid = int(message.split("[")[1].split("]")[0])
    assert named_pid in {task.pid for task in report.tasks}


def test_the_report_is_whole(tour: tuple[dict[str, Any], int]) -> None:
    report = load_report(error_capture(tour[0]))
    assert [vcpu.cpu for vcpu in report.vcpus] == [0, 1]
    for vcpu in report.vcpus:
        assert vcpu.stack is not None
        if vcpu.registers["rip"] >> 63:
            assert len(vcpu.stack.frames) > 1
        else:  # not the one that wrote; what waits is not running, but the guest program may be
            assert (vcpu.stack.frames, vcpu.stack.end) == ((), "user")
    symbols = {
        frame.symbol.split("+")[0]
        for v in report.vcpus
        if v.stack
        for frame in v.stack.frames
        if frame.symbol
    }
    assert symbols & {"scx_vexit", "__scx_exit", "scx_exit", "scx_tick", "scx_watchdog_workfn"}, (
        "stopped at the write"
    )
    assert len(report.runqueues) == 2
    assert any(entry.name.endswith(".bss") and entry.entries for entry in report.maps)
    assert report.dmesg_tail
    assert report.scheduler is not None
    assert report.scheduler.exit_kind_name == "ERROR_STALL"
    assert report.pause is not None
    parts = report.pause
    known = sum(part or 0.0 for part in (parts.stop_us, parts.registers_us, parts.memory_us, parts.resume_us))
    assert known <= parts.total_us * 1.05


def test_the_recording_folds_to_the_same_state(tour: tuple[dict[str, Any], int]) -> None:
    summary, _ = tour
    state = RunState()
    for event in read_recording(Path(summary["data_dir"]) / "recording.ktstr"):
        fold(state, event)
    assert state.ended is not None
    assert state.ended.exit_code == summary["exit_code"]
    assert state.samples == summary["samples"]
    assert [entry.report.tag for entry in state.captures] == [entry["tag"] for entry in summary["captures"]]


def test_attach_detach_capture_freeze_during_a_run(tmp_path: Path) -> None:
    with headless_run(tmp_path, "--scenario", "steady", "--scheduler", "demo:fifo") as run:
        attached = run.wait_for("scheduler")
        assert attached["change"] == "attached"
        # Two followers came and went by now and more will; the run goes on regardless.
        status = call_json("status", run.name, env=run.env)
        assert status["phase"] in ("up", "running")
        taken = call_json("capture", run.name, "--tag", "mine", env=run.env)
        assert taken["report"]["tag"] == "mine"
        assert len(taken["report"]["vcpus"]) == 2
        call_json("freeze", run.name, env=run.env)
        before = call_json("status", run.name, env=run.env)
        assert before["frozen"]
        name = "print(prog['scx_root'].ops.name.string_().decode())"
        asked = call("drgn", run.name, "-c", name, env=run.env)
        assert (asked.returncode, asked.stdout) == (0, "fifo\n"), asked.stderr
        call_json("thaw", run.name, env=run.env)
        assert not call_json("status", run.name, env=run.env)["frozen"]
        run.process.send_signal(signal.SIGTERM)
        code, summary, _ = run.end()
    assert code == summary["exit_code"] == 0
    assert [entry["tag"] for entry in summary["captures"]] == ["mine"]
    assert summary["end_reason"] == "ended by SIGTERM"


def test_a_second_run_of_the_same_name_is_refused(tmp_path: Path) -> None:
    with headless_run(tmp_path, "--scenario", "idle") as run:
        second = call("run", "--headless", "--name", run.name, env=run.env)
        assert second.returncode == 2
        assert "is in progress" in second.stderr
        assert run.process.poll() is None


def test_a_guest_panic_ends_the_run_with_its_console(tmp_path: Path) -> None:
    scenario = tmp_path / "panic.toml"
    scenario.write_text(PANIC)
    with headless_run(tmp_path, "--scenario", str(scenario)) as run:
        code, summary, _ = run.end()
    assert code == summary["exit_code"] == 4
    assert "panic" in summary["end_reason"]
    console = (Path(summary["data_dir"]) / "console.log").read_text(errors="replace")
    assert "Kernel panic" in console


def test_a_scheduler_that_the_verifier_rejects_shows_its_log(
    tmp_path: Path, compile_bpf: Callable[[str, str], str]
) -> None:
    """And nobody planned for that, but the run can be had again."""
    scheduler, env = compile_bpf("rejected", REJECTED), private_environment(tmp_path)
    done = call("run", "--headless", "--json", "--scheduler", scheduler, env=env)
    summary = json.loads(done.stdout)
    assert done.returncode == summary["exit_code"] == 2
    assert "rejected.bpf.o: refused by the verifier: R0 invalid mem access" in summary["end_reason"]
    assert any("invalid mem access" in line for line in summary["last_words"])
    (log,) = (tmp_path / "state").rglob("scheduler.log")
    assert "BEGIN PROG LOAD LOG" in log.read_text()
    assert "Linux version" not in log.read_text(), "boot messages are in console.log"
    first = Path(summary["data_dir"])
    assert f"seed {summary['seed']} was drawn" in done.stderr
    assert f" {summary['seed']}  failed\n" in call("runs", "list", env=env).stdout
    again = call_json("rerun", first.name, "--headless", "--name", "again", env=env)
    assert (again["seed"], again["end_reason"]) == (summary["seed"], summary["end_reason"])
    assert call_json("compare", str(first), again["data_dir"], env=env)["first_difference"] is None


def test_a_killed_qemu_ends_the_run(tmp_path: Path) -> None:
    with headless_run(tmp_path, "--scenario", "steady", "--scheduler", "none") as run:
        run.wait_for("step")
        (pid,) = run.qemu_pids()
        os.kill(pid, signal.SIGKILL)
        code, summary, _ = run.end()
    assert code == summary["exit_code"] == 4
    assert "SIGKILL" in summary["end_reason"]


def test_a_killed_backend_leaves_no_guest_behind(tmp_path: Path) -> None:
    with headless_run(tmp_path, "--scenario", "idle") as run:
        run.wait_for("guest-ready")
        (pid,) = run.qemu_pids()
        pidfd = os.pidfd_open(pid)
        run.process.kill()
        run.process.wait()
        poller = select.poll()
        poller.register(pidfd)
        assert poller.poll(120_000), "QEMU outlived its backend"
        os.close(pidfd)
        # The name is free again, and nothing hangs on what the dead run left.
        listed = call("attach", run.name, env=run.env)
        assert listed.returncode == 2
