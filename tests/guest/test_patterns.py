"""The schedulers of examples/schedulers in one real guest, one step each: all work, none is said to be unwell."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from ktstr_tui.link.recording import read_recording
from ktstr_tui.model.events import AlertRaised, Event, HealthChanged, SchedulerChanged
from tests.guest.runs import TIMEOUT_S, call_json, private_environment

HOST = "the host is busy, not the guest's scheduler"
"""What is said of a busy host, and not of a scheduler."""
STEPS = ("queues", "central", "vtime", "arena", "llc", "user", "restart")


def build(checkout: Path, directory: Path) -> Path:
    """Build the examples as their Makefile does; the scenario lies beside them."""
    examples = checkout / "examples/schedulers"
    subprocess.run(["make", "-s", "-C", examples, f"OUT={directory}"], check=True, timeout=TIMEOUT_S)
    path = directory / "schedulers.toml"
    path.write_text((examples / "schedulers.toml").read_text("utf-8"), "utf-8")
    return path


def test_schedulers_of_seven_patterns_run_and_nothing_is_said_against_them(
    checkout: Path, tmp_path: Path
) -> None:
    scenario = build(checkout, tmp_path)
    arguments = ("--scenario", str(scenario), "--topology", "1n2l1c1t")
    summary = call_json("run", "--headless", "--no-seed", *arguments, env=private_environment(tmp_path))
    data_dir = Path(summary["data_dir"])
    log = (data_dir / "scheduler.log").read_text("utf-8")
    assert summary["exit_code"] == 0, f"{summary['end_reason']}\n{log}"
    events = list(read_recording(data_dir / "recording.ktstr"))
    check_nothing_is_wrong(events)
    attached = [it.name for it in events if isinstance(it, SchedulerChanged) and it.change == "attached"]
    assert attached[: len(STEPS)] == list(STEPS)
    check_restarts(summary, attached, log)
    captures = {}
    for path in data_dir.glob("captures/*.json"):
        capture = json.loads(path.read_text("utf-8"))
        captures[capture.get("tag")] = capture
    check_queues(captures)
    check_central(captures["central"])
    assert held(captures["vtime"], "vtime.bss")["nr_dispatched"] > 0
    assert "0x30" in dsqs(captures["vtime"])
    check_arena(captures["arena"])
    check_llc(captures["llc"])
    check_user(captures["user"], log)


SWEEP = """
[[steps]]
name = "restart for {ms} ms"
duration_ms = {ms}
scheduler = "./restart"
[[steps]]
name = "none after {ms} ms"
duration_ms = 50
scheduler = "none"
"""


def test_a_step_may_end_at_any_moment_of_a_restart(checkout: Path, tmp_path: Path) -> None:
    path = build(checkout, tmp_path).with_name("sweep.toml")
    workers = '[[workers]]\nkind = "mixed"\ncount = 3\n'
    # Its first life lasts 700 ms, of which some are over before its step begins.
    path.write_text('name = "sweep"\n' + workers + "".join(SWEEP.format(ms=ms) for ms in range(440, 640, 14)))
    summary = call_json(
        "run", "--headless", "--no-seed", "--scenario", str(path), env=private_environment(tmp_path)
    )
    assert summary["exit_code"] == 0, summary["end_reason"]
    assert summary["ejections"] == summary["restarts"] > 0


def check_nothing_is_wrong(events: list[Event]) -> None:
    """No alert and no verdict against a scheduler; but that the host is busy, and that one asks for a restart."""
    alerts = [
        it
        for it in events
        if isinstance(it, AlertRaised) and it.kind != "host" and not it.text.endswith(HOST)
    ]
    asked = [it for it in alerts if it.kind == "ejected" and it.severity == "warning"]
    assert all(it.text.startswith("restart ejected, to be attached again: UNREG_BPF") for it in asked)
    others = [it.text for it in alerts if it not in asked]
    assert not others, "\n".join(others)
    verdicts = [
        it for it in events if isinstance(it, HealthChanged) and it.verdict not in ("ok", "inconclusive")
    ]
    assert [it.reasons for it in verdicts] == []
    told = [it for it in events if isinstance(it, HealthChanged)]
    assert any(it.verdict == "ok" for it in told)
    assert not any("cannot be detected" in reason for it in told for reason in it.reasons)


def check_restarts(summary: dict[str, Any], attached: list[str | None], log: str) -> None:
    """Each life of the one that restarts itself is counted, and none of them is a failure."""
    lives = attached.count("restart")
    assert lives > 1
    assert summary["restarts"] == lives - 1 == log.count("attached again")
    assert f"life {lives}: " in log


def maps(capture: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The maps of a capture by name."""
    found = {it["name"]: it for it in capture["maps"]}
    assert not [it for it in found.values() if it["error"]]
    return found


