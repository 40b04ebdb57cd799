"""A run with a seed is the same run again, also when somebody freezes it, captures it and watches it meanwhile."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ktstr_tui.backend.checkpoints import CHECKPOINTS_FILE
from ktstr_tui.backend.instants import difference, of_the_guest
from ktstr_tui.backend.measured import measure
from ktstr_tui.backend.seeded import GIVEN_FILE
from ktstr_tui.link.recfile import read_recording
from ktstr_tui.model.stored import IDENTITY_FILE
from tests.guest.runs import HeadlessRun, busy_host, call, call_json, headless_run, private_environment
from tests.guest.test_debuggers import Told, debugger, script
from tests.guest.waiting import BOOT_DEADLINE_S

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
CALLS = ("--watch", "call:scx_bpf_dsq_insert___v2", "--watch", "call:scx_bpf_dsq_inser")
QUEUE, SLICE_NS = "0x7", 5_000_000
"""What demo:stall inserts into, and for how long."""
TOUCHES = 10
OF_THE_HOST = {
    *("wall_time", "mono_ns", "elapsed_ms", "pause", "sha256", "early_max_age_ms", "host"),
    # Read after the guest went on, and so whenever the host came to it.
    *("dmesg_tail", "read_late"),
}


class Runs(NamedTuple):
    """An untouched run, and the same again, held before the ejection and touched."""

    first: dict[str, Any]
    second: dict[str, Any]
    said: list[dict[str, Any]]
    """What the second said of its comparison."""
    watched: list[dict[str, Any]]
    """Events of the second."""
    held_before_s: float
    """Guest time from where the second was held to the ejection of the first."""
    gdb: str
    """What gdb printed beside the second."""


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
    # When the host packed the events; those themselves are the same.
    report["history"]["block"].pop("mono_ns")
    return report


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory,
) -> Runs:
    path = tmp_path_factory.mktemp("seed")
    scenario = path / "stalled.toml"
    scenario.write_text(SCENARIO)
    words = (*WORDS, "--scenario", str(scenario))
    with headless_run(path, *words, "--no-early-capture", name="first") as run:
        _, first, _ = run.end()
    closer = (str(data_dir(first)), "--before-ejection", "500ms", "--watch", "jiffies", *CALLS)
    with headless_run(path, *closer, "--memory-on-ejection", name="second", command="rerun") as run:
        held = next(it for it in run.events("frozen") if "was to be held" in it["reason"])
        for _ in range(TOUCHES):
            assert call("capture", "--memory", "second", env=run.env).returncode == 0
        printed = debug(run, path)
        _, second, _ = run.end()
    watched = events_of(second, run.env)
    said = [it for it in watched if is_comparison(it)]
    ejected = next(it for it in events_of(first, run.env) if it.get("change") == "ejected")
    return Runs(first, second, said, watched, (ejected["mono_ns"] - held["mono_ns"]) / 1e9, printed)


def debug(run: HeadlessRun, directory: Path) -> str:
    """Thaw a run under gdb, which is killed when it has stopped before the ejection."""
    told = Told(run)
    look = script(
        directory / "look.gdb",
        "watch *(unsigned long *)&jiffies", "break tick_do_update_jiffies64",
        "continue", "delete 2", "continue", "info threads", "delete",
        "break scx_vexit", "continue", "stepi", "stepi", "x/i $pc",
        "echo BACK\\n", "reverse-continue", "delete", "watch *(unsigned long *)&stalled_at_ns", "reverse-continue",
        "info threads", "delete", "x/i $pc", "reverse-stepi", "x/i $pc", "stepi", "x/i $pc",
        "break scx_vexit", "continue", "delete", "break scx_bypass", "continue", "shell kill -KILL $PPID",
    )  # fmt: skip
    with debugger(run, "--", "-nx", "-batch", "-x", look) as gdb:
        told.step("attached")
        call("thaw", run.name, env=run.env)
        printed, _ = gdb.communicate(timeout=BOOT_DEADLINE_S)
    told.step("left")
    return printed


def events_of(summary: dict[str, Any], env: Mapping[str, str]) -> list[dict[str, Any]]:
    recording = next(data_dir(summary).glob("*.ktstr"))
    return [
        json.loads(line) for line in call("events", str(recording), "--json", env=env).stdout.splitlines()
    ]


def is_comparison(event: dict[str, Any]) -> bool:
    return event["type"] == "compared" or (event["type"], event.get("source")) == ("log", "seed")


def test_the_stream_of_events_is_the_same_one_by_one(both: Runs) -> None:
    path = data_dir(both.first).parents[3]
    with busy_host(), headless_run(path, str(data_dir(both.first)), name="third", command="rerun") as run:
        _, third, _ = run.end()
    one, other = (data_dir(it) for it in (both.first, third))
    streams = [
        [seen for it in read_recording(place / "recording.ktstr") if (seen := of_the_guest(it)) is not None]
        for place in (one, other)
    ]
    assert difference(*streams) is None
    assert len(streams[0]) > 100
    assert {"trace", "task-rates", "tasks"} <= {it["type"] for it in streams[0]}
    assert sum(it["block"]["events"] for it in streams[0] if it["type"] == "trace") > 1000
    figures, same = (measure(read_recording(place / "recording.ktstr")) for place in (one, other))
    assert figures == same
    assert figures.ejections == 1
    assert min(figures.work_per_s.values()) > 0
    compared = call("compare", str(one), str(other), env=run.env)
    assert (compared.returncode, compared.stdout) == (0, f"events    all {len(streams[0])} are the same\n")


def test_it_was_held_half_a_second_before_the_ejection(both: Runs) -> None:
    # Looked for at each station, which is one of some within a tenth of a second of the guest's.
    assert 0.4 <= both.held_before_s <= 0.5


def test_nobody_looked_before_it_was_held_and_then_at_once(both: Runs) -> None:
    kinds = [it["type"] for it in both.watched]
    frozen = kinds.index("frozen")
    assert "sample" not in kinds[:frozen]
    first = kinds.index("sample")
    sample = both.watched[first]
    assert "thawed" not in kinds[frozen:first]
    # What it shows is what the untouched run was at that time: the task that will be thrown out waits already.
    assert sample["sample"]["scheduler"]["oldest_runnable"]["age_ms"] > 1000
    assert kinds.count("sample") > 1


def test_all_that_the_guest_is_and_says_is_the_same(both: Runs) -> None:
    first, second = both.first, both.second
    assert first["end_reason"] == second["end_reason"]
    assert "ERROR_STALL" in first["end_reason"]
    for name in (IDENTITY_FILE, GIVEN_FILE, CHECKPOINTS_FILE, "console.log"):
        one, other = ((data_dir(it) / name).read_bytes() for it in both[:2])
        assert one == other, name
    last = json.loads((data_dir(first) / CHECKPOINTS_FILE).read_bytes().splitlines()[-1])
    assert last["sent_bytes"] > 1000
    assert last["scheduler_sha256"]


def test_the_capture_of_the_ejection_is_the_same(both: Runs) -> None:
    assert error_report(both[0]) == error_report(both[1])


def test_the_touched_run_was_touched_and_says_that_it_is_identical(both: Runs) -> None:
    second, said = both.second, both.said
    assert len([it for it in second["captures"] if it["trigger"] == "on-demand"]) == TOUCHES
    speed, compared = said
    assert re.fullmatch(r"[0-9.]+ s of the guest's time took [0-9.]+ s", speed["text"])
    assert compared["run"].startswith("first-")
    assert compared["kept"] == compared["run_kept"] == compared["identical"] > 0
    assert compared["left"] == ""
    assert {name: compared[name] for name in second["compared"]} == second["compared"]
    assert both.first["compared"] is None


def test_calls_of_a_kfunc_are_told_with_what_the_scheduler_gave_it(both: Runs) -> None:
    hits = [it for it in both.watched if it["type"] == "watchpoint-hit" and it["arguments"] is not None]
    told = [{one["name"]: one["value"] for one in it["arguments"]} for it in hits]
    assert len(told) > 10
    assert {tuple(it) for it in told} == {("p", "dsq_id", "slice", "enq_flags")}
    assert {it["dsq_id"] for it in told} <= {QUEUE, "SCX_DSQ_LOCAL"}
    assert QUEUE in {it["dsq_id"] for it in told}
    assert {it["slice"] for it in told} == {f"{SLICE_NS} ({SLICE_NS:#x})"}
    assert any(it["p"].startswith("spin-") for it in told)
    # Called by the BPF program, from the kernel's own call of the scheduler.
    stacks = [[frame["symbol"] or "" for frame in it["stack"]["frames"]] for it in hits]
    assert all(it[0].startswith("scx_bpf_dsq_insert___v2") for it in stacks)
    assert any("stall_enqueue" in frame for frame in stacks[-1])


def test_a_function_that_is_not_there_is_answered_with_those_like_it(both: Runs) -> None:
    (refused,) = [it["text"] for it in both.watched if it.get("source") == "rerun"]
    assert "Did you mean scx_bpf_dsq_insert" in refused


def test_gdb_breaks_watches_and_steps_and_changes_nothing(both: Runs) -> None:
    """It sees none of the stops for the run's own watches, and is killed in the last of its own."""
    said = both.gdb.partition("BACK")[0]
    assert re.search(r"Thread \d hit Breakpoint 2, 0x\w+ in tick_do_update_jiffies64 \(\)", said), said
    values = re.search(
        r"hit Hardware watchpoint 1.*\nOld value = (\d+)\nNew value = (\d+)\n", said, re.DOTALL
    )
    assert values is not None, said
    assert int(values[1]) < int(values[2])
    assert re.search(r"Thread 2 \(CPU 1: [^)]+\[\d+\]\)", said)
    there = said.partition("hit Breakpoint 3")[2]
    stops = re.findall(r"(0x\w+) (?:in|<)\W*scx_vexit", there)
    assert len(set(stops)) == 3, said  # where it is called, and before the next two blocks of its code
    assert "SIGTRAP" not in said


