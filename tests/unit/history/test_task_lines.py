"""The list of tasks: columns, order, filters, and the same as an object."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ktstr_tui.model.rates import CpuRate, TaskRate, TaskRates, Waits
from ktstr_tui.model.tasks import ListedTask, TaskList
from ktstr_tui.text.task_lines import chosen_tasks, task_json, task_lines
from ktstr_tui.text.task_table import NAMES

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
LISTED = TaskList(
    tasks={
        5: ListedTask(
            pid=5, comm="agent", tgid=5, state="R", sched_class="rt", policy="FIFO", allowed="0-1", is_waiting=True,
            dsq=None, age_ms=12.0,
        ),
        9: ListedTask(
            pid=9, comm="idler", tgid=9, state="S", sched_class="ext", policy="NORMAL", nice=5, cpu=1, allowed="1",
        ),
        11: ListedTask(
            pid=11, comm="queued", tgid=9, state="R", sched_class="ext", policy="NORMAL", cpu=1, allowed="0",
            is_waiting=True, dsq="0x7", age_ms=2000.0,
        ),
    },
    more=3,
)  # fmt: skip


def test_the_list_of_the_kernel_and_the_rates_are_one_row() -> None:
    lines = task_lines(LISTED, RATES)
    assert lines[0].split()[:6] == ["task", "cpu", "S", "class", "run▼", "age"]
    assert [line.split()[0] for line in lines[1:5]] == ["spin[7]", "agent[5]", "idler[9]", "queued[11]"]
    agent, queued = lines[2].split(), lines[4].split()
    assert agent[1:9] == ["0", "R", "rt", "25.0%", "12", "ms", "–", "0-1"]
    assert agent[9:] == ["FIFO", "1.2", "ms", "150", "ms", "500", "µs", "12", "ms", "8", "0", "0", "6", "0"]
    assert queued[1:9] == ["1", "R", "ext", "–", "2.0", "s", "0x7", "0"]
    assert lines[5:] == [
        "… 3 other tasks",
        "… no rates of 1 other task",
        "cpu 0   busy 75.0%, 14 switches/s, 3 of them preemptions, 3 events lost",
        "cpu 1   unreadable: torn: x",
        "kicks of CPUs are not recorded; run --trace scx records them",
        "42 events in 2.0 s of guest time, read in 1.5 ms",
    ]


FIRST = {
    "task": 5, "pid": 5, "cpu": 5, "S": 5, "class": 9, "run": 7, "age": 11, "dsq": 11, "allowed": 11, "policy": 5,
    "p99": 5, "max": 5, "p50": 5, "wait": 5, "switches": 7, "preempted": 7, "wakeups": 7, "migrations": 5, "nice": 5,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_column_sorts_both_ways_and_what_is_absent_comes_last(name: str) -> None:
    rows = chosen_tasks(LISTED, RATES, name)
    assert rows[0].pid == FIRST[name]
    other = chosen_tasks(LISTED, RATES, name, reverse=True)
    assert {it.pid for it in rows} == {it.pid for it in other} == {5, 7, 9, 11}
    if name in ("age", "dsq"):
        assert {it.pid for it in rows[-2:]} == {it.pid for it in other[-2:]}


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        ("", {5, 7, 9, 11}), ("ext", {9, 11}), ("!ext", {5, 7}), ("^(spin|agent)", {5, 7}), ("0x7", {11}),
        ("waits", {5, 11}), ("!", {5, 7, 9, 11}), ("[", set()), ("FIFO|NORMAL", {5, 9, 11}),
    ],
)  # fmt: skip
def test_a_filter_is_a_regular_expression_or_all_that_it_does_not_match(wanted: str, left: set[int]) -> None:
    assert {it.pid for it in chosen_tasks(LISTED, RATES, "pid", wanted=wanted)} == left


def test_the_object_has_every_name_for_every_task() -> None:
    found = task_json(LISTED, RATES, chosen_tasks(LISTED, RATES, "pid"))
    assert found["more_listed"] == 3
    assert found["list_unreadable"] is None
    assert len({frozenset(it) for it in found["tasks"]}) == 1
    by_pid = {it["pid"]: it for it in found["tasks"]}
    assert (by_pid[5]["policy"], by_pid[5]["run_share"], by_pid[5]["age_ms"]) == ("FIFO", 0.25, 12.0)
    assert (by_pid[7]["policy"], by_pid[9]["run_share"]) == (None, None)


def test_kicks_are_told_where_they_are_recorded() -> None:
    assert task_lines(LISTED, replace(RATES, kicks=84))[-2] == "42 kicks of CPUs a second"


def test_what_is_missing_has_a_reason() -> None:
    assert task_lines(None, None) == [
        "no list: the kernel's list of tasks is not read, or not yet",
        "no rates: the kernel's trace is not read, or not yet",
    ]
    assert task_lines(TaskList(unreadable="torn: y"), TaskRates(unavailable="no trace")) == [
        "the list is of an earlier time: torn: y",
        "no rates: no trace",
    ]
