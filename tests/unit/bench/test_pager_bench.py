"""The bench of the pager measures what it says, and its floor does its work."""

from __future__ import annotations

import json
import math

import pytest

from ktstr_tui.bench import pager


def test_faults_are_measured_beside_a_bare_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pager, "PAGES", 64)
    result = pager.bench_pager(1)
    assert json.loads(json.dumps(result)) == result
    assert result["faults"] == 64
    assert math.isclose(result["ratio_p99"], result["pager_us"]["p99"] / result["bare_us"]["p99"])
    assert (
        min(result["bare_us"]["p50"], result["fill_pages_per_s"]["p50"], result["copy_pages_per_s"]["p50"])
        > 0
    )
