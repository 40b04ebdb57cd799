"""A run with a seed is the same run again, also when somebody freezes it, captures it and watches it meanwhile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ktstr_tui.backend.checkpoints import CHECKPOINTS_FILE
from ktstr_tui.backend.identity import IDENTITY_FILE
from ktstr_tui.backend.seeded import GIVEN_FILE
from tests.guest.runs import call, headless_run

pytestmark = pytest.mark.guest

SCENARIO = """
name = "stalled"
[[steps]]
name = "lost"
duration_ms = 20000
until = "ejected"
scheduler = "demo:stall"
watch = "panic_timeout"
[[steps.workers]]
kind = "spin"
[[steps.workers]]
kind = "spin"
[[steps.workers]]
kind = "bursty"
"""
WORDS = ("--seed", "42")
TOUCHES = 10
Both = tuple[dict[str, Any], dict[str, Any], list[str]]
OF_THE_HOST = {
    *("wall_time", "mono_ns", "elapsed_ms", "pause", "sha256", "early_max_age_ms", "host"),
    # Read after the guest went on, and so whenever the host came to it.
    *("dmesg_tail", "read_late"),
}


def data_dir(summary: dict[str, Any]) -> Path:
    return Path(next(it["path"] for it in summary["captures"] if it["trigger"] == "error")).parent.parent


def error_report(summary: dict[str, Any]) -> dict[str, Any]:
    entry = next(it for it in summary["captures"] if it["trigger"] == "error")
    report = {
        name: it
        for name, it in json.loads(Path(entry["path"]).read_bytes()).items()
        if name not in OF_THE_HOST
    }
    report["tag"] = ""
    report["scheduler"].pop("dump", None)
    return report


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory,
) -> Both:
    """An untouched run and a touched one; summaries, and what the second said of its comparison."""
    path = tmp_path_factory.mktemp("seed")
    scenario = path / "stalled.toml"
    scenario.write_text(SCENARIO)
    words = (*WORDS, "--scenario", str(scenario))
    with headless_run(path, *words, "--no-early-capture", name="first") as run:
        _, first, _ = run.end()
    with headless_run(path, *words, "--no-early-capture", name="second") as run:
        run.wait_for("kernel-typed")
        assert call("watch", "add", "jiffies", "second", env=run.env).returncode == 0
        for _ in range(TOUCHES):
            for command in ("freeze", "capture", "thaw"):
                call(command, "second", env=run.env)
        _, second, _ = run.end()
    recording = next(data_dir(second).glob("*.ktstr"))
    events = [
        json.loads(line) for line in call("events", str(recording), "--json", env=run.env).stdout.splitlines()
    ]
    return first, second, [it["text"] for it in events if it["type"] == "log" and it["source"] == "seed"]


def test_all_that_the_guest_is_and_says_is_the_same(both: Both) -> None:
    first, second, _ = both
    assert first["end_reason"] == second["end_reason"]
    assert "ERROR_STALL" in first["end_reason"]
    for name in (IDENTITY_FILE, GIVEN_FILE, CHECKPOINTS_FILE, "console.log"):
        one, other = ((data_dir(it) / name).read_bytes() for it in both[:2])
        assert one == other, name
    last = json.loads((data_dir(first) / CHECKPOINTS_FILE).read_bytes().splitlines()[-1])
    assert last["sent_bytes"] > 1000
    assert last["scheduler_sha256"]


def test_the_capture_of_the_ejection_is_the_same(both: Both) -> None:
    assert error_report(both[0]) == error_report(both[1])


def test_the_touched_run_was_touched_and_says_that_it_is_identical(both: Both) -> None:
    _, second, said = both
    # How many of the touches came before the end is the host's speed.
    assert [it for it in second["captures"] if it["trigger"] == "on-demand"]
    assert len(said) == 1
    assert "identical to first-" in said[0]
    assert "in all" in said[0]
