"""How long a task waits from its wakeup until it runs: what the trace says is what a program of the guest measures."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ktstr_tui.guest.initramfs import guest_artifacts
from ktstr_tui.link.recording import read_recording
from ktstr_tui.model import events as ev
from ktstr_tui.wire.trace_block import unpack
from tests.guest.programs import program  # noqa: F401 (a fixture)
from tests.guest.runs import call, private_environment

pytestmark = pytest.mark.guest
PAIRS = 40
AROUND_NS = 150_000
"""What the program measures besides: from its clock to the wakeup within write(), and from the switch to its clock."""
SCENARIO = """
name = "pairs"
[[steps]]
name = "pairs"
duration_ms = 6000
scheduler = "{program}"
[[steps.workers]]
kind = "spin"
count = 4
"""


def waits_ns(directory: Path, pid: int) -> list[int]:
    """From each wakeup of a task to the switch to it, as the recording has them."""
    found, woken_ns = list[int](), None
    blocks = (it.block for it in read_recording(directory) if isinstance(it, ev.TraceRead))
    for row in (row for block in blocks for row in unpack(block) if row.pid == pid):
        if row.kind in ("waking", "wakeup"):
            woken_ns = woken_ns or row.time_ns
        elif row.kind == "switch" and woken_ns is not None:
            found.append(row.time_ns - woken_ns)
            woken_ns = None
    return found


def test_a_wakeup_takes_as_long_as_the_program_measures(
    tmp_path: Path,
    program: Callable[[str, str], str],  # noqa: F811
) -> None:
    scenario = tmp_path / "pairs.toml"
    command = program(str(guest_artifacts().demos["fifo"]), "pairs")
    scenario.write_text(SCENARIO.format(program=command))
    # With a seed the same pairs are waited for every time, whatever the host does.
    done = call(
        "run", "--headless", "--seed", "5", "--scenario", str(scenario), env=private_environment(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    (log,) = (tmp_path / "state").rglob("scheduler.log")
    told = re.findall(r"pair of (\d+): (\d+) ns", log.read_text())
    assert len(told) == PAIRS
    measured = [int(ns) for _, ns in told]
    (recording,) = (tmp_path / "state").rglob("recording.ktstr")
    traced = waits_ns(recording, int(told[0][0]))[-PAIRS:]
    assert max(measured) > 1_000_000, "some had to wait"
    assert all(0 <= one - other <= AROUND_NS for one, other in zip(measured, traced, strict=True))
