"""Snapshots of a real guest: what they hold is what the guest held, and guests that start from them run on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from ktstr_tui.cli.snapshot_open import still_of
from ktstr_tui.memory.find import find_snapshot
from tests.guest.runs import HeadlessRun, call, call_json, headless_run
from tests.guest.unwinding import require_gdb_unwinds_as_we_do

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

[[steps.ops]]
op = "capture"
at_ms = 300
tag = "second"
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
    with headless_run(tmp_path, "--no-seed", "--scenario", str(scenario), "--memory-on-ejection") as run:
        events = stored(run)
        kept = next(events)
        assert (kept["name"], kept["problem"]) == ("kept", "")
        second = next(events)
        assert second["name"] == "second"
        assert 0 < second["new_pages"] < SHARE * kept["pages"]
        code, _, _ = run.end()
        assert code == 1
        found: Any = call_json("snapshot", "list", env=run.env)
        assert [it["info"]["reason"] for it in found] == ["guest", "guest", "error"]
        verdicts: Any = call_json("snapshot", "verify", env=run.env)
        assert [it["damage"] for it in verdicts] == [[], [], []]
        diff = call_json("snapshot", "diff", "kept", "second", env=run.env)
        assert 0 < diff["changed_pages"] < diff["pages"]
    go_on_from_an_ejection(tmp_path, found[2]["name"])
    with ExitStack() as stack:
        runs = [
            stack.enter_context(restored(tmp_path, name, how, "--set", "panic_timeout=77"))
            for name, how in (("r1", "--lazy"), ("r2", "--eager"))
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
            assert ("all memory is loaded" in told) == (again.name == "r1")


def go_on_from_an_ejection(tmp_path: Path, name: str) -> None:
    """A guest that was kept at the write that ejects is one that stands at a watchpoint; it goes on to be ejected."""
    with headless_run(tmp_path, name, name="after", command="restore") as run:
        code, summary, _ = run.end()
    assert code == 1, summary
    assert [it["exit_kind_name"] for it in summary["captures"]] == ["ERROR_STALL"]


def look_at_one_from_afar(tmp_path: Path, name: str) -> None:
    """Restore a snapshot that lies where its run is: QEMU starts from it, and only a part of its memory comes."""
    with headless_run(tmp_path, name, "--frozen", name="from-afar", command="restore") as run:
        next(it for it in run.events("guest-restored") if it["phase"] == "frozen")
        assert call("end", "from-afar", env=run.env).returncode == 0
        run.end()
        [data_dir] = (tmp_path / "state/ktstr-tui/runs").glob("from-afar-*")
        told = call("events", str(data_dir / "recording.ktstr"), env=run.env).stdout
        came = re.search(r"(\d+) pages came from where the snapshot lies .*; its memory has (\d+)", told)
        assert came is not None, told
        assert 0 < int(came[1]) < int(came[2]) / 2
        assert "all memory is loaded" not in told


def look_at_it_on_the_screen(name: str, runs: Path, live: Mapping[str, Any]) -> None:
    """The screen has of a snapshot what it has of a frozen guest: all tasks, queues, and who had the CPUs before."""
    state = still_of(find_snapshot(name, runs)).state
    assert state.task_list is not None
    assert {str(it.pid): it.comm for it in state.task_list.tasks.values()} == live["tasks"]
    assert sum(block.events for block in state.trace) > 100


GDB = (
    "info threads",
    "output *(unsigned*)&panic_timeout",
    "thread 2",
    "output/x $cr3",
    "set var *(int*)&panic_timeout = 7",
    "set var $rax = 1",
    "stepi",
    "continue",
    "output *(unsigned*)&panic_timeout",
)


def look_at_it_in_gdb(env: Mapping[str, str]) -> None:
    """A stock gdb reads a snapshot, as drgn does, and changes nothing."""
    asked = 'print(prog.read_u32(prog.symbol("panic_timeout").address))'
    value = call("drgn", "kept", "-c", asked, env=env).stdout.strip()
    assert value
    commands = [word for command in GDB for word in ("-ex", command, "-ex", "echo \\n")]
    done = call("gdb", "kept", "--", "-batch", *commands, env=env)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert sum("Thread " in line and "(CPU " in line for line in lines) == 2
    assert lines.count(value) == 2
    assert any(re.fullmatch(r"0x[0-9a-f]{4,}", line) for line in lines)
    assert done.stderr.count("this is a snapshot: nothing runs in it") == 2


def tell_of_a_killed_pager(tmp_path: Path, name: str) -> None:
    """Kill the pager under a guest that runs: the run says what that means, and leaves nothing behind.

    What comes from another machine is loaded when it is touched, so it is needed for as long as the guest runs.
    """
    with headless_run(tmp_path, name, name="killed", command="restore") as run:
        next(it for it in run.events("guest-restored") if it["phase"] == "running")
        os.kill(pager_of(run), signal.SIGKILL)
        code, _, _ = run.end()
        assert code == 3
        [data_dir] = (tmp_path / "state/ktstr-tui/runs").glob("killed-*")
        told = call("events", str(data_dir / "recording.ktstr"), env=run.env).stdout
        assert "ended with exit code 3: the guest is dead: the pager ended with signal 9" in told


def pager_of(run: HeadlessRun) -> int:
    """The process id of the pager of a run."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            words = (entry / "stat").read_text().rpartition(")")
            if words[0].endswith("(ktstr-pager") and int(words[2].split()[1]) == run.process.pid:
                return int(entry.name)
    raise AssertionError("there is no pager")


