"""The tracker's bench measures what it says."""

from __future__ import annotations

import json
import math

import pytest

from ktstr_tui.bench import beats_tracker as bench_beats_tracker


def test_the_bench_reports_times_and_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_beats_tracker, "ROUNDS", 1)
    monkeypatch.setattr(bench_beats_tracker, "BEATS", 600)
    result = bench_beats_tracker.run_tracker_bench()
    assert json.loads(json.dumps(result)) == result
    for case in (result["few_pids"], result["most_pids"], result["made_up_pids"]):
        assert math.isclose(case["batch_ratio"], case["twin_batch_ns"] / case["c_batch_ns"])
        assert math.isclose(case["record_ratio"], case["twin_record_ns"] / case["c_record_ns"])
        assert min(case["c_batch_ns"], case["c_record_ns"]) > 0
    assert [result[name]["pids"] for name in ("few_pids", "most_pids", "made_up_pids")] == [64, 4096, 256]
    assert set(result["decode_ns"]) == set(result["drain_ns"]) == {"c", "twin"}
