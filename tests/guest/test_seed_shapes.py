"""A run with a seed is the same again on four CPUs and two NUMA nodes, watched or not, on a busy host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ktstr_tui.backend.checkpoints import CHECKPOINTS_FILE
from ktstr_tui.backend.seeded import GIVEN_FILE
from ktstr_tui.model.stored import IDENTITY_FILE
from tests.guest.runs import busy_host, headless_run

pytestmark = pytest.mark.guest

TOPOLOGY = "2n2l2c1t"
CPUS = 4
SCENARIO = """
name = "wide"
[[steps]]
name = "works"
duration_ms = 2500
scheduler = "demo:fifo"
[[steps.workers]]
kind = "spin"
count = 4
[[steps.workers]]
kind = "bursty"
count = 2
[[steps.workers]]
kind = "pipe"
count = 2
"""


def directory_of(summary: dict[str, Any]) -> Path:
    return Path(summary["data_dir"])


def test_two_runs_on_two_nodes_are_the_same(tmp_path: Path) -> None:
    scenario = tmp_path / "wide.toml"
    scenario.write_text(SCENARIO)
    words = ("--seed", "7", "--topology", TOPOLOGY, "--scenario", str(scenario))
    with headless_run(tmp_path, *words, name="first") as run:
        _, first, _ = run.end()
    one = directory_of(first)
    with (
        busy_host(),
        headless_run(tmp_path, str(one), "--watch", "jiffies", name="second", command="rerun") as run,
    ):
        _, second, _ = run.end()
    other = directory_of(second)
    for name in (IDENTITY_FILE, GIVEN_FILE, CHECKPOINTS_FILE, "console.log"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    last = json.loads((one / CHECKPOINTS_FILE).read_bytes().splitlines()[-1])
    assert len(last["counts"]) == CPUS
    assert all(last["counts"]), "each vCPU has run"
    assert last["scheduler_sha256"]
