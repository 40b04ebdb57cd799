"""The frame bench measures what it says."""

from __future__ import annotations

import json
import math

import pytest

from ktstr_tui.bench import frames as bench_frames


def test_the_bench_reports_rates_and_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_frames, "ROUNDS", 1)
    result = bench_frames.run()
    assert json.loads(json.dumps(result)) == result
    for case in (result["payload_64k"], result["frame_24b"], result["stimulus_40b"]):
        fastest = max(case["crc_zlib_bytes_per_s"], case["crc_own_bytes_per_s"])
        assert case["frame_bytes"] == case["payload_bytes"] + 16
        assert math.isclose(case["c_ratio"], case["c_bytes_per_s"] / fastest)
        assert math.isclose(case["python_ratio"], case["python_bytes_per_s"] / fastest)
        assert math.isclose(case["c_frames_per_s"] * case["payload_bytes"], case["c_bytes_per_s"])
