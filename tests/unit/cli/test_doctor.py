"""``doctor`` into a pipe: a row to a line."""

from __future__ import annotations

import pytest

from ktstr_tui.cli import doctor_checks
from ktstr_tui.cli.doctor import doctor_command
from ktstr_tui.cli.doctor_checks import Row
from ktstr_tui.model.errors import EXIT_HOST


def test_a_row_is_never_folded_in_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    detail, step = "found " + "x" * 300, "do " + "y" * 300
    rows = [
        Row("qemu", "ok", detail, needed=True),
        Row("accelerator", "missing", "two\nlines", step, needed=True),
    ]
    monkeypatch.setattr(doctor_checks, "all_rows", lambda: iter(rows))
    with pytest.raises(SystemExit) as left:
        doctor_command(False)
    assert left.value.code == EXIT_HOST
    assert capsys.readouterr().out.splitlines() == [
        f"qemu         ok        {detail}",
        f"accelerator  missing   two lines; next: {step}",
    ]
