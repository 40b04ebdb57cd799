"""Edit to running: a save becomes the scheduler of the live guest, and what is broken never takes the guest down."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.guest.runs import HeadlessRun, call, call_json, headless_run, private_environment

DSQ = "record_queued(p);"
SYNTAX = "record_queued(p)"
"""Without its semicolon."""
UNSAFE = """record_queued(p);
	u32 key = enq_flags;
	u64 *slot = bpf_map_lookup_elem(&counters, &key);

	*slot = 1;"""
"""Not checked for NULL, which the verifier refuses."""


def begin(tmp_path: Path) -> Path:
    """A new scheduler, in a directory of its own."""
    env = private_environment(tmp_path)
    assert call("new", str(tmp_path / "mine"), env=env).returncode == 0
    makefile = tmp_path / "mine/Makefile"
    makefile.write_text(makefile.read_text().replace("clang-14))", "clang-14))\nexport PYTHONPATH"))
    return tmp_path / "mine"


def save(directory: Path, old: str, new: str) -> None:
    """Save the source as an editor does: another file takes its place."""
    source = directory / "mine.bpf.c"
    text = source.read_text()
    assert old in text
    (directory / ".swp").write_text(text.replace(old, new))
    os.replace(directory / ".swp", source)


def edited_run(tmp_path: Path, checkout: Path, directory: Path, *words: str) -> Any:  # noqa: ANN401
    os.environ["PYTHONPATH"] = str(checkout)
    return headless_run(
        tmp_path,
        *("--scenario", str(directory / "mine.toml"), "--scheduler", str(directory / "mine.bpf.o")),
        *("--build", f"make -s -C {directory} KTSTR_PYTHON={sys.executable}", "--cpus", "2"),
        *words,
    )


def until(events: Iterator[dict[str, Any]], kind: str, **fields: object) -> dict[str, Any]:
    """The next event of a type with these fields."""
    for event in events:
        if event["type"] == kind and all(event[name] == value for name, value in fields.items()):
            return event
    raise AssertionError(f"the run ended without {kind} {fields}")


def dispatched(run: HeadlessRun) -> int:
    """What the loaded scheduler has dispatched so far, by its own counter."""
    result = call_json("capture", run.name, env=run.env)
    (bss,) = (it for it in result["report"]["maps"] if it["name"].endswith(".bss"))
    values = bss["entries"][0]["value"]
    count: int = values.get(".bss", values)["nr_dispatched"]
    return count


def test_a_save_is_the_scheduler_of_the_live_guest(checkout: Path, tmp_path: Path) -> None:
    directory = begin(tmp_path)
    with edited_run(tmp_path, checkout, directory) as run:
        events = run.events()
        until(events, "scheduler", change="attached", name="mine")
        boots = 1
        saved_ns = time.monotonic_ns()
        save(directory, '.name = "mine"', '.name = "mine_2"')
        loaded = until(events, "build-loaded")
        assert (loaded["result"], loaded["build"]) == ("attached", 1)
        sample = next(
            event
            for event in events
            if event["type"] == "sample" and event["sample"]["scheduler"]["name"] == "mine_2"
        )
        assert dispatched(run) > 0
        since_s = (loaded["mono_ns"] - saved_ns) / 1e9
        seen_s = (sample["mono_ns"] - saved_ns) / 1e9
        print(
            f"\nfrom save to loaded {since_s:.2f} s, of it {loaded['build_ms'] / 1e3:.2f} s of the compiler; "
            f"seen in a sample after {seen_s:.2f} s"
        )
        status = call_json("status", run.name, env=run.env)
        assert (status["scheduler"]["name"], status["scheduler"]["state"]) == ("mine_2", "enabled")
        assert call("end", run.name, env=run.env).returncode == 0
        exit_code, summary, told = run.end()
    assert exit_code == 0, told
    assert summary["ejections"] == 0
    edit = summary["edit"]
    assert (edit["boots"], edit["builds_failed"], edit["refused"]) == (boots, 0, 0)
    (change,) = edit["changes"]
    assert (change["before"]["scheduler"], change["after"]["scheduler"]) == ("mine", "mine_2")
    assert change["before"]["switches_per_s"] > 0
    assert change["after"]["wait_p50_ms"] is not None
    assert (Path(summary["data_dir"]) / "builds/build-001.log").is_file()


def test_broken_saves_never_take_the_guest_down(checkout: Path, tmp_path: Path) -> None:
    directory = begin(tmp_path)
    good = (directory / "mine.bpf.c").read_text()
    with edited_run(tmp_path, checkout, directory) as run:
        events = run.events()
        until(events, "scheduler", change="attached", name="mine")
        for number in range(3):
            save(directory, DSQ, SYNTAX)
            failed = until(events, "build", phase="failed")
            assert "error: " in failed["headline"]
            assert until(events, "alert")["key"] == "edit"
            (directory / "mine.bpf.c").write_text(good)
            until(events, "build-loaded", result="attached")
            save(directory, DSQ, UNSAFE)
            refused = until(events, "scheduler-swapped")["outcome"]
            assert (refused["result"], refused["by"], refused["loaded"]) == ("rejected", "verifier", "mine")
            assert "invalid mem access" in refused["reason"], number
            (directory / "mine.bpf.c").write_text(good)
            until(events, "build-loaded", result="attached")
        assert dispatched(run) > 0
        status = call_json("status", run.name, env=run.env)
        assert status["scheduler"]["name"] == "mine"
        assert not [it for it in status["alerts"] if it["kind"] == "edit"]
        assert call("end", run.name, env=run.env).returncode == 0
        exit_code, summary, told = run.end()
    assert exit_code == 0, told
    assert summary["ejections"] == 0
    assert (summary["edit"]["builds_failed"], summary["edit"]["refused"]) == (3, 3)
    assert "build 1 failed: " in told


def test_a_restart_keeps_the_run_with_its_watches_and_captures(checkout: Path, tmp_path: Path) -> None:
    """With a seed, where a second boot has the clock of the run and files of its own."""
    directory = begin(tmp_path)
    with edited_run(tmp_path, checkout, directory, "--seed", "7") as run:
        events = run.events()
        until(events, "scheduler", change="attached", name="mine")
        first = call_json("capture", run.name, "--tag", "before", env=run.env)
        assert call("watch", "add", "jiffies", run.name, "--budget", "1", env=run.env).returncode == 0
        assert call("restart", run.name, env=run.env).returncode == 0
        until(events, "restarted", boot=2)
        until(events, "guest-ready")
        until(events, "watchpoint", expression="jiffies")
        until(events, "scheduler", change="attached", name="mine")
        second = call_json("capture", run.name, "--tag", "before", env=run.env)
        assert (first["tag"], second["tag"]) == ("before", "before-2")
        assert Path(first["path"]).is_file()
        assert Path(second["path"]).is_file()
        status = call_json("status", run.name, env=run.env)
        assert {it["tag"] for it in status["captures"]} >= {"before", "before-2"}
        assert call("end", run.name, env=run.env).returncode == 0
        exit_code, summary, told = run.end()
    assert exit_code == 0, told
    assert summary["edit"]["boots"] == 2
    data_dir = Path(summary["data_dir"])
    printed = call("events", str(data_dir / "recording.ktstr"), "--json", env=run.env).stdout
    assert printed.count('"type":"guest-ready"') + printed.count('"type": "guest-ready"') == 2
    assert {it.name for it in data_dir.glob("console*.log")} == {"console.log", "console-2.log"}
    assert {it.name for it in data_dir.glob("given*.jsonl")} == {"given.jsonl", "given-2.jsonl"}
