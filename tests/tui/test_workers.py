"""The scheduler panel lists the scenario's workers, whether or not a scheduler is loaded."""

from __future__ import annotations

from ktstr_tui.model.facts import WorkerProgress
from ktstr_tui.model.sample import SchedulerSample
from ktstr_tui.model.state import RunState
from ktstr_tui.tui.scheduler import scheduler_lines


def test_workers_are_listed_with_rate_and_total() -> None:
    for name in ("fifo", None):
        state = RunState(
            scheduler=SchedulerSample(name=name),
            workers=(WorkerProgress(41, "spin-0", 12345), WorkerProgress(42, "a-very-long-name", 7)),
            worker_rates={41: 250.4},
        )
        rows = ["".join(text for text, _role in line) for line in scheduler_lines(state, 30)]
        (first,) = (row for row in rows if "spin-0" in row)
        assert first.split() == ["spin-0[41]", "250", "12345"]
        (second,) = (row for row in rows if row.startswith("a-very"))
        assert second.split()[-2:] == ["–", "7"]
        assert {len(first), len(second)} == {30}
