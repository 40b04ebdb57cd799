"""A run with a seed is the same run again, also when somebody freezes it, captures it and watches it meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
LOADS = 2
OF_THE_HOST_IN_EVENTS = {
    *("run_id", "run_epoch_id", "name", "data_dir", "started_wall", "last_boot_ms", "state_crc"),
    *("path", "index_path"),
    *("seq", "folded_seq", "boot_ms", "typed_ms", "read_us", "wall_time", "pause"),
    # Of the senders on the host, who are looked at by its clock.
    *("ktstr_beats_unobserved_milliseconds_total", "varta_observer_iteration_budget_exceeded_total"),
}
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
    said = [it["text"] for it in events_of(second, run.env) if is_comparison(it)]
    return first, second, said


def events_of(summary: dict[str, Any], env: Mapping[str, str]) -> list[dict[str, Any]]:
    recording = next(data_dir(summary).glob("*.ktstr"))
    return [
        json.loads(line) for line in call("events", str(recording), "--json", env=env).stdout.splitlines()
    ]


def is_comparison(event: dict[str, Any]) -> bool:
    return (event["type"], event.get("source")) == ("log", "seed")


def of_the_guest(value: Any) -> Any:  # noqa: ANN401
    """An event without what is the host's in it."""
    if isinstance(value, dict):
        return {name: of_the_guest(it) for name, it in value.items() if name not in OF_THE_HOST_IN_EVENTS}
    return [of_the_guest(it) for it in value] if isinstance(value, list) else value


@contextmanager
def busy_host() -> Iterator[None]:
    """Two loops that take all CPU time they get."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(LOADS)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def test_the_stream_of_events_is_the_same_one_by_one(both: Both, tmp_path: Path) -> None:
    with busy_host():
        words = (*WORDS, "--scenario", str(data_dir(both[0]).parents[3] / "stalled.toml"))
        with headless_run(tmp_path, *words, "--no-early-capture", name="third") as run:
            _, third, _ = run.end()
    one, other = (
        [
            of_the_guest(it)
            for it in events_of(summary, run.env)
            if it["type"] != "probe" and not is_comparison(it)
        ]
        for summary in (both[0], third)
    )
    for mine, theirs in zip(one, other, strict=False):
        assert mine == theirs
    assert len(one) == len(other)


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
