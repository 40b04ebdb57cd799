"""The scheduler that ``new`` writes: it is built and runs at once, and is healthy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.guest.runs import TIMEOUT_S, call, call_json, headless_run, private_environment


def make(checkout: Path, directory: Path, *targets: str) -> None:
    """Run its Makefile with this checkout's program."""
    variables = [f"KTSTR_PYTHON={sys.executable}"]
    env = {**private_environment(directory.parent), "PYTHONPATH": str(checkout)}
    subprocess.run(["make", "-C", directory, *variables, *targets], env=env, check=True, timeout=TIMEOUT_S)


def test_a_new_scheduler_is_built_attaches_and_is_healthy(checkout: Path, tmp_path: Path) -> None:
    env = private_environment(tmp_path)
    assert call("new", str(tmp_path / "mine"), env=env).returncode == 0
    make(checkout, tmp_path / "mine")
    with headless_run(tmp_path, "--scenario", str(tmp_path / "mine/mine.toml"), "--cpus", "2") as run:
        changes = run.events("scheduler")
        assert next(changes)["change"] == "attached"
        verdicts = (event["verdict"] for event in run.events("health"))
        assert "ok" in verdicts
        status = call_json("status", run.name, env=run.env)
        assert (status["scheduler"]["name"], status["topology"]) == ("mine", "1n1l2c1t")
        assert call("end", run.name, env=run.env).returncode == 0
        exit_code, summary, told = run.end()
    assert (exit_code, summary["ejections"]) == (0, 0), told


def test_its_makefile_writes_the_kernels_types(checkout: Path, tmp_path: Path) -> None:
    assert call("new", str(tmp_path / "mine"), env=private_environment(tmp_path)).returncode == 0
    make(checkout, tmp_path / "mine", "vmlinux.h")
    header = (tmp_path / "mine/vmlinux.h").read_text("utf-8")
    assert "struct sched_ext_ops {" in header
