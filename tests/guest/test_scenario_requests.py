"""What a scenario asks the host for goes through the run's bridge, and is listed when the run has ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.guest.runs import call, private_environment

SCENARIO = """
name = "asking"

[[workers]]
kind = "spin"

[[steps]]
name = "first"
duration_ms = 600
scheduler = "demo:fifo"
capture = "mine"
watch = "panic_timeout"

[[steps]]
name = "plain"
duration_ms = 300

[[steps]]
name = "second"
duration_ms = 600
scheduler = "demo:fifo"
capture = "mine"
watch = "no_such_symbol"
"""


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """The summary and the events as text."""
    path = tmp_path_factory.mktemp("asking")
    env = private_environment(path)
    (path / "asking.toml").write_text(SCENARIO)
    done = call(
        "run", "--headless", "--json", "--scenario", str(path / "asking.toml"), "--captures", "2", env=env
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    events = call("events", str(Path(summary["data_dir"]) / "recording.ktstr"), env=env)
    return summary, events.stdout


def test_captures_of_a_scenario_are_on_the_bridge_with_their_step(asking: tuple[dict[str, Any], str]) -> None:
    summary, _ = asking
    told = summary["conclusion"]
    assert told["captures"].count("mine") == 1
    assert set(told["captures"]) == {"mine", "periodic_000", "periodic_001"}
    assert (told["periodic_real"], told["bridge_events"], told["guest_exit"]) == (2, {"overwrite": 1}, 0)
    index = json.loads(Path(told["index_path"]).read_text())
    (mine,) = [entry for entry in index["captures"] if entry["tag"] == "mine"]
    assert (mine["trigger"], mine["step_index"], mine["is_placeholder"]) == ("guest", 2, False)
    # Both captures of that name are on disk; the bridge keeps the latest, and the index names its file.
    files = sorted((Path(summary["data_dir"]) / "captures").glob("*-mine*.json"))
    assert len(files) == 2
    assert mine["path"] == str(files[-1])
    periodic = [entry for entry in index["captures"] if entry["tag"].startswith("periodic_")]
    assert all(entry["stats_unavailable"] and entry["elapsed_ms"] is not None for entry in periodic)


def test_each_swap_of_schedulers_was_followed(asking: tuple[dict[str, Any], str]) -> None:
    _, events = asking
    assert "did not advance" not in events
    assert events.count("fifo attached") == 2, events


def test_the_guests_word_on_its_kernels_place_agrees_with_its_memory(
    asking: tuple[dict[str, Any], str],
) -> None:
    summary, events = asking
    assert summary["frames"]["by_type"]["KernAddrs"] == 1
    assert "the guest claims" not in events


def test_the_scenario_is_told_what_became_of_its_requests(asking: tuple[dict[str, Any], str]) -> None:
    _, events = asking
    said = [line.split("ktstr-agent: ")[1] for line in events.splitlines() if "ktstr-agent: " in line]
    assert [line.split()[::2][:2] for line in said if ": done" in line] == [
        ["watch", "done"],
        ["capture", "done"],
        ["capture", "done"],
    ]
    (refused,) = [line for line in said if "failed" in line]
    assert "no_such_symbol" in refused
