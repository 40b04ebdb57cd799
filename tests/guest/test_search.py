"""A race that shows in some seeds only is found by a search, and from then on it shows every time."""

from __future__ import annotations

from pathlib import Path

import pytest

from ktstr_tui.backend.checkpoints import CHECKPOINTS_FILE
from tests.guest.runs import call, call_json, private_environment

pytestmark = pytest.mark.guest
SEEDS = "1..20"
RERUNS = 10
TIMEOUT_S = 600


def test_a_planted_race_is_found_and_its_rerun_fails_ten_times_of_ten(tmp_path: Path) -> None:
    env = private_environment(tmp_path)
    words = ("search", "--scenario", "race", "--seeds", SEEDS, "--until", "ejected")
    searched = call_json(*words, env=env, timeout_s=TIMEOUT_S)
    cell = searched["cells"][-1]
    assert searched["found"] == [cell["seed"]]
    assert (cell["exit_kind"], cell["dsq"]) == ("ERROR_STALL", "0x7")
    first = Path(cell["capture"]).parent.parent
    bundle = tmp_path / "race.ktstr-bundle"
    assert call("bundle", str(first), str(bundle), env=env).returncode == 0
    for number in range(RERUNS):
        # A bug report is a file: the last time it is that which is run.
        again = str(bundle) if number == RERUNS - 1 else str(first)
        summary = call_json("rerun", again, "--headless", env=env, timeout_s=TIMEOUT_S)
        assert summary["exit_code"] == 1
        other = Path(summary["data_dir"])
        assert (other / CHECKPOINTS_FILE).read_bytes() == (first / CHECKPOINTS_FILE).read_bytes()
        capture = next(it["path"] for it in summary["captures"] if it["trigger"] == "error")
        assert cell["message"] in Path(capture).read_text()
