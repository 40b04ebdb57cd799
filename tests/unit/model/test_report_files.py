"""The three layouts of a file of captures: that they come back as they went, and what is refused."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.model.diff import diff_reports
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.report import CaptureReport, TaskReport, VcpuReport, placeholder
from ktstr_tui.model.report_files import (
    ABORTED,
    TIMED_OUT,
    DegradedReport,
    DualOutcome,
    DualReport,
    decode_report,
    degraded_reason,
    why_alone,
)
from tests.unit.link.strategies import structs

TASK = TaskReport(
    pid=42, tgid=42, comm="spin", state="R", sched_class="ext", policy="EXT", nice=0, cpu=0, cpus_allowed="0-1",
    nr_cpus_allowed=2, age_ms=1600.0, dsq="0x7",
)  # fmt: skip
EARLY = CaptureReport(tag="early-001", trigger="early", mono_ns=10**9, guest_ns=10**9, tasks=(TASK,))
LATE = CaptureReport(
    tag="error-002",
    trigger="error",
    mono_ns=3 * 10**9,
    guest_ns=3 * 10**9,
    tasks=(msgspec.structs.replace(TASK, age_ms=3600.0),),
)
DEGRADED = DegradedReport(
    tag="error-002",
    trigger="error",
    reason=degraded_reason(TIMED_OUT, 2000.4, 1, 2, "reading registers took longer than 2 s"),
    vcpus=(
        VcpuReport(cpu=0, registers={"rip": 2**64 - 1}),
        VcpuReport(cpu=1, unavailable="no response"),
    ),
    watchpoint_hit=True,
    exit_kind=1026,
    elapsed_ms=2000.4,
)
DUAL = DualReport(tag="error-002", outcome="both", early=EARLY, late=LATE, diff=diff_reports(EARLY, LATE))


def encoded(report: object, **changes: object) -> bytes:
    """A report as JSON with some of its fields changed; a field of ... is left out."""
    fields: dict[str, Any] = json.loads(msgspec.json.encode(report)) | changes
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


@pytest.mark.parametrize(
    "report",
    [
        LATE,
        placeholder("x", "guest", "why"),
        DEGRADED,
        DUAL,
        DualReport(tag="error-002", outcome="early-pre-late-degraded", early=EARLY, late=DEGRADED),
        DualReport(tag="early-001", outcome="early-only-late-never-fired", early=EARLY),
        DualReport(
            tag="error-002", outcome="late-only", late=LATE, early_skipped_reason="the sampler is off"
        ),
    ],
    ids=lambda report: f"{report.schema}-{report.tag}-{getattr(report, 'outcome', '')}",
)
def test_a_report_comes_back_as_it_went(report: CaptureReport | DualReport | DegradedReport) -> None:
    data = msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
    assert json.loads(data)["schema"] == report.schema
    assert decode_report(data) == report


@given(structs(CaptureReport) | structs(DegradedReport) | structs(DualReport))
def test_any_content_comes_back(report: Any) -> None:  # noqa: ANN401
    schema: dict[Any, str] = {CaptureReport: "single", DegradedReport: "degraded", DualReport: "dual"}
    changed = {"schema": schema[type(report)]}
    for name in ("early", "late") if isinstance(report, DualReport) else ():
        part = getattr(report, name)
        if part is not None:
            changed[name] = msgspec.structs.replace(part, schema=schema[type(part)])
    report = msgspec.structs.replace(report, **changed)
    data = msgspec.json.encode(report)
    # JSON has no tuples inside plain values, so it is compared as JSON.
    assert msgspec.json.encode(decode_report(data)) == data


@pytest.mark.parametrize("report", [LATE, DEGRADED, DUAL], ids=lambda report: report.schema)
def test_a_missing_schema_is_refused_though_the_layout_has_a_default(report: object) -> None:
    with pytest.raises(UsageError, match="no schema; known are 'single', 'dual', 'degraded'"):
        decode_report(encoded(report, schema=...))


@pytest.mark.parametrize("schema", ["", "Single", "single ", "triple", None, 7, True, ["single"], {"a": 1}])
def test_an_unknown_schema_is_refused_by_name(schema: object) -> None:
    with pytest.raises(UsageError, match="is not known; known are 'single', 'dual', 'degraded'") as caught:
        decode_report(encoded(LATE, schema=schema))
    assert repr(schema) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "broken JSON"),
        (b"{", "broken JSON"),
        (b'{"schema": "single"', "broken JSON"),
        (b'\xff\xfe{"schema"', "broken JSON"),
        (b'{"schema": "single", "tag": "\xff"}', "'single' report"),
        (b"[" * 100_000, "broken JSON|not an object"),
        (b"[]", "not an object"),
        (b'"single"', "not an object"),
        (b"null", "not an object"),
    ],
)
def test_what_is_no_report_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        decode_report(data)


@pytest.mark.parametrize(
    ("report", "changes", "words"),
    [
        (LATE, {"tag": 7}, "'single' report: Expected `str`, got `int` - at `\\$.tag`"),
        (LATE, {"tag": ...}, "missing required field `tag`"),
        (LATE, {"tasks": "none"}, "tasks"),
        (LATE, {"tasks": [{"pid": "x"}]}, "tasks"),
        (DEGRADED, {"reason": ...}, "'degraded' report: Object missing required field `reason`"),
        (DEGRADED, {"watchpoint_hit": 1}, "watchpoint_hit"),
        (DEGRADED, {"elapsed_ms": None}, "elapsed_ms"),
        (DUAL, {"outcome": "all"}, "'dual' report: Invalid enum value 'all'"),
        (DUAL, {"outcome": ...}, "outcome"),
        (DUAL, {"diff": []}, "diff"),
        (DUAL, {"early": 5}, "not an object of early"),
        (DUAL, {"early": {}}, "no schema of early; known here are 'single'"),
        (DUAL, {"early": {"schema": "degraded"}}, "schema 'degraded' of early is not known"),
        (DUAL, {"late": {"schema": "dual"}}, "of late is not known; known here are 'single', 'degraded'"),
        (DUAL, {"late": {"schema": "single"}}, "its late capture: Object missing required field `tag`"),
    ],
)
def test_wrong_types_are_refused_by_place(report: object, changes: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        decode_report(encoded(report, **changes))


@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda tail: b'{"schema":"dual",' + tail))
def test_decoding_is_total(data: bytes) -> None:
    with suppress(UsageError):
        assert decode_report(data).schema in ("single", "dual", "degraded")


def test_fields_of_a_newer_version_are_left_alone() -> None:
    assert decode_report(encoded(DEGRADED, invented={"later": 1})) == DEGRADED


def test_the_reason_of_a_degraded_report_begins_with_a_word_for_programs() -> None:
    assert DEGRADED.reason == (
        "rendezvous timed out after 2000 ms: 1 of 2 vCPUs answered; reading registers took longer than 2 s"
    )
    assert degraded_reason(ABORTED, 3.0, 0, 2, "QEMU went away").startswith(
        "aborted after 3 ms: 0 of 2 vCPUs"
    )


def test_why_a_dual_report_has_no_difference() -> None:
    for outcome in get_args(DualOutcome):
        told = DualReport(
            tag="t", outcome=outcome, early_skipped_reason="no early", late_skipped_reason="no late"
        )
        assert why_alone(told) == {"both": None, "late-only": "no early", "early-degraded": "no early"}.get(
            outcome, "no late"
        )
        assert (why_alone(DualReport(tag="t", outcome=outcome)) is None) == (outcome == "both")
