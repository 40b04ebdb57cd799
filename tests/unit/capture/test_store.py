from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path

import msgspec
import pytest

from ktstr_tui.capture.report import store as store_module
from ktstr_tui.capture.report.store import (
    MAX_STDERR_BYTES,
    CaptureStore,
    file_name,
    summary_of,
    write_to_stderr,
)
from ktstr_tui.model.events import Event, Logged
from ktstr_tui.model.report import CaptureReport, RunqueueReport, placeholder
from ktstr_tui.model.report_files import AnyReport, DegradedReport, DualReport, decode_report, encode_report


def report(tag: str = "error-001") -> CaptureReport:
    return CaptureReport(tag=tag, trigger="error", runqueues=(RunqueueReport(cpu=0, nr_running=3),))


def look(path: Path) -> tuple[str, int]:
    return path.read_text(), path.stat().st_mode & 0o777


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


async def test_a_report_is_saved_for_its_owner_only_and_reads_back(tmp_path: Path) -> None:
    events: list[Event] = []
    store = CaptureStore(tmp_path / "captures", events.append)
    path = Path((await store.save(7, report())).path)
    assert path == tmp_path / "captures" / "007-error-001.json"
    text, mode = look(path)
    assert mode == 0o600
    assert text.startswith('{\n  "schema": "single",\n')
    assert json.loads(text)["runqueues"][0]["nr_running"] == 3
    assert names(path.parent) == [path.name]
    assert (store.statistics().saved, store.statistics().saved_bytes) == (1, len(text))
    assert events == []


async def test_a_full_disk_is_an_event_and_a_drop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = []
    store = CaptureStore(tmp_path, events.append)
    monkeypatch.setattr(os, "fsync", full_disk)
    failed = await store.save(1, report())
    assert failed.path == ""
    assert failed.problem == f"{tmp_path / '001-error-001.json'}: No space left on device"
    assert names(tmp_path) == []
    assert store.statistics().drops == {"No space left on device": 1}
    (event,) = events
    assert isinstance(event, Logged)
    assert event.severity == "error"
    assert "No space left on device" in event.text
    monkeypatch.undo()
    assert (await store.save(2, report())).path
    assert store.statistics().saved == 1


async def test_a_directory_that_cannot_be_made_is_an_event(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    events: list[Event] = []
    store = CaptureStore(tmp_path / "file" / "captures", events.append)
    assert (await store.save(1, report())).path == ""
    assert len(events) == 1


def full_disk(_fd: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_what_cannot_be_saved_is_told_on_standard_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    store = CaptureStore(tmp_path, lambda event: None)
    monkeypatch.setattr(os, "fsync", full_disk)
    assert (await store.save(1, msgspec.structs.replace(report(), trigger_detail="\x1b[31mred"))).path == ""
    summary, _, rest = capfd.readouterr().err.partition("\n")
    assert summary.startswith(
        "capture error-001 (error, exit_kind None): 0 runnable tasks: could not be saved as "
    )
    assert "No space left on device" in summary
    assert json.loads(rest)["runqueues"][0]["nr_running"] == 3
    assert "\x1b" not in rest


async def test_of_a_long_report_only_the_beginning_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bytes] = []
    store = CaptureStore(tmp_path, lambda event: None, told.append)
    monkeypatch.setattr(os, "fsync", full_disk)
    long = msgspec.structs.replace(report(), dmesg_tail=("x" * 99,) * 1000)
    assert (await store.save(1, long)).path == ""
    (text,) = told
    _, _, rest = text.partition(b"\n")
    whole = encode_report(long)
    assert rest == whole[:MAX_STDERR_BYTES] + f"… ({len(whole)} bytes in all)\n".encode()


def test_a_standard_error_that_nobody_reads_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream, os.fdopen(reader, "rb") as read:
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(store_module, "STDERR_PATIENCE_S", 0.0)
        write_to_stderr(b"x" * (1 << 20))
        os.set_blocking(reader, False)
        found = read.read()
        assert 0 < len(found) < 1 << 20
        assert set(found) == {ord("x")}


def test_a_standard_error_that_is_closed_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    write_to_stderr(b"x")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        write_to_stderr(b"x")
        assert not stream.closed, "it is not ours to close"


async def test_each_kind_of_report_has_a_name_of_its_own(tmp_path: Path) -> None:
    store = CaptureStore(tmp_path, lambda event: None)
    degraded = DegradedReport(tag="t", trigger="error", reason="aborted", elapsed_ms=1.0)
    kinds: list[AnyReport] = [
        report("t"),
        degraded,
        DualReport(tag="t", outcome="both", early=report("e"), late=report("t")),
        DualReport(tag="t", outcome="early-pre-late-degraded", early=report("e"), late=degraded),
    ]
    paths = [Path((await store.save(4, kind)).path) for kind in kinds]
    assert [path.name for path in paths] == [
        "004-t.json",
        "004-t.degraded.json",
        "004-t.dual.json",
        "004-t.early-pre-late-degraded.json",
    ]
    assert [decode_report(path.read_bytes()) for path in paths] == kinds
    assert summary_of(degraded) == "degraded capture t (error): aborted"
    assert summary_of(kinds[2]) == "dual report t, both, of e and t"
    assert summary_of(placeholder("p", "guest", "why")) == "capture p (guest, exit_kind None): failed: why"


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("error-001", "012-error-001.json"),
        ("../../etc/passwd", "012-.._.._etc_passwd.json"),
        ("a b\n\x00é", "012-a_b___.json"),
        ("x" * 400, "012-" + "x" * 100 + ".json"),
        ("", "012-.json"),
    ],
)
def test_file_names_are_harmless(tag: str, name: str) -> None:
    assert file_name(12, tag) == name
