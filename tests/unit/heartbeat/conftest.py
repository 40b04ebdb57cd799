"""Both implementations of tracker and probe table, for each test that asks for one."""

from __future__ import annotations

import pytest

from ktstr_tui.heartbeat.probe_table import ProbeTable
from ktstr_tui.heartbeat.tracker import Tracker
from tests.oracles.probe_table import PyProbeTable
from tests.oracles.tracker import PyTracker
from tests.unit.heartbeat.either import MakeTable, MakeTracker


@pytest.fixture(params=[Tracker, PyTracker], ids=["c", "python"])
def make_tracker(request: pytest.FixtureRequest) -> MakeTracker:
    """Makes a tracker of either kind."""
    make: MakeTracker = request.param
    return make


@pytest.fixture(params=[ProbeTable, PyProbeTable], ids=["c", "python"])
def make_table(request: pytest.FixtureRequest) -> MakeTable:
    """Makes a probe table of either kind."""
    make: MakeTable = request.param
    return make
