"""The bench of seeking, and the made-up events that it and the bench of the screen use."""

from __future__ import annotations

import json

from ktstr_tui.bench import made_up, seek
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import RunState
from ktstr_tui.wire.trace_block import unpack


def test_every_moment_of_the_recording_is_found() -> None:
    result = seek.bench_seek(seconds=20)
    assert json.loads(json.dumps(result)) == result
    assert result["seek_events"] == 20 * (seek.SAMPLE_HZ + 2)
    assert result["seek_ms"]["max"] > 0
    assert result["seek_met"] == (result["seek_ms"]["max"] <= seek.GOAL_SEEK_MS)


def test_the_made_up_trace_is_one_that_a_timeline_can_draw() -> None:
    block = made_up.trace_event(4, 30, 2000, 3).block
    rows = unpack(block)
    assert len(rows) == block.events == 2000
    assert block.begin_ns <= rows[0].time_ns <= rows[-1].time_ns < block.end_ns
    running = dict.fromkeys(range(4), 0)
    for row in rows:
        assert row.other == running[row.cpu], "whoever leaves is who came"
        running[row.cpu] = row.pid


def test_the_made_up_tasks_are_all_there_at_first_and_then_those_that_changed() -> None:
    state = RunState()
    for second in range(3):
        fold(state, made_up.tasks_event(64, 2000, second))
        fold(state, made_up.rates_event(64, 2000, second))
        fold(state, made_up.sample_event(64, second))
    assert len(made_up.tasks_event(64, 2000, 0).tasks) == 2000
    assert len(made_up.tasks_event(64, 2000, 1).tasks) == 200
    assert len(state.cpus) == 64
