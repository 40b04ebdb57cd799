"""The example scheduler in a real guest, and everything that the run wrote against the published schemas."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.docs.validation import validator
from tests.guest.runs import TIMEOUT_S, call, call_json, headless_run


def build(checkout: Path, directory: Path) -> Path:
    """Build the example as its Makefile does; the scenario lies beside the object."""
    example = checkout / "examples/scheduler"
    subprocess.run(["make", "-C", example, f"OUT={directory}"], check=True, timeout=TIMEOUT_S)
    scenario = (example / "first.toml").read_text("utf-8")
    # Long enough to freeze the guest in it on a busy host; frozen, it waits for whatever else is asked.
    path = directory / "first.toml"
    path.write_text(scenario.replace("duration_ms = 5000", "duration_ms = 15000"), "utf-8")
    return path


def check_events(checkout: Path, lines: list[str]) -> list[dict[str, Any]]:
    """Every event against the schema of its type."""
    schema = json.loads((checkout / "docs/schemas/event.schema.json").read_text("utf-8"))
    parts = {
        part["properties"]["type"]["enum"][0]: name
        for name, part in schema["$defs"].items()
        if "enum" in part.get("properties", {}).get("type", {})
    }
    events = [json.loads(line) for line in lines]
    for event in events:
        validator(checkout, "event", parts[event["type"]])(event)
    return events


def test_the_example_scheduler_runs_and_all_that_is_written_fits_its_schema(
    checkout: Path, tmp_path: Path
) -> None:
    scenario = build(checkout, tmp_path)
    with headless_run(tmp_path, "--no-seed", "--scenario", str(scenario), "--allow-writes") as run:
        began = (event for event in run.events("step") if event["name"] == "first")
        next(began)
        assert call_json("freeze", run.name, env=run.env)["changed"]
        validator(checkout, "status")(call_json("status", run.name, env=run.env))
        result = call_json(
            "op", "read", "panic_timeout", "runqueues@0.nr_running", "--run", run.name, env=run.env
        )
        validator(checkout, "kernel-op")(result)
        assert call_json("thaw", run.name, env=run.env)["changed"]
        exit_code, summary, told = run.end()
    assert exit_code == 0, told
    validator(checkout, "summary")(summary)
    assert summary["ejections"] == 0
    data_dir = Path(summary["data_dir"])

    capture = json.loads(next(data_dir.glob("captures/*half-way.json")).read_text("utf-8"))
    validator(checkout, "capture-single")(capture)
    assert capture["scheduler"]["name"] == "first"
    counters = capture_globals(capture)
    assert counters["nr_enqueued"] >= counters["nr_dispatched"] > 0
    assert 0 < counters["nr_first"] <= counters["nr_enqueued"]

    validator(checkout, "captures-index")(json.loads((data_dir / "captures.json").read_text("utf-8")))
    printed = call("events", str(data_dir / "recording.ktstr"), "--json", env=run.env).stdout
    events = check_events(checkout, printed.splitlines())
    assert {"sample", "scheduler", "frozen", "thawed", "capture", "concluded", "run-ended"} <= {
        event["type"] for event in events
    }

    script = checkout / "examples/events/wait_times.py"
    table = subprocess.run(
        [sys.executable, script], input=printed, capture_output=True, text=True, check=True
    )
    names = [line.split()[0] for line in table.stdout.splitlines()[1:]]
    assert names[-2:] == ["baseline", "first"]


def capture_globals(capture: dict[str, Any]) -> dict[str, int]:
    """The plain globals of the scheduler, from the map that holds them."""
    (bss,) = (it for it in capture["maps"] if it["name"].endswith(".bss"))
    values = bss["entries"][0]["value"]
    found: dict[str, int] = values.get(".bss", values)
    return found
