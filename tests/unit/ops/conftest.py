from __future__ import annotations

import pytest
import trio

from tests.unit.capture.rig import in_place
from tests.unit.ops.ops_rig import open_ops, ops_kernel  # noqa: F401 (fixtures)


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run what would go to a thread in place: a mock clock jumps while threads work."""
    monkeypatch.setattr(trio.to_thread, "run_sync", in_place(trio.lowlevel.checkpoint))
