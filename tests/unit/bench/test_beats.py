"""The benches of the beats measure what they say, and their baselines do their work."""

from __future__ import annotations

import json
import math

import pytest

from ktstr_tui.bench import beat_flood, beat_load, beat_records
from ktstr_tui.wire.vlp import Beat, Status, encode


def test_costs_and_ratios_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beat_records, "ROUNDS", 1)
    monkeypatch.setattr(beat_records, "BEATS", 600)
    result = beat_records.measure()
    assert json.loads(json.dumps(result)) == result
    cases = (result["few_pids"], result["most_pids"], result["made_up_pids"])
    for case in cases:
        assert math.isclose(case["ratio"], case["plain_dict_ns"] / case["batch_ns"])
        assert min(case["batch_ns"], case["gated_ns"], case["call_ns"]) > 0
    assert [case["pids"] for case in cases] == [64, 4096, 256]
    assert min(result["decode_ns"], result["drain_ns"]) > 0


def test_the_baseline_stores_the_nonce_of_each_sender() -> None:
    nonces: dict[int, int] = {}
    frames = [encode(Beat(Status.OK, pid, 7, nonce, 9)) for pid, nonce in ((2, 5), (3, 1 << 40), (2, 6))]
    beat_records.take_plainly(frames, nonces)
    assert nonces == {2: 6, 3: 1 << 40}


def test_every_taker_takes_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beat_flood, "SENDERS", 2)
    monkeypatch.setattr(beat_flood, "FLOOD_S", 0.2)
    result = beat_flood.measure()
    ours, plain, bare = (
        result[name] for name in ("ours_beats_per_s", "plain_python_beats_per_s", "bare_recvmmsg_per_s")
    )
    assert min(ours, plain, bare) > 0
    assert math.isclose(result["ratio_to_plain_python"], ours / plain)
    assert math.isclose(result["ratio_to_bare"], ours / bare)


def test_the_load_is_accounted_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beat_load, "SENDERS", 2)
    monkeypatch.setattr(beat_load, "TRACKED", 64)
    monkeypatch.setattr(beat_load, "TARGET_PER_S", 2000)
    result = beat_load.measure(1)
    assert result["tracked"] == 64
    assert result["accepted"] > 0
    assert result["lost_by_receiver"] == result["failed"] == 0
    assert result["met"] == (result["look_p99_ms"] <= beat_load.GOAL_TICK_MS)
