"""How tasks fare at the moment, as lines."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

from ktstr_tui.model.rates import CpuRate, TaskRate, TaskRates
from ktstr_tui.model.text import counted
from ktstr_tui.text import words
from ktstr_tui.text.plain import ABSENT, clean

TaskColumn: TypeAlias = Literal[
    "run", "wait", "p99", "max", "switches", "preempted", "wakeups", "migrations", "pid", "task", "cpu"
]
COLUMNS: Final[tuple[TaskColumn, ...]] = get_args(TaskColumn)


def sorted_tasks(rates: TaskRates, column: TaskColumn) -> list[TaskRate]:
    """Return the tasks in the order of a column: numbers from the largest, names and places from the first."""

    def key(it: TaskRate) -> tuple[float, str]:
        number: dict[TaskColumn, float] = {
            "run": -it.run_share, "wait": -(it.waiting_ms or 0.0), "p99": -(it.waits.p99_ms or 0.0),
            "max": -(it.waits.max_ms or 0.0), "switches": -it.switches, "preempted": -it.preempted,
            "wakeups": -it.wakeups, "migrations": -it.migrations, "pid": it.pid, "cpu": it.cpu, "task": 0,
        }  # fmt: skip
        return number[column], it.comm if column == "task" else ""

    return sorted(rates.tasks, key=key)


def task_lines(rates: TaskRates | None, column: TaskColumn = "run") -> list[str]:
    """The tasks of the last second or so, a line for each, and the CPUs."""
    if rates is None:
        return ["no rates: the kernel's trace is not read, or not yet"]
    if rates.unavailable is not None:
        return [f"no rates: {clean(rates.unavailable)}"]
    per_s = 1e3 / rates.span_ms if rates.span_ms else 0.0
    head = f"{'task':24} {'cpu':>3} {'':6} {'run':>6} {'switch/s':>8} {'preempt/s':>9} {'wake/s':>7} {'migr/s':>6}"
    lines = [f"{head} {'wait p50':>9} {'p99':>9} {'max':>9} {'waits now':>10}"]
    lines += [_task(it, per_s) for it in sorted_tasks(rates, column)]
    if rates.more_tasks:
        lines.append(f"… {counted(rates.more_tasks, 'other task')}")
    lines += [_cpu(it, per_s) for it in rates.cpus]
    lines.append(_kicks(rates, per_s))
    lines.append(
        f"{rates.events} events in {rates.span_ms / 1e3:.1f} s of guest time, read in {rates.read_us / 1e3:.1f} ms"
    )
    return lines


def _kicks(rates: TaskRates, per_s: float) -> str:
    if rates.kicks is None:
        return "kicks of CPUs are not recorded; run --trace scx records them"
    return f"{rates.kicks * per_s:.0f} kicks of CPUs a second"


def _task(it: TaskRate, per_s: float) -> str:
    rank = " rt" if it.prio is not None and it.prio < 100 else ""
    return (
        f"{clean(words.task(it.comm, it.pid)):24} {it.cpu:3} {it.doing:6} {it.run_share:6.1%} "
        f"{it.switches * per_s:8.0f} {it.preempted * per_s:9.0f} "
        f"{it.wakeups * per_s:7.0f} {it.migrations * per_s:6.0f} {_ms(it.waits.p50_ms):>9} {_ms(it.waits.p99_ms):>9} "
        f"{_ms(it.waits.max_ms):>9} {_ms(it.waiting_ms):>10}{rank}"
    )


def _cpu(it: CpuRate, per_s: float) -> str:
    if it.unreadable is not None:
        return f"cpu {it.cpu:<3} unreadable: {clean(it.unreadable)}"
    busy = ABSENT if it.busy_share is None else f"{it.busy_share:.1%}"
    lost = f", {counted(it.lost, 'event')} lost" if it.lost else ""
    switches = f"{it.switches * per_s:.0f} switches/s, {it.preempted * per_s:.0f} of them preemptions"
    return f"cpu {it.cpu:<3} busy {busy}, {switches}{lost}"


def _ms(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.2f} ms" if value < 100 else f"{value:.0f} ms"
