"""A healthy scheduler on a host that is busy with something else: no red, no amber.

The host runs two endless loops meanwhile, one for each core of a small machine. ``KTSTR_CALM_S`` makes the runs longer:
600 is what a release is tried with.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ktstr_tui.link.recording import read_recording
from ktstr_tui.model.events import AlertRaised, HealthChanged, StepStarted
from tests.guest.runs import call_json, private_environment

SECONDS = float(os.environ.get("KTSTR_CALM_S", "15"))
_SETTLE_S = 3.0
"""After the step began: a guest that boots beside busy loops has work left over."""


@pytest.fixture
def busy_host() -> Iterator[None]:
    """Two endless loops on the host."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


@pytest.mark.parametrize("topology", ["1n1l2c1t", "1n1l8c1t"], ids=["2 vCPUs", "8 vCPUs"])
@pytest.mark.usefixtures("busy_host")
def test_a_healthy_scheduler_beside_busy_loops_raises_no_alert(tmp_path: Path, topology: str) -> None:
    arguments = ["--scenario", "steady", "--scheduler", "demo:fifo", "--topology", topology]
    summary = call_json(
        *("run", "--headless", "--no-seed", "--duration", str(SECONDS), *arguments),
        env=private_environment(tmp_path),
        timeout_s=SECONDS + 400,
    )
    assert summary["exit_code"] == 0, summary["end_reason"]
    (recording,) = (tmp_path / "state").rglob("recording.ktstr")
    events = list(read_recording(recording))
    begun_ns = min(event.mono_ns for event in events if isinstance(event, StepStarted))
    steady = [event for event in events if event.mono_ns - begun_ns > _SETTLE_S * 1e9]
    assert [event.text for event in steady if isinstance(event, AlertRaised)] == []
    verdicts = [(event.verdict, event.reasons) for event in steady if isinstance(event, HealthChanged)]
    assert [verdict for verdict in verdicts if verdict[0] != "ok"] == []
