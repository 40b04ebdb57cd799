"""``run`` mentions runs whose screen is gone."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ktstr_tui.cli.unseen import mention_unseen_runs
from ktstr_tui.model import events as ev
from tests.unit.link.backend import Backend

UNSEEN = ev.AlertRaised(key="unseen", kind="unseen", severity="warning", text="its screen is gone")


@pytest.mark.parametrize("unseen", [True, False])
def test_a_run_whose_screen_is_gone_is_mentioned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], unseen: bool
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    place = tmp_path / "ktstr" / "tour"
    place.parent.mkdir(mode=0o700)
    with Backend(place) as backend:
        (place / "run.json").write_text(json.dumps({"name": "tour", "pid": os.getpid()}))
        if unseen:
            backend.emit(UNSEEN)
        mention_unseen_runs()
    words = "run tour continues unseen: ktstr-tui attach tour to see it, ktstr-tui end tour to end it\n"
    assert capsys.readouterr().err == (words if unseen else "")


def test_no_run_is_no_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    mention_unseen_runs()
    assert capsys.readouterr().err == ""
