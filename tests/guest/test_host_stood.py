"""A host that stood still is not blamed on the scheduler: QEMU is stopped for longer than the watchdog waits."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from ktstr_tui.model.errors import EXIT_INCONCLUSIVE
from tests.guest.runs import headless_run

pytestmark = pytest.mark.guest
STOOD_S = 6.0
"""More than the three seconds of the watchdog and its period. Of the host: a stopped QEMU has no other time."""


def test_an_ejection_after_a_stop_of_qemu_is_inconclusive_and_says_so_first(tmp_path: Path) -> None:
    with headless_run(tmp_path, "--no-seed", "--scheduler", "demo:fifo", "--scenario", "steady") as run:
        run.wait_for("step")
        (pid,) = run.qemu_pids()
        os.kill(pid, signal.SIGSTOP)
        time.sleep(STOOD_S)
        os.kill(pid, signal.SIGCONT)
        code, summary, _ = run.end()
    assert (code, summary["verdict"]) == (EXIT_INCONCLUSIVE, "inconclusive"), summary["end_reason"]
    assert summary["end_reason"].startswith("inconclusive: the host gave the guest no CPU for ")
    assert "QEMU was stopped" in summary["end_reason"]
    (capture,) = [it for it in summary["captures"] if it["trigger"] == "error"]
    assert capture["headline"].startswith("The host gave the guest no CPU for ")
