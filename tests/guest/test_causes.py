"""What a user reads first of an ejection that is no stall, from a real kernel to the summary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ktstr_tui.model.cause import bpf_frame, cause_of
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.report_files import decode_report
from ktstr_tui.text.cause import headline
from ktstr_tui.text.lines import text_of
from ktstr_tui.text.report_lines import overview
from tests.guest.runs import call, private_environment

pytestmark = pytest.mark.guest

SCENARIO = """
name = "causes"
[[workers]]
kind = "spin"
count = 2
[[workers]]
kind = "bursty"
count = 2
[[steps]]
name = "work"
duration_ms = 60000
until = "ejected"
scheduler = "{scheduler}"
"""


def test_an_error_leads_with_the_message_and_its_line(
    compile_bpf: Callable[[str, str], str], tmp_path: Path, checkout: Path
) -> None:
    source = (checkout / "tests/guest/failures/broke.bpf.c").read_text()
    scenario = tmp_path / "causes.toml"
    scenario.write_text(SCENARIO.format(scheduler=compile_bpf("broke", source)))
    env = private_environment(tmp_path)
    done = call("run", "--headless", "--scenario", str(scenario), env=env)
    assert done.returncode == 1, done.stderr
    line = next(it for it in done.stdout.splitlines() if it.startswith("capture ") and "(error" in it)
    assert "ERROR_BPF: no budget for pid " in line
    assert "scx_bpf_error_bstr(reason" in line
    path = next((tmp_path / "state").rglob("*error*.json"))
    report = decode_report(path.read_bytes())
    assert isinstance(report, CaptureReport)
    assert headline(report) in line
    cause = cause_of(report)
    assert cause is not None
    frame = bpf_frame(cause.vcpu)
    assert frame is not None
    assert "broke_enqueue" in (frame.symbol or "")
    check_overview(report)


def check_overview(report: CaptureReport) -> None:
    """The cause is on top, the text of ``ops.dump()`` is there, and no task is called stalled."""
    text = "\n".join(text_of(line) for line in overview(report, 160))
    assert text.startswith("cause\n  ERROR_BPF: no budget for pid ")
    assert "broke: the budget is spent after " in text
    assert "stalled task" not in text
