"""``ktstr-tui audit``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ktstr_tui.cli.audit import show, verify_command
from ktstr_tui.control.audit import Audit
from ktstr_tui.control.audit_chain import AUDIT_FILE, AuditFile
from ktstr_tui.model.errors import HostError


def test_a_file_is_shown_and_proven_until_somebody_changes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audit = Audit(AuditFile(tmp_path))
    audit.record("ann@build-7", "freeze", "accepted")
    audit.record("bob@build-7", "end", "rejected", "no control")
    show(str(tmp_path))
    shown = capsys.readouterr().out.splitlines()
    assert "ann@build-7 (claimed) freeze: accepted" in shown[0]
    assert "bob@build-7 (claimed) end: rejected: no control" in shown[1]
    verify_command(str(tmp_path / AUDIT_FILE), as_json=True)
    assert json.loads(capsys.readouterr().out)["proven"] is True
    path = tmp_path / AUDIT_FILE
    path.write_bytes(path.read_bytes().replace(b"accepted", b"rejected"))
    with pytest.raises(HostError, match="line 2 does not fit"):
        verify_command(str(tmp_path))
