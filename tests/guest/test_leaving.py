"""Every way in which a scheduler leaves that nobody asked for, as a user sees it: exit code and captures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ktstr_tui.guest.initramfs import guest_artifacts
from tests.guest.programs import program  # noqa: F401 (a fixture)
from tests.guest.runs import call, private_environment

pytestmark = pytest.mark.guest
SOURCES = Path(__file__).parent / "failures"
SCENARIO = """
name = "leaving"
[[workers]]
kind = "spin"
count = 3
"""
STEP = """
[[steps]]
name = "{name}"
duration_ms = {duration_ms}
until = "{until}"
scheduler = {scheduler}
"""


def step(name: str, scheduler: str, *, duration_ms: int = 30_000, until: str = "ejected") -> str:
    """One step of a scenario file."""
    return STEP.format(name=name, duration_ms=duration_ms, until=until, scheduler=json.dumps(scheduler))


def test_leaving_unasked_is_an_ejection_with_its_words_and_a_stop_that_was_asked_for_is_none(
    tmp_path: Path,
    compile_bpf: Callable[[str, str], str],
    program: Callable[[str, str], str],  # noqa: F811
) -> None:
    """Left by itself (UNREG_BPF), crashed (UNREG), ended by the scenario (no ejection), in one boot."""
    exits = compile_bpf("exits", (SOURCES / "exits.bpf.c").read_text())
    crash = program(str(guest_artifacts().demos["fifo"]), "crash")
    scenario = tmp_path / "leaving.toml"
    scenario.write_text(
        SCENARIO
        + step("asked", "demo:fifo", duration_ms=1500, until="duration")
        + step("crash", crash)
        + step("exits", exits)
    )
    env = private_environment(tmp_path)
    done = call("run", "--headless", "--json", "--scenario", str(scenario), env=env)
    assert done.returncode == 1, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["ejections"], summary["restarts"]) == (2, 0)
    errors = [entry for entry in summary["captures"] if entry["trigger"] == "error"]
    assert [entry["exit_kind"] for entry in errors] == [64, 65]
    reports = [json.loads(Path(entry["path"]).read_text()) for entry in errors]
    assert [it["scheduler"]["exit_kind_name"] for it in reports] == ["UNREG", "UNREG_BPF"]
    assert ["at the write" in it["trigger_detail"] for it in reports] == [True, True]
    assert summary["verdict"] == "ejected"
    # The kernel keeps them after the write; the stop at which it takes the scheduler down finds them.
    assert "UNREG_BPF: topology changed under 7, exit code 0x42" in summary["end_reason"]


def test_a_restart_that_the_kernel_asked_for_is_captured_and_no_failure(
    tmp_path: Path,
    program: Callable[[str, str], str],  # noqa: F811
) -> None:
    # Between its two lives it is busy for longer than it might sleep.
    restart = program(str(guest_artifacts().demos["fifo"]), "rework")
    scenario = tmp_path / "restart.toml"
    scenario.write_text(SCENARIO + step("restart", restart, duration_ms=12_000, until="duration"))
    env = private_environment(tmp_path)
    done = call("run", "--headless", "--json", "--scenario", str(scenario), env=env)
    summary = json.loads(done.stdout)
    assert (summary["ejections"], summary["restarts"]) == (1, 1), done.stderr
    assert done.returncode == 0
    (entry,) = [entry for entry in summary["captures"] if entry["trigger"] == "error"]
    report = json.loads(Path(entry["path"]).read_text())
    assert report["scheduler"]["exit_kind_name"] == "UNREG_KERN"
    assert "1 restart that the kernel had asked for" in summary["end_reason"]
