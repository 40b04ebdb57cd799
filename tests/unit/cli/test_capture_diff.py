"""``capture-diff``: two captures, one dual report, and all that cannot be compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ktstr_tui.cli.capture_diff import capture_diff_command
from ktstr_tui.model.diff import ReportDiff, diff_reports
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.report import CaptureReport, TaskReport, VcpuReport, placeholder
from ktstr_tui.model.report_files import AnyReport, DegradedReport, DualReport, encode_report

SECOND_NS = 1_000_000_000
TASK = TaskReport(
    pid=42, tgid=42, comm="spin\x1b[31m", state="R", sched_class="ext", policy="EXT", nice=0, cpu=0,
    cpus_allowed="0-1", nr_cpus_allowed=2, age_ms=1600.0, dsq="0x7",
)  # fmt: skip
EARLY = CaptureReport(tag="early-001", trigger="early", mono_ns=SECOND_NS, tasks=(TASK,))
LATE = CaptureReport(
    tag="error-002",
    trigger="error",
    mono_ns=3 * SECOND_NS,
    early_tag="early-001",
    tasks=(msgspec.structs.replace(TASK, age_ms=3600.0),),
)
DIFF = diff_reports(EARLY, LATE)
DEGRADED = DegradedReport(
    tag="error-004",
    trigger="error",
    reason="rendezvous timed out after 2000 ms: 1 of 2 vCPUs answered; reading registers took longer than 2 s",
    vcpus=(VcpuReport(cpu=0, registers={"rip": 0xFFFFFFFF8119C05B}), VcpuReport(cpu=1, unavailable="silent")),
    watchpoint_hit=True,
    exit_kind=1026,
    elapsed_ms=2000.0,
)
BOTH = DualReport(tag="error-002", outcome="both", early=EARLY, late=LATE, diff=DIFF)
FILES: dict[str, AnyReport] = {
    "001-early-001.json": EARLY,
    "002-error-002.json": LATE,
    "002-error-002.dual.json": BOTH,
    "003-broken-003.json": placeholder("broken-003", "guest", "no such member"),
    "004-error-004.degraded.json": DEGRADED,
    "005-key.json": msgspec.structs.replace(
        LATE, tag="key", early_tag=None, early_skipped_reason="it was off"
    ),
    "005-key.degraded.json": msgspec.structs.replace(DEGRADED, tag="key"),
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data directory of a run that is over."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "nothing"))
    directory = tmp_path / "state" / "ktstr-tui" / "runs" / "tour"
    (directory / "captures").mkdir(parents=True)
    for name, report in FILES.items():
        (directory / "captures" / name).write_bytes(encode_report(report))
    return directory


class Told:
    """What the command prints."""

    def __init__(self, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._captures = run / "captures"
        self._run = run
        self._capsys = capsys

    def file(self, name: str) -> str:
        return str(self._captures / name)

    def text(self, before: str, after: str | None = None) -> str:
        capture_diff_command(before, after, str(self._run), False)
        return self._capsys.readouterr().out

    def json(self, before: str, after: str | None = None) -> dict[str, Any]:
        capture_diff_command(before, after, str(self._run), True)
        decoded: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return decoded


@pytest.fixture
def told(run: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    return Told(run, capsys)


def test_two_captures_by_tag_and_by_file(told: Told) -> None:
    pairs = [
        ("early-001", "error-002"),
        (told.file("001-early-001.json"), told.file("002-error-002.json")),
        ("early-001", told.file("002-error-002.json")),
    ]
    for before, after in pairs:
        assert msgspec.convert(told.json(before, after), ReportDiff) == DIFF
        text = told.text(before, after)
        assert text.startswith("early-001 → error-002  2.0 s apart\n")
        assert "did not run in between" in text
        assert "\x1b" not in text


def test_a_run_that_is_over_is_found_by_its_tags(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture_diff_command("early-001", "error-002", None, False)
    assert "did not run in between" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["mine", "mine-20260101-101010", "mine-20260102-101010"])
def test_a_run_on_disk_is_named_as_everywhere(
    run: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    older, newer = (run.with_name(f"mine-2026010{day}-101010") for day in (1, 2))
    shutil.copytree(run, older)
    shutil.copytree(run, newer)
    (newer / "captures" / "001-early-001.json").write_bytes(
        encode_report(msgspec.structs.replace(EARLY, mono_ns=2 * SECOND_NS))
    )
    capture_diff_command("early-001", "error-002", name, False)
    apart = "2.0 s" if name == older.name else "1.0 s"
    assert capsys.readouterr().out.startswith(f"early-001 → error-002  {apart} apart\n")
    with pytest.raises(UsageError, match=f"no run {name} on disk has captures 'nope'"):
        capture_diff_command("nope", None, name, False)
    with pytest.raises(UsageError, match="no run named elsewhere"):
        capture_diff_command("nope", None, "elsewhere", False)


def test_one_dual_report_is_its_difference(told: Told) -> None:
    name = told.file("002-error-002.dual.json")
    assert msgspec.convert(told.json(name), ReportDiff) == DIFF
    text = told.text(name)
    assert text.startswith("error-002: early and late capture available\nearly-001 → error-002")
    assert "did not run in between" in text


def test_the_capture_of_an_ejection_knows_its_early_one(told: Told) -> None:
    for name in ("error-002", told.file("002-error-002.json")):
        assert msgspec.convert(told.json(name), ReportDiff) == DIFF
    with pytest.raises(UsageError, match="key has no early one to be compared with: it was off"):
        told.text("key")


@pytest.mark.parametrize(
    ("dual", "words"),
    [
        (
            DualReport(tag="e", outcome="early-only-late-never-fired", early=EARLY, late_skipped_reason="it left"),
            "early capture available, no late one followed\nit left",
        ),
        (
            DualReport(tag="e", outcome="early-pre-late-degraded", early=EARLY, late=DEGRADED, late_skipped_reason="w"),
            "the late one is degraded\nw\n\nrendezvous timed out after 2000 ms",
        ),
        (
            DualReport(tag="e", outcome="late-only", late=LATE, early_skipped_reason="no runnable task"),
            "only the late capture is available\nno runnable task",
        ),
    ],
)  # fmt: skip
def test_a_dual_report_with_one_half_says_why(told: Told, dual: DualReport, words: str) -> None:
    path = Path(told.file("009-odd.json"))
    path.write_bytes(msgspec.json.encode(dual))
    assert words in told.text(str(path))
    found = told.json(str(path))
    assert (found["outcome"], found["diff"]) == (dual.outcome, None)
    assert found["reason"] == (dual.late_skipped_reason or dual.early_skipped_reason)
    assert (found["early"], found["late"]) == (
        dual.early.tag if dual.early else None,
        dual.late.tag if dual.late else None,
    )


def test_a_dual_report_that_was_not_compared_is_compared_now(told: Told) -> None:
    path = Path(told.file("009-odd.json"))
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(BOTH, diff=None)))
    assert msgspec.convert(told.json(str(path)), ReportDiff) == DIFF


def test_a_degraded_report_says_what_it_is(told: Told) -> None:
    for name in ("error-004", told.file("004-error-004.degraded.json")):
        lines = told.text(name).split("\n")
        assert lines[0] == (
            "error-004 is a degraded report: it holds no guest memory, so it cannot be compared"
        )
        assert lines[1].startswith("rendezvous timed out after 2000 ms: 1 of 2 vCPUs answered")
        assert "stopped the guest" in lines[3]
        assert "ERROR_STALL (1026)" in lines[4]
        assert any("rip=ffffffff8119c05b" in line for line in lines)
        assert any("unavailable: silent" in line for line in lines)
        found = told.json(name)
        assert (found["schema"], found["tag"], found["diff"]) == ("degraded", "error-004", None)
        assert found["watchpoint_hit"] is True


def test_one_of_two_must_be_a_whole_capture(told: Told) -> None:
    with pytest.raises(UsageError, match="error-004 is a degraded report and cannot be compared: rendezvous"):
        told.text("early-001", "error-004")
    with pytest.raises(UsageError, match=r"dual\.json is a dual report, which is two captures already"):
        told.text("early-001", told.file("002-error-002.dual.json"))
    assert "not compared: unavailable in broken-003: no such member" in told.text("early-001", "broken-003")


def test_a_whole_capture_goes_before_the_degraded_report_beside_it(told: Told) -> None:
    assert told.json("early-001", "key")["after"] == "key"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            b'{"tag": "x", "trigger": "on-demand"}',
            "no schema; known are 'single', 'dual', 'degraded'",
        ),
        (b'{"schema": "triple"}', "schema 'triple' is not known"),
        (b"not JSON", "broken JSON"),
    ],
)
def test_a_file_that_is_no_capture_is_refused_by_name(told: Told, data: bytes, words: str) -> None:
    path = Path(told.file("odd.json"))
    path.write_bytes(data)
    with pytest.raises(UsageError, match=words) as caught:
        told.text(str(path), told.file("001-early-001.json"))
    assert str(path) in caught.value.message


def test_a_file_that_is_not_there(told: Told) -> None:
    with pytest.raises(UsageError, match=r"cannot read the .*: No such file"):
        told.text(told.file("none.json"))
    with pytest.raises(UsageError, match="the run has no capture 'none': there are early-001"):
        told.text("none")


@pytest.mark.parametrize("bad", [b"{", b"", b'{"schema": "single"}', b"\xff\x00", b"[1]"])
def test_one_bad_file_costs_only_its_own_capture(
    run: Path, capsys: pytest.CaptureFixture[str], bad: bytes
) -> None:
    (run / "captures" / "000-bad.json").write_bytes(bad)
    (run / "captures" / "003-broken-003.json").unlink()
    (run / "captures" / "003-broken-003.json").mkdir()
    for name in (str(run), None):
        capture_diff_command("early-001", "error-002", name, as_json=True)
        out, err = capsys.readouterr()
        assert json.loads(out)["before"] == "early-001"
        assert "000-bad.json" in err
        assert "003-broken-003.json" in err


def test_a_capture_that_was_changed_is_refused_and_one_without_checksum_is_told(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    early, late = (run / "captures" / name for name in ("001-early-001.json", "002-error-002.json"))
    capture_diff_command(str(early), str(late), None, as_json=True)
    assert capsys.readouterr().err == "", "they are as they were written"
    late.write_bytes(json.dumps(json.loads(late.read_bytes())).encode())
    capture_diff_command(str(early), str(late), None, as_json=True)
    assert capsys.readouterr().err == "", "what was laid out in another way says the same"
    late.write_bytes(late.read_bytes().replace(b"3600.0", b"3601.0"))
    with pytest.raises(UsageError, match=r"002-error-002.json: a damaged capture: its checksum does not fit"):
        capture_diff_command(str(early), str(late), None, as_json=True)
    late.write_bytes(msgspec.json.encode(LATE))
    capture_diff_command(str(early), str(late), None, as_json=True)
    assert "002-error-002.json has no checksum" in capsys.readouterr().err
