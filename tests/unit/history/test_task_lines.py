"""The list of tasks as lines."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ktstr_tui.model.rates import CpuRate, TaskRate, TaskRates, Waits
from ktstr_tui.text.task_lines import COLUMNS, TaskColumn, sorted_tasks, task_lines

RATES = TaskRates(
    span_ms=2000.0,
    events=42,
    tasks=(
        TaskRate(pid=7, comm="spin", cpu=1, doing="runs", prio=120, run_share=0.5, switches=20, preempted=6, wakeups=4),
        TaskRate(
            pid=5, comm="agent", cpu=0, doing="waits", prio=10, run_share=0.25, switches=8, migrations=6,
            waits=Waits(count=3, p50_ms=0.5, p99_ms=1.25, max_ms=150.0), waiting_ms=12.0,
        ),
    ),
    more_tasks=1,
    cpus=(CpuRate(cpu=0, busy_share=0.75, switches=28, preempted=6, lost=3), CpuRate(cpu=1, unreadable="torn: x")),
    read_us=1500.0,
)  # fmt: skip


def test_rates_are_per_second_and_losses_are_named() -> None:
    lines = task_lines(RATES)
    assert lines[1].split() == ["spin[7]", "1", "runs", "50.0%", "10", "3", "2", "0", "–", "–", "–", "–"]
    assert lines[2].split() == (
        [
            "agent[5]",
            "0",
            "waits",
            "25.0%",
            "4",
            "0",
            "0",
            "3",
            "0.50",
            "ms",
            "1.25",
            "ms",
            "150",
            "ms",
            "12.00",
            "ms",
            "rt",
        ]
    )
    assert lines[3:] == [
        "… 1 other task",
        "cpu 0   busy 75.0%, 14 switches/s, 3 of them preemptions, 3 events lost",
        "cpu 1   unreadable: torn: x",
        "kicks of CPUs are not recorded; run --trace scx records them",
        "42 events in 2.0 s of guest time, read in 1.5 ms",
    ]


@pytest.mark.parametrize("column", COLUMNS)
def test_every_column_sorts(column: TaskColumn) -> None:
    first = sorted_tasks(RATES, column)[0].pid
    assert first == (7 if column in ("run", "switches", "preempted", "wakeups") else 5)


def test_kicks_are_told_where_they_are_recorded() -> None:
    assert task_lines(replace(RATES, kicks=84))[-2] == "42 kicks of CPUs a second"


def test_what_is_missing_has_a_reason() -> None:
    assert task_lines(None) == ["no rates: the kernel's trace is not read, or not yet"]
    assert task_lines(TaskRates(unavailable="no trace")) == ["no rates: no trace"]