def test_gdb_goes_back_and_on_to_the_present_and_changes_nothing(both: Runs) -> None:
    """To the write before, which is not made yet then, a step further, and through the past to what comes later."""
    said = both.gdb.partition("BACK")[2]
    first, _, said = said.partition("Hardware watchpoint 4:")
    assert re.search(r"hit Breakpoint 3, 0x\w+ in scx_vexit", first), first
    values = re.search(
        r"hit Hardware watchpoint 4.*\nOld value = (\d+)\nNew value = (\d+)\n", said, re.DOTALL
    )
    assert values is not None, said
    assert int(values[1]) > int(values[2]) == 0
    assert re.search(
        r"0x\w+ in bpf_prog_\w+_stall_dispatch \(\)", said
    )  # which is where it stops dispatching
    assert re.search(r"Thread 2 \(CPU 1: [^)]+, in the past\)", said)
    # A step back, and one on, is where it was.
    at_write, back, on = re.findall(r"=> (0x\w+)", said)
    assert at_write == on != back
    # Where it had stopped before is met again, on the way to the present; what comes later is the guest's own.
    assert re.search(r"hit Breakpoint 5, 0x\w+ in scx_vexit", said)
    assert re.search(r"back at the present\n.*hit Breakpoint 6, 0x\w+ in scx_bypass", said, re.DOTALL)
    steps = [it["step"] for it in both.watched if it["type"] == "debugger"]
    assert steps == ["waiting", "attached", *["went_back"] * 3, "came_back", "left"]


