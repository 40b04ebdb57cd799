"""A QEMU that executes nothing, in a run with a seed: a stop for a while changes nothing, one for good is told."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from ktstr_tui.backend.again import CONFIG_FILE
from ktstr_tui.health.stuck import ALERT_S
from ktstr_tui.model.errors import EXIT_HOST
from tests.guest.runs import call, headless_run

pytestmark = pytest.mark.guest

SCENARIO = """
name = "busy"
[[steps]]
name = "spinning"
duration_ms = 6000
scheduler = "demo:fifo"
[[steps.workers]]
kind = "spin"
[[steps.workers]]
kind = "bursty"
"""
LIMIT_S = 3 * ALERT_S


def test_a_qemu_that_is_stopped_ends_the_run_and_one_that_goes_on_does_not(tmp_path: Path) -> None:
    scenario = tmp_path / "busy.toml"
    scenario.write_text(SCENARIO)
    with headless_run(tmp_path, "--seed", "7", "--scenario", str(scenario), name="first") as run:
        code, first, _ = run.end()
    assert code == 0
    config = Path(first["data_dir"]) / CONFIG_FILE
    kept = json.loads(config.read_bytes())
    config.write_text(json.dumps(kept | {"silence_s": LIMIT_S}))

    with headless_run(tmp_path, "first", name="goes-on", command="rerun") as run:
        events = run.events("step", "alert", "alert-cleared")
        assert next(events)["type"] == "step"
        (pid,) = run.qemu_pids()
        os.kill(pid, signal.SIGSTOP)
        alert = next(events)
        assert (alert["type"], alert["kind"]) == ("alert", "host")
        assert "QEMU is stopped by a signal" in alert["text"]
        os.kill(pid, signal.SIGCONT)
        assert next(events)["type"] == "alert-cleared"
        code, second, _ = run.end()
    assert (code, second["verdict"]) == (0, first["verdict"])
    compared = second["compared"]
    assert compared["identical"] == compared["kept"] == compared["run_kept"] > 0
    same = call("compare", first["data_dir"], second["data_dir"], env=run.env)
    assert same.returncode == 0, same.stdout

    with headless_run(tmp_path, "first", name="stopped", command="rerun") as run:
        run.wait_for("step")
        (pid,) = run.qemu_pids()
        os.kill(pid, signal.SIGSTOP)
        code, third, _ = run.end()
    assert (code, third["verdict"], third["fault"]) == (EXIT_HOST, "failed", "host")
    assert (
        third["end_reason"]
        == f"the guest has executed nothing for {LIMIT_S:.0f} s: QEMU is stopped by a signal"
    )
    assert run.qemu_pids() == []
