"""What the report screen says of a capture's other files."""

from __future__ import annotations

import msgspec
from textual.pilot import Pilot

from ktstr_tui.model import events as ev
from ktstr_tui.model.report import VcpuReport, placeholder
from ktstr_tui.model.report_files import DegradedReport, DualReport
from ktstr_tui.text.lines import text_of
from ktstr_tui.text.report_files import degraded_lines, dual_lines
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.leaving import Leaving
from tests.tui.fakes import FakeSource, drive, press, rows, screen
from tests.tui.story import Story

HOSTILE = "\x1b[31m[bold]x[/bold]\u202e"
REASON = "aborted after 12 ms: 1 of 2 vCPUs answered; QEMU went away"
DEGRADED = DegradedReport(
    tag="guest-007",
    trigger="guest",
    reason=REASON,
    vcpus=(VcpuReport(cpu=0, registers={"rip": 0xFFFFFFFF8119C05B}), VcpuReport(cpu=1, unavailable="silent")),
    exit_kind=0,
    elapsed_ms=12.0,
)  # fmt: skip
PATH = "/runs/tour/captures/007-guest-007.degraded.json"
DUAL_PATH = "/runs/tour/captures/001-error-001.dual.json"


def fed(*events: ev.Event) -> FakeSource:
    source = FakeSource(Story().until(20))
    for event in events:
        state = source.state
        source.feed([msgspec.structs.replace(event, seq=state.seq + 1, mono_ns=state.mono_ns)])
    return source


def test_a_degraded_capture_shows_why_and_the_registers_that_came() -> None:
    report = placeholder("guest-007", "guest", "aborted: QEMU went away")
    report = msgspec.structs.replace(
        report, vcpus=tuple(msgspec.structs.replace(it, unavailable="aborted") for it in DEGRADED.vcpus)
    )
    source = fed(ev.CaptureTaken(report=report, path=PATH, degraded=DEGRADED))
    text = screen(source, "3", "enter", size=(120, 50))
    assert REASON in text
    assert "did not stop the guest" in text
    assert "rip=ffffffff8119c05b" in text
    assert PATH in text
    vcpus = screen(source, "3", "enter", "3", size=(120, 40))
    assert "unavailable: aborted" in vcpus
    assert "rip=ffffffff8119c05b" in vcpus


def test_a_degraded_report_names_the_sub_scheduler_and_the_kind_in_the_kernels_words() -> None:
    report = msgspec.structs.replace(
        DEGRADED, exit_kind=69, exit_kind_name="NEWER", scheduler="below", cgroup="/db\x1b"
    )
    told = [text_of(line) for line in degraded_lines(report, 80)]
    assert "  scheduler   below of /db" in told
    assert "  exit_kind   NEWER (69)" in told
    older = [text_of(line) for line in degraded_lines(msgspec.structs.replace(DEGRADED, exit_kind=1026), 80)]
    assert "  exit_kind   ERROR_STALL (1026)" in older


def test_the_path_of_the_dual_report_appears_while_the_report_is_open() -> None:
    source = fed(ev.CaptureTaken(report=Story().report(), path="/runs/tour/captures/001-error-001.json"))

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[str, str]:
        await press(app, pilot, "3", "enter", "end")
        before = "\n".join(rows(app))
        seq, mono_ns = source.state.seq + 1, source.state.mono_ns
        saved = ev.DualSaved(
            seq=seq, mono_ns=mono_ns, tag="error-001", outcome="both", late_tag="error-001", path=DUAL_PATH
        )
        source.feed([saved])
        await press(app, pilot, "end")
        return before, "\n".join(rows(app))

    before, after = drive(source, steps, (120, 80))[1]
    assert DUAL_PATH not in before
    assert f"{DUAL_PATH} (both)" in after


def test_text_of_the_guest_is_harmless() -> None:
    hostile = msgspec.structs.replace(DEGRADED, reason=HOSTILE, tag=HOSTILE)
    dual = DualReport(
        tag=HOSTILE, outcome="early-pre-late-degraded", late=hostile, late_skipped_reason=HOSTILE
    )
    for width in (30, 120):
        for line in (*degraded_lines(hostile, width), *dual_lines(dual, width)):
            assert "\x1b" not in text_of(line)
            assert "\u202e" not in text_of(line)
