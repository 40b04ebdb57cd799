"""Saving a machine's state: what QEMU does not know of a failure is said."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ktstr_tui.guest.machine_state import MOST_BYTES, MachineStateError, save_state
from ktstr_tui.guest.qmp import QmpClient


class Qmp:
    """A monitor whose migrations fail."""

    async def execute(self, command: str, **_: object) -> dict[str, Any]:
        failed = {"status": "failed", "error-desc": "Unable to write to command: Broken pipe"}
        return failed if command == "query-migrate" else {}


@pytest.mark.parametrize(
    ("free", "why"),
    [
        (MOST_BYTES, "could not be saved: Unable to write to command: Broken pipe"),
        (0, "could not be saved: no space is left in "),
    ],
)
async def test_a_full_disk_is_named(
    free: int, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=free, f_frsize=1))
    with pytest.raises(MachineStateError, match=why):
        await save_state(cast("QmpClient", Qmp()), tmp_path / "state")
