"""A disk that is full while a run is in progress: nothing is done that cannot be recorded, and it is said."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.guest.runs import HeadlessRun, call, call_json, headless_run

pytestmark = pytest.mark.guest


@contextmanager
def full_disk(run: HeadlessRun) -> Iterator[None]:
    """Let the run's process, and no other, fail to write into files, as on a full disk."""
    soft, hard = resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE, (soft, hard))


def test_writes_and_captures_on_a_full_disk_are_refused_or_said(tmp_path: Path) -> None:
    with headless_run(
        tmp_path, "--no-seed", "--scheduler", "none", "--allow-writes", "--scenario", "steady"
    ) as run:
        run.wait_for("step")
        before = call_json("op", "read", "panic_timeout", env=run.env)["entries"][0]["before"]
        with full_disk(run):
            written = call("op", "write", "panic_timeout=77", env=run.env)
            assert (written.returncode, written.stdout) == (3, "")
            assert "nothing was changed" in written.stderr
            read = call_json("op", "read", "panic_timeout", env=run.env)
            assert read["entries"][0]["before"] == before
            captured = call("capture", env=run.env)
            assert captured.returncode == 3
            assert "was taken but not saved" in captured.stderr
            assert "File too large" in captured.stderr
            assert "Traceback" not in captured.stderr
            as_json = call("capture", "--json", env=run.env)
            assert as_json.returncode == 3
            printed = json.loads(as_json.stdout)
            assert (printed["path"], printed["report"]["tag"]) == (None, printed["tag"])
        assert call("op", "write", "panic_timeout=78", env=run.env).returncode == 0
        saved = call_json("capture", env=run.env)
        assert Path(saved["path"]).is_file()
        call("end", run.name, env=run.env)
        _, summary, _ = run.end()
        lines = (Path(summary["data_dir"]) / "kernel-ops.jsonl").read_text().splitlines()
        assert [json.loads(line)["what"] for line in lines] == ["intent", "result"]
        # The audit of commands had no room either: the run went on, and what waited was written when there was some.
        data_dir = str(summary["data_dir"])
        assert call("audit", "verify", data_dir, env=run.env).returncode == 0
        entries = call_json("audit", "show", data_dir, env=run.env)["entries"]
        ops, captures = ["kernel-op"] * 3, ["capture"] * 2
        assert [it["request"] for it in entries] == [*ops, *captures, "kernel-op", "capture", "end"]
