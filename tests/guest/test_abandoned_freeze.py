"""A guest that somebody froze and left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.guest.runs import call, headless_run

pytestmark = pytest.mark.guest


def test_a_freeze_without_a_viewer_ends_by_itself_and_so_does_the_run(tmp_path: Path) -> None:
    scenario = tmp_path / "short.toml"
    scenario.write_text('name = "short"\n[[steps]]\nname = "only"\nduration_ms = 2000\nscheduler = "none"\n')
    with headless_run(tmp_path, "--no-seed", "--scenario", str(scenario), "--freeze-limit", "2") as run:
        run.wait_for("step")
        assert (run.socket_dir / "qmp.sock").stat().st_mode & 0o077 == 0
        assert call("freeze", run.name, env=run.env).returncode == 0
        # Nobody thaws it and nobody is attached.
        code, summary, _ = run.end()
    assert (code, summary["end_reason"]) == (0, "scenario finished")
    assert summary["frozen_total_ms"] >= 2000
    recorded = call("events", summary["data_dir"] + "/recording.ktstr", "--json", env=run.env)
    reasons = [
        event["reason"]
        for event in map(json.loads, recorded.stdout.splitlines())
        if event["type"] == "thawed"
    ]
    assert len(reasons) == 1
    assert reasons[0].endswith("and no viewer was attached for 2 s")