ASK = """
import json
from tests.guest.questions import answers
print(json.dumps(answers(prog)))
"""
STOCK = """
import sys, drgn
from ktstr_tui.kernel.finders import load_own_types
prog = drgn.Program()
prog.set_core_dump(sys.argv[1])
assert prog.flags & drgn.ProgramFlags.IS_LINUX_KERNEL
load_own_types(prog)
"""


@pytest.mark.guest
def test_questions_have_one_answer_wherever_the_memory_is(tmp_path: Path) -> None:
    script = tmp_path / "ask.py"
    script.write_text(ASK)
    with headless_run(tmp_path, "--no-seed", "--scenario", "steady", "--scheduler", "demo:fifo") as run:
        env = run.env

        def asked(name: str) -> dict[str, Any]:
            done = call("drgn", name, "--script", str(script), env=env)
            assert done.returncode == 0, done.stderr
            answers: dict[str, Any] = json.loads(done.stdout)
            return answers

        run.wait_for("step")
        assert call("freeze", "test", env=env).returncode == 0
        for tag in ("kept", "again"):
            # QEMU saves its state once a stop; the second snapshot has the same one.
            assert call_json("capture", "test", "--memory", "--tag", tag, env=env)["snapshot"]["name"] == tag
        live = asked("test")
        with restored(tmp_path, "frozen", "--frozen") as frozen:
            phases = frozen.events("guest-restored")
            assert next(it for it in phases if it["phase"] == "frozen")
            # Until then nobody from outside may read it.
            assert next(it for it in phases if it["phase"] == "resident")
            from_restored = asked("frozen")
            shown = call("status", "frozen", env=env).stdout
            assert re.findall(r"^CPU (\d) .*curr=(\S+)\[", shown, re.MULTILINE) == [
                (str(cpu), comm) for cpu, comm in enumerate(from_restored["current"])
            ]
            assert call("end", "frozen", env=env).returncode == 0
        there = run.socket_dir
        listed: Any = call_json("snapshot", "list", str(there), env=env)
        assert [it["name"] for it in listed] == ["kept", "again"]
        assert asked(f"{there}/again") == live
        here = call_json("snapshot", "show", f"{there}/again", env=env)
        assert 0 < here["pages_here"] < here["pages"] / 2
        look_at_one_from_afar(tmp_path, f"{there}/again")
        tell_of_a_killed_pager(tmp_path, f"{there}/again")
        assert call("end", "test", env=env).returncode == 0
    assert len(live) > 50
    assert live["scheduler"] == "fifo"
    assert live["runnable"]
    assert asked("kept") == live
    assert asked("again") == live
    assert from_restored == live
    look_at_it_in_gdb(env)
    look_at_it_on_the_screen("kept", tmp_path / "state/ktstr-tui/runs", live)
    require_gdb_unwinds_as_we_do("kept", tmp_path / "state/ktstr-tui/runs")
    core = tmp_path / "core"
    assert call("snapshot", "export", "kept", str(core), env=env).returncode == 0
    stock = subprocess.run(
        [sys.executable, "-c", STOCK + ASK, str(core)], env=env, capture_output=True, text=True, check=False
    )
    assert stock.returncode == 0, stock.stderr
    assert json.loads(stock.stdout) == live