def test_memory_was_kept_and_is_restored_by_running_again(both: Runs) -> None:
    """The ten snapshots by hand and that of the ejection changed nothing, as the other tests say."""
    path = data_dir(both.first).parents[3]
    env = private_environment(path)
    run = data_dir(both.second).name
    listed: Any = call_json("snapshot", "list", env=env)
    verdicts: Any = call_json("snapshot", "verify", env=env)
    kept = [it for it in listed if it["run"] == run]
    assert [it["info"]["reason"] for it in kept] == ["on-demand"] * TOUCHES + ["error"]
    assert [it["damage"] for it in verdicts] == [[]] * len(kept)
    by_hand, ejected = (f"{run}/{kept[number]['name']}" for number in (0, -1))
    shown = call_json("snapshot", "show", ejected, env=env)
    assert (shown["state_bytes"], shown["pages"] > 10_000) == (0, True)
    asked = call("drgn", ejected, "-c", "print(task_scx_state(next(scx_runnable_tasks(prog))))", env=env)
    assert asked.stdout == "enabled\n", asked
    # On whichever CPU the history of this seed has it.
    assert (
        "in scx_vexit ()"
        in call("gdb", ejected, "--", "-nx", "-batch", "-ex", "info threads", env=env).stdout
    )
    refused = call("restore", by_hand, "--duration", "1", env=env)
    assert (refused.returncode, "restored by running it again" in refused.stderr) == (2, True)
    words = (by_hand, "--set", "panic_timeout=77")
    with headless_run(path, *words, name="restored", command="restore") as again:
        _, restored, _ = again.end()
    assert restored["end_reason"] == both.first["end_reason"]
    # What was written is not among what is compared.
    one, other = ((data_dir(it) / CHECKPOINTS_FILE).read_bytes() for it in (both.first, restored))
    assert one == other
    changed = call_json("rerun", "restored", "--list", env=env)["interventions"]
    assert [(it["words"], it["by"]) for it in changed] == [("write panic_timeout=77", "restore")]
