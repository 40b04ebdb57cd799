"""A target of `tests.unit.fuzz_decoders`: files of captures, which anybody may hand to ``capture-diff``."""

from __future__ import annotations

import msgspec

from ktstr_tui.model.diff import diff_reports
from ktstr_tui.model.report import CaptureReport, VcpuReport
from ktstr_tui.model.report_files import DegradedReport, DualReport, decode_report
from ktstr_tui.text.lines import text_of
from ktstr_tui.text.report_files import degraded_lines, dual_lines
from tests.tui.story import Story


def report_seeds() -> list[bytes]:
    """One file of each layout."""
    late = Story().report()
    early = msgspec.structs.replace(late, tag="early-001", trigger="early", mono_ns=late.mono_ns - 10**9)
    vcpus = (VcpuReport(cpu=0, registers={"rip": 2**64 - 1}), VcpuReport(cpu=1, unavailable="silent"))
    degraded = DegradedReport(
        tag="d", trigger="guest", reason="aborted after 3 ms", vcpus=vcpus, elapsed_ms=3.0
    )
    dual = DualReport(tag="b", outcome="both", early=early, late=late, diff=diff_reports(early, late))
    odd = DualReport(tag="o", outcome="early-pre-late-degraded", early=early, late=degraded)
    return [msgspec.json.encode(report) for report in (late, degraded, dual, odd)]


def run_report(data: bytes) -> None:
    """Decode a file and show what it holds."""
    report = decode_report(data)
    if isinstance(report, CaptureReport):
        diff_reports(report, report)
        return
    lines = dual_lines(report, 80) if isinstance(report, DualReport) else degraded_lines(report, 80)
    assert not any("\x1b" in text_of(line) for line in lines)
