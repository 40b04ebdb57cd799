"""What a person changes in a run with a seed, the guest frozen, is part of its history: a rerun does the same."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ktstr_tui.backend.checkpoints import CHECKPOINTS_FILE
from ktstr_tui.backend.interventions import INTERVENTIONS_FILE
from ktstr_tui.backend.seeded import GIVEN_FILE
from ktstr_tui.guest.initramfs import guest_directory
from tests.guest.runs import PROGRAM, call, call_json, headless_run
from tests.guest.test_debuggers import debugger, script
from tests.guest.waiting import BOOT_DEADLINE_S

pytestmark = pytest.mark.guest
BETWEEN, LONGEST_BLOCK = 1_000_000, 10_000
"""Instructions from a station of a busy guest to where none is, and more than QEMU translates at a time."""

SCENARIO = """
name = "touched"
[[steps]]
name = "long"
duration_ms = 60000
until = "ejected"
scheduler = "demo:fifo"
[[steps.workers]]
kind = "spin"
[[steps.workers]]
kind = "spin"
"""


class Touched(NamedTuple):
    """A run that was changed."""

    path: Path
    summary: dict[str, Any]
    env: Mapping[str, str]


@pytest.fixture(scope="module")
def touched(tmp_path_factory: pytest.TempPathFactory) -> Touched:
    """A run that was frozen, written to twice and once by gdb, and then given a scheduler that stalls."""
    path, stall = tmp_path_factory.mktemp("touched"), guest_directory() / "stall.bpf.o"
    scenario = path / "touched.toml"
    scenario.write_text(SCENARIO)
    words = ("--seed", "7", "--scenario", str(scenario), "--allow-writes", "--no-early-capture")
    with headless_run(path, *words, name="touched") as run:
        run.wait_for("step")
        assert call("freeze", run.name, env=run.env).returncode == 0
        for write in ("panic_timeout=77", "panic_timeout|=0x100"):
            assert call("op", "write", write, "--run", run.name, env=run.env).returncode == 0
        write = script(path / "write.gdb", "set var *(int *)&panic_timeout = 78", "set var $rax = 1")
        with debugger(run, "--", "-nx", "-batch", "-x", write) as gdb:
            said, _ = gdb.communicate(timeout=BOOT_DEADLINE_S)
        assert "registers cannot be changed in a run with a seed" in said, said
        # It waits for the guest, which is frozen.
        change = [*PROGRAM, "scheduler", "replace", str(stall), run.name]
        with subprocess.Popen(change, env=run.env, stdout=subprocess.PIPE, text=True) as replacing:
            assert call("thaw", run.name, env=run.env).returncode == 0
            told, _ = replacing.communicate()
            assert (replacing.returncode, "attached as stall" in told) == (0, True)
        _, first, _ = run.end()
    assert "ERROR_STALL" in first["end_reason"]
    return Touched(path, first, run.env)


def data_dir(summary: dict[str, Any]) -> Path:
    return Path(summary["data_dir"])


def events_of(summary: dict[str, Any], env: Mapping[str, str]) -> list[dict[str, Any]]:
    recording = data_dir(summary) / "recording.ktstr"
    return [
        json.loads(line) for line in call("events", str(recording), "--json", env=env).stdout.splitlines()
    ]


def interventions_of(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / INTERVENTIONS_FILE).read_bytes().splitlines()]


def test_a_rerun_writes_and_replaces_at_the_same_instructions(touched: Touched) -> None:
    listed = call_json("rerun", "touched", "--list", env=touched.env)["interventions"]
    assert [it["words"] for it in listed] == [
        "write panic_timeout=77",
        "write panic_timeout=|0x100",
        listed[2]["words"],
        "replace scheduler by stall.bpf.o",
    ]
    assert re.fullmatch(r"write 0xffffffff\w{8}=hex:4e000000", listed[2]["words"])
    # When it was frozen, as --to takes it, and not what the clock showed by then.
    frozen = next(it for it in events_of(touched.summary, touched.env) if it["type"] == "frozen")
    lines = call("rerun", "touched", "--list", env=touched.env).stdout.splitlines()
    assert [line.split()[1] for line in lines[:3]] == [f"{frozen['mono_ns'] / 1e9 - 1:.3f}"] * 3
    with headless_run(touched.path, "touched", name="again", command="rerun") as again:
        _, second, _ = again.end()
    first = touched.summary
    assert second["end_reason"] == first["end_reason"]
    one, other = (data_dir(it) for it in (first, second))
    for name in (GIVEN_FILE, CHECKPOINTS_FILE, "console.log"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    instants = [[it["instructions"] for it in interventions_of(place)] for place in (one, other)]
    assert instants[0] == instants[1]
    refused = call("rerun", "touched", "--without", "5", env=touched.env)
    assert refused.returncode == 2
    assert "no intervention 5: the run has 4 interventions" in refused.stderr


def test_one_that_is_left_out_makes_another_history_and_one_between_two_stations_is_done_there(
    touched: Touched,
) -> None:
    """The second write is moved to where no station is; without the fourth the scheduler is not replaced."""
    one = data_dir(touched.summary)
    moved = one.with_name("moved")
    shutil.copytree(one, moved)
    kept = interventions_of(one)
    between = kept[1]["instructions"] + BETWEEN
    kept[1] |= {"instructions": between, "at_station": False}
    (moved / INTERVENTIONS_FILE).write_text("".join(f"{json.dumps(it)}\n" for it in kept))
    ejected = next(it for it in events_of(touched.summary, touched.env) if it.get("change") == "ejected")

    words = (str(moved), "--without", "4")
    with headless_run(touched.path, *words, name="without", command="rerun") as run:
        # As far as the other came, and it was frozen, which takes time of its clock.
        next(it for it in run.events("sample") if it["mono_ns"] > ejected["mono_ns"])
        assert call("end", run.name, env=run.env).returncode == 0
        _, without, _ = run.end()
    assert (without["exit_code"], without["ejections"]) == (0, 0)
    done = interventions_of(data_dir(without))
    assert [it["instructions"] for it in done[:2]] == [kept[0]["instructions"]] * 2
    # Where the next block of code begins, and not at the next station.
    assert between <= done[2]["instructions"] < between + LONGEST_BLOCK
    assert len(done) == 3
    events = events_of(without, run.env)
    written = [it["entries"][0] for it in events if it["type"] == "kernel-op"]
    assert [(it["before"], it["after"]) for it in written] == [(0xFFFFFFFF, 77), (77, 78), (78, 78 | 0x100)]
    (said,) = [it for it in events if it["type"] == "compared"]
    assert said["run"] == "moved"
    assert said["left"]
    assert 0 < said["identical"] < said["kept"]
    assert without["ended_early"]
