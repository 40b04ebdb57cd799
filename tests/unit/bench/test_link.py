"""The bench of the link measures what it says: every event gets to every viewer."""

from __future__ import annotations

import json
import math

import pytest

from ktstr_tui.bench import link


def test_rates_and_ratios_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "EVENTS", 60)
    monkeypatch.setattr(link, "VIEWERS", (1, 2))
    result = link.bench_link(1)
    assert json.loads(json.dumps(result)) == result
    for viewers in (1, 2):
        case = result[f"viewers_{viewers}"]
        assert math.isclose(case["ratio"], case["events_per_s"]["p50"] / case["bare_per_s"]["p50"])
        assert math.isclose(
            case["ratio_to_worked"], case["events_per_s"]["p50"] / case["worked_per_s"]["p50"]
        )
        assert min(case["sender_us_per_event"].values()) > 0
        assert case["met"] == (case["ratio"] >= link.GOAL_RATIO)
    assert result["beside_stopped_viewer"]["events_per_s"]["p50"] > 0
