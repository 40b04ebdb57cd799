"""Snapshots of a real guest: what they hold is what the guest held, and guests that start from them run on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.guest.runs import HeadlessRun, call, call_json, headless_run

SCENARIO = """
name = "keep"

[[workers]]
kind = "spin"
count = 3

[[steps]]
name = "good"
duration_ms = 6000
scheduler = "demo:fifo"

[[steps.ops]]
op = "capture"
at_ms = 200
tag = "kept"
memory = true

[[steps]]
name = "bad"
duration_ms = 20000
until = "ejected"
scheduler = "demo:stall"
"""
SHARE = 0.25
"""Of the pages of a snapshot, how many the next one of a guest that works may add; a quiet one adds a hundredth."""


def stored(run: HeadlessRun) -> Iterator[dict[str, Any]]:
    return run.events("snapshot-stored", "ended")


def restored(tmp_path: Path, name: str, *arguments: str) -> Any:  # noqa: ANN401
    return headless_run(tmp_path, "kept", *arguments, name=name, command="restore")


@pytest.mark.guest
def test_snapshots_are_whole_and_guests_that_start_from_one_end_as_the_first_did(tmp_path: Path) -> None:
    scenario = tmp_path / "keep.toml"
    scenario.write_text(SCENARIO)
    with headless_run(tmp_path, "--scenario", str(scenario), "--memory-on-ejection") as run:
        events = stored(run)
        kept = next(events)
        assert (kept["name"], kept["problem"]) == ("kept", "")
        captured = call_json("capture", "test", "--memory", "--tag", "second", env=run.env)
        assert captured["snapshot"]["name"] == "second"
        assert captured["report"]["pause"]["snapshot_us"] > 0
        second = next(events)
        assert 0 < second["new_pages"] < SHARE * kept["pages"]
        code, _, _ = run.end()
        assert code == 1
        found: Any = call_json("snapshot", "list", env=run.env)
        assert [it["info"]["reason"] for it in found] == ["guest", "on-demand", "error"]
        verdicts: Any = call_json("snapshot", "verify", env=run.env)
        assert [it["damage"] for it in verdicts] == [[], [], []]
        diff = call_json("snapshot", "diff", "kept", "second", env=run.env)
        assert 0 < diff["changed_pages"] < diff["pages"]
    with ExitStack() as stack:
        runs = [
            stack.enter_context(restored(tmp_path, name, "--set", "panic_timeout=77"))
            for name in ("r1", "r2")
        ]
        for again in runs:
            code, summary, _ = again.end()
            assert code == 1, summary
            assert [it["exit_kind_name"] for it in summary["captures"] if it["trigger"] == "error"] == [
                "ERROR_STALL"
            ]
            assert summary["frames"]["crc_bad"] == 0
            [data_dir] = (tmp_path / "state/ktstr-tui/runs").glob(f"{again.name}-*")
            audit = (data_dir / "kernel-ops.jsonl").read_text()
            assert '"restore"' in audit
            assert "panic_timeout" in audit
            told = call("events", str(data_dir / "recording.ktstr"), env=again.env).stdout
            assert "does not repeat history exactly" in told
            assert "step 1/2 good" in told
            assert "step 2/2 bad" in told
