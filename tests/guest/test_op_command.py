"""Kernel operations from the command line of a run."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.guest.runs import call, call_json, headless_run

pytestmark = pytest.mark.guest


# -- the program -----------------------------------------------------------------------------------------


def test_op_reads_and_writes_from_the_command_line(tmp_path: Path) -> None:
    with headless_run(
        tmp_path, "--no-seed", "--scheduler", "demo:fifo", "--allow-writes", "--scenario", "steady"
    ) as run:
        run.wait_for("step")
        written = call_json("op", "write", "panic_timeout=55", "--run", run.name, env=run.env)
        assert written["entries"][0]["after"] == 55
        # Variables that are not per CPU have no type in the BTF of this kernel.
        assert written["entries"][0]["before_text"] == "-1 or 4294967295 (0xffffffff, type not known)"
        cold = call_json("op", "write", "panic_timeout|=0x8", "--cold", "--run", run.name, env=run.env)
        assert cold["pause"]["total_us"] > 0
        read = call_json("op", "read", "panic_timeout", "runqueues@1.cpu", "linux_proc_banner:2", env=run.env)
        assert [entry["before"] for entry in read["entries"]] == [63, 1, int.from_bytes(b"%s", "little")]
        typed = (
            "task:1.comm",
            "no_such_variable",
            "task:1.sched_class",
            "task:1.scx.slice",
            "runqueues@0.scx",
        )
        mixed = call("op", "read", *typed, env=run.env)
        assert mixed.returncode == 2
        assert "'no_such_variable'" in mixed.stderr
        comm, sched_class, slice_ns, scx = (line.split("  ")[2] for line in mixed.stdout.splitlines())
        assert comm.startswith('"')
        assert sched_class.endswith("_sched_class)")
        assert slice_ns.split(" ")[0].isdecimal()
        assert "nr_running=" in scx
        check_enumerators(run.env)
        refused = call("op", "write", "linux_proc_banner:u32=0", env=run.env)
        assert refused.returncode == 2
        assert "read-only data of the kernel" in refused.stderr
        assert run.wait_for("kernel-op")["entries"][0]["before"] == 0xFFFFFFFF
        call("end", run.name, env=run.env)
        _, summary, _ = run.end()
        lines = (Path(summary["data_dir"]) / "kernel-ops.jsonl").read_text().splitlines()
        told = [json.loads(line) for line in lines]
        assert [line["ok"] for line in told if line["what"] != "intent"] == [True, True, False]
        assert [line["number"] for line in told if line["what"] == "intent"] == [1, 2]


def check_enumerators(env: Mapping[str, str]) -> None:
    """They are named as drgn names them, also negative ones and in a struct of their own."""
    members = (("tick_cpu_device", "mode"), ("cpuhp_state", "state"), ("cpuhp_state", "fail"))
    read = call("op", "read", *(f"{name}@1.{member}" for name, member in members), env=env)
    assert read.returncode == 0, read.stderr
    ours = [line.split("  ")[2] for line in read.stdout.splitlines()]
    ask = "; ".join(
        f"it = per_cpu(prog['{name}'], 1).{member}; print(it.format_(type_name=False), int(it))"
        for name, member in members
    )
    asked = call("drgn", "-c", ask, env=env)
    assert asked.returncode == 0, asked.stderr
    theirs = [line.replace("(enum cpuhp_state)", "").split(" ") for line in asked.stdout.splitlines()]
    assert ours == [f"{name} ({number})" for name, number in theirs]
    assert ours[1:] == [f"CPUHP_ONLINE ({theirs[1][1]})", "CPUHP_INVALID (-1)"]
    whole = call("op", "read", "tick_cpu_device@1", env=env).stdout
    assert f"mode={ours[0]}" in whole


def test_op_write_is_refused_where_the_run_does_not_allow_it(tmp_path: Path) -> None:
    with headless_run(tmp_path, "--no-seed", "--scheduler", "none", "--scenario", "steady") as run:
        run.wait_for("step")
        before = call("op", "read", "panic_timeout", env=run.env)
        refused = call("op", "write", "panic_timeout=5", env=run.env)
        assert refused.returncode == 2
        assert "does not allow writes" in refused.stderr
        assert "--allow-writes" in refused.stderr
        assert call("op", "read", "panic_timeout", env=run.env).stdout == before.stdout
        first, second = (call("capture", "--tag", "mine", env=run.env) for _ in range(2))
        assert first.stderr == ""
        assert "the tag mine was used before: this capture is mine-2" in second.stderr
        # Two signals before the first is answered: the second must not cost the summary or the last event.
        run.process.send_signal(signal.SIGINT)
        run.process.send_signal(signal.SIGTERM)
        code, summary, _ = run.end()
        assert (code, summary["end_reason"]) == (0, "ended by SIGINT")
        assert [it["tag"] for it in summary["captures"]] == ["mine", "mine-2"]
        recording = Path(summary["data_dir"]) / "recording.ktstr"
        events = call("events", str(recording), "--json", env=run.env)
        assert events.returncode == 0, events.stderr
        last = json.loads(events.stdout.splitlines()[-1])
        assert (last["type"], last["reason"]) == ("run-ended", "ended by SIGINT")
