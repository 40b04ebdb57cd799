from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from ktstr_tui.capture.store import CaptureStore, file_name
from ktstr_tui.model.events import Event, Logged
from ktstr_tui.model.report import CaptureReport, RunqueueReport


def report(tag: str = "error-001") -> CaptureReport:
    return CaptureReport(tag=tag, trigger="error", runqueues=(RunqueueReport(cpu=0, nr_running=3),))


def look(path: Path) -> tuple[str, int]:
    return path.read_text(), path.stat().st_mode & 0o777


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


async def test_a_report_is_saved_for_its_owner_only_and_reads_back(tmp_path: Path) -> None:
    events: list[Event] = []
    store = CaptureStore(tmp_path / "captures", events.append)
    path = Path(await store.save(7, report()))
    assert path == tmp_path / "captures" / "007-error-001.json"
    text, mode = look(path)
    assert mode == 0o600
    assert text.startswith('{\n  "schema": "single",\n')
    assert json.loads(text)["runqueues"][0]["nr_running"] == 3
    assert names(path.parent) == [path.name]
    assert (store.statistics().saved, store.statistics().saved_bytes) == (1, len(text))
    assert events == []


async def test_a_full_disk_is_an_event_and_a_drop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    events: list[Event] = []
    store = CaptureStore(tmp_path, events.append)
    monkeypatch.setattr(os, "fsync", full)
    assert await store.save(1, report()) == ""
    assert names(tmp_path) == []
    assert store.statistics().drops == {"No space left on device": 1}
    (event,) = events
    assert isinstance(event, Logged)
    assert event.severity == "error"
    assert "No space left on device" in event.text
    monkeypatch.undo()
    assert await store.save(2, report()) != ""
    assert store.statistics().saved == 1


async def test_a_directory_that_cannot_be_made_is_an_event(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    events: list[Event] = []
    store = CaptureStore(tmp_path / "file" / "captures", events.append)
    assert await store.save(1, report()) == ""
    assert len(events) == 1


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