def held(capture: dict[str, Any], name: str) -> dict[str, Any]:
    """The variables of a data section, or the only value of an array."""
    value: dict[str, Any] = maps(capture)[name]["entries"][0]["value"]
    return value


def dsqs(capture: dict[str, Any]) -> set[str]:
    """The DSQs of a capture by their ids."""
    return {it["label"] for it in capture["dsqs"]}


def check_queues(captures: dict[str, Any]) -> None:
    """Tasks go through the queues of their weight; queues hold pids."""
    found = maps(captures["queues"])
    kinds = {name: found[name]["map_type"] for name in ("lightest", "light", "normal", "heavy", "classes")}
    assert kinds == {**dict.fromkeys(kinds, "queue"), "classes": "array_of_maps"}
    counters = held(captures["queues"], "queues.bss")
    assert counters["nr_overflowed"] == 0
    in_queues = [found[name]["state"]["nr"] for name in ("lightest", "light", "normal", "heavy")]
    for queued, taken, waiting in zip(counters["nr_queued"], counters["nr_taken"], in_queues, strict=True):
        assert 0 <= queued - taken <= waiting + 4
    assert counters["nr_taken"][0] > 0, "nice 5 is light"
    assert counters["nr_taken"][3] > 0, "nice -5 is heavy"


def check_central(capture: dict[str, Any]) -> None:
    """One CPU decides: it served the others, and tasks were taken off their CPU by the timer."""
    counters = held(capture, "central.bss")
    assert counters["nr_served"] > 0
    assert counters["nr_preempted"] > 0
    assert counters["nr_overflowed"] == 0
    assert maps(capture)["timers"]["entries"][0]["value"]["timer"]["expires_ns"] > 0


def check_arena(capture: dict[str, Any]) -> None:
    """Task storage points into the arena, and what it points to is shown with its type."""
    found = maps(capture)
    assert found["arena"]["state"]["pages_in_use"] == 32
    objects = {it["key"]: it["value"] for it in found["arena"]["entries"]}
    pids = [it["key"] for it in found["context_of"]["entries"]]
    assert pids
    for pid in pids:
        assert objects[f"*context_of[{pid}]"]["pid"] == pid
    assert any(it["runs"] and it["total_run_ns"] for it in objects.values())
    assert {"0x40", "0x41"} <= dsqs(capture)


def check_llc(capture: dict[str, Any]) -> None:
    """The program read the topology that was asked for, and both queues were used."""
    assert held(capture, "llc.rodata")["llc_of"][:2] == [0, 1]
    assert {"0x100", "0x101"} <= dsqs(capture)
    assert all(held(capture, "llc.bss")["nr_enqueued"][:2])


def check_user(capture: dict[str, Any], log: str) -> None:
    """The program decided about every task that it was sent."""
    counters = held(capture, "user.bss")
    assert counters["nr_unsent"] == 0
    assert 0 < counters["nr_taken"] <= counters["nr_sent"]
    assert {"undecided", "decided"} <= maps(capture).keys()
    decided = next(line for line in log.splitlines() if line.startswith("decided "))
    assert int(decided.split()[1]) >= counters["nr_taken"]
