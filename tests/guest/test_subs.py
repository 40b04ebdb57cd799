"""Sub-schedulers of a real kernel: ejected while their parent goes on, as a user sees it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from ktstr_tui.guest.btf_scan import has_struct_member
from ktstr_tui.guest.image import KernelImage
from tests.guest.programs import program  # noqa: F401 (a fixture)
from tests.guest.runs import headless_run

pytestmark = pytest.mark.guest
SOURCES = Path(__file__).parent / "failures"
SCENARIO = """
name = "subs"
[[workers]]
kind = "spin"
count = 3
[[steps]]
name = "subs"
duration_ms = 120000
scheduler = {scheduler}
"""


def test_sub_schedulers_are_captured_at_their_own_write_and_the_parent_goes_on(
    tmp_path: Path,
    kernel: KernelImage,
    compile_bpf: Callable[[str, str], str],
    program: Callable[..., str],  # noqa: F811
) -> None:
    """One calls an error, another forgets its tasks; queues and tasks are told apart by their scheduler."""
    if not has_struct_member(kernel.btf or b"", "scx_sched", "children"):
        assert "KTSTR_TEST_KERNEL" in os.environ, (
            f"{kernel.release} has no sub-schedulers, 7.1 and newer have"
        )
        pytest.skip("the kernel of KTSTR_TEST_KERNEL has no sub-schedulers")
    subs = program(compile_bpf("subs", (SOURCES / "subs.bpf.c").read_text()), "subs", "subs.c")
    scenario = tmp_path / "subs.toml"
    scenario.write_text(SCENARIO.format(scheduler=json.dumps(subs)))
    with headless_run(tmp_path, "--no-seed", "--scenario", str(scenario)) as run:
        events = run.events("scheduler")
        next(it for it in events if it["change"] == "detached" and it["cgroup"] == "/stalled")
        run.process.send_signal(signal.SIGINT)
        code, summary, said = run.end()
    assert code == 1, said
    assert (summary["verdict"], summary["ejections"], summary["stalls"]) == ("ejected", 2, 1)
    assert 'sub-scheduler "substall" of /stalled was ejected: ERROR_STALL: spin-1[' in summary["end_reason"]
    errors = [entry for entry in summary["captures"] if entry["trigger"] == "error"]
    broken, stalled = [json.loads(Path(entry["path"]).read_text()) for entry in errors]

    assert (broken["scheduler"]["name"], broken["scheduler"]["cgroup"]) == ("subchild", "/broken")
    assert (broken["exit_kind"], broken["scheduler"]["exit_kind_name"]) == (1025, "ERROR_BPF")
    assert "of /broken, at the write by vCPU" in broken["trigger_detail"]
    assert broken["scheduler"]["message"].startswith("child broke in task ")
    assert "subs.bpf.c" in errors[0]["headline"]
    assert errors[0]["headline"].startswith("subchild of /broken: ERROR_BPF: child broke in task ")
    assert (errors[1]["scheduler"], errors[1]["cgroup"]) == ("substall", "/stalled")
    assert (broken["root"]["name"], broken["root"]["exit_kind"]) == ("subparent", 0)
    queues = {it["label"]: it.get("sub") for it in broken["dsqs"]}
    assert queues["0x7"] is None
    assert queues["0x7 of /broken"] == "/broken"
    running = [it["running"] for it in broken["runqueues"] if it["running"] is not None]
    tasks = {it["comm"]: it["sub"] for it in (*broken["tasks"], *running)}
    assert tasks["spin-0"] == "/broken"
    assert tasks["spin-2"] is None

    assert (stalled["scheduler"]["name"], stalled["exit_kind"]) == ("substall", 1026)
    assert "of /stalled, at the write by vCPU" in stalled["trigger_detail"]
    assert (stalled["stalled"]["comm"], stalled["stalled"]["sub"]) == ("spin-1", "/stalled")
    assert stalled["root"]["exit_kind"] == 0
    assert stalled["early_tag"] is not None
    assert stalled["early_threshold_ms"] == 500.0
