"""What a person changes in a run with a seed, the guest frozen, is part of its history: a rerun does the same."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ktstr_tui.backend.checkpoints import CHECKPOINTS_FILE
from ktstr_tui.backend.interventions import INTERVENTIONS_FILE
from ktstr_tui.backend.seeded import GIVEN_FILE
from ktstr_tui.guest.initramfs import guest_directory
from tests.guest.runs import PROGRAM, call, call_json, headless_run
from tests.guest.test_seed import data_dir

pytestmark = pytest.mark.guest

SCENARIO = """
name = "touched"
[[steps]]
name = "long"
duration_ms = 60000
until = "ejected"
scheduler = "demo:fifo"
[[steps.workers]]
kind = "spin"
[[steps.workers]]
kind = "spin"
"""


def test_a_rerun_writes_and_replaces_at_the_same_instructions(tmp_path: Path) -> None:
    scenario, stall = tmp_path / "touched.toml", guest_directory() / "stall.bpf.o"
    scenario.write_text(SCENARIO)
    words = ("--seed", "7", "--scenario", str(scenario), "--allow-writes", "--no-early-capture")
    with headless_run(tmp_path, *words, name="touched") as run:
        run.wait_for("step")
        assert call("freeze", run.name, env=run.env).returncode == 0
        assert call("op", "write", "panic_timeout=77", "--run", run.name, env=run.env).returncode == 0
        # It waits for the guest, which is frozen.
        change = [*PROGRAM, "scheduler", "replace", str(stall), run.name]
        with subprocess.Popen(change, env=run.env, stdout=subprocess.PIPE, text=True) as replacing:
            assert call("thaw", run.name, env=run.env).returncode == 0
            told, _ = replacing.communicate()
            assert (replacing.returncode, "attached as stall" in told) == (0, True)
        _, first, _ = run.end()
    assert "ERROR_STALL" in first["end_reason"]

    listed = call_json("rerun", "touched", "--list", env=run.env)["interventions"]
    assert [it["words"] for it in listed] == ["write panic_timeout=77", "replace scheduler by stall.bpf.o"]
    with headless_run(tmp_path, "touched", name="again", command="rerun") as again:
        _, second, _ = again.end()
    assert second["end_reason"] == first["end_reason"]
    for name in (GIVEN_FILE, CHECKPOINTS_FILE, "console.log"):
        one, other = ((data_dir(it) / name).read_bytes() for it in (first, second))
        assert one == other, name
    instants = [
        [line.partition(b",")[0] for line in (data_dir(it) / INTERVENTIONS_FILE).read_bytes().splitlines()]
        for it in (first, second)
    ]
    assert instants[0] == instants[1]
    refused = call("rerun", "touched", "--without", "3", env=run.env)
    assert refused.returncode == 2
    assert "no intervention 3: the run has 2 interventions" in refused.stderr
