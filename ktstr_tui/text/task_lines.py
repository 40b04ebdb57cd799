"""The list of tasks as lines, and as the object that programs read."""

from __future__ import annotations

from typing import Any

import msgspec

from ktstr_tui.model.rates import CpuRate, TaskRate, TaskRates
from ktstr_tui.model.tasks import ListedTask, TaskLine, TaskList, task_table
from ktstr_tui.model.text import counted
from ktstr_tui.text.filters import keeps
from ktstr_tui.text.lines import text_of
from ktstr_tui.text.plain import ABSENT, clean
from ktstr_tui.text.table import fitting, heading, ordered, row_line
from ktstr_tui.text.task_table import COLUMNS, column, searchable

NOT_READ = "the kernel's trace is not read, or not yet"


def chosen_tasks(
    listed: TaskList | None, rates: TaskRates | None, sort: str, *, wanted: str = "", reverse: bool = False
) -> list[TaskLine]:
    """Return the tasks that a filter lets through, in the order of a column.

    Raises:
        KeyError: There is no such column.
    """
    table = task_table(listed or TaskList(), rates)
    return ordered((it for it in table if keeps(wanted, searchable(it))), column(sort), reverse=reverse)


def task_lines(
    listed: TaskList | None,
    rates: TaskRates | None,
    sort: str = "run",
    *,
    wanted: str = "",
    reverse: bool = False,
) -> list[str]:
    """The tasks, a line for each, and the CPUs."""
    lines: list[str] = []
    tasks = chosen_tasks(listed, rates, sort, wanted=wanted, reverse=reverse)
    shown = fitting(COLUMNS, 0)
    if tasks:
        lines.append(text_of(heading(shown, sort, reverse=reverse)))
        lines += [text_of(row_line(shown, it)) for it in tasks]
    if listed is None:
        lines.append("no list: the kernel's list of tasks is not read, or not yet")
    elif listed.unreadable is not None:
        lines.append(f"the list is of an earlier time: {clean(listed.unreadable)}")
    if listed is not None and listed.more:
        lines.append(f"… {counted(listed.more, 'other task')}")
    if rates is None or rates.unavailable is not None:
        return [*lines, f"no rates: {NOT_READ if rates is None else clean(rates.unavailable or '')}"]
    if rates.more_tasks:
        lines.append(f"… no rates of {counted(rates.more_tasks, 'other task')}")
    per_s = 1e3 / rates.span_ms if rates.span_ms else 0.0
    lines += [_cpu(it, per_s) for it in rates.cpus]
    lines.append(_kicks(rates, per_s))
    lines.append(
        f"{counted(rates.events, 'event')} in {rates.span_ms / 1e3:.1f} s of guest time, "
        f"read in {rates.read_us / 1e3:.1f} ms"
    )
    return lines


def _kicks(rates: TaskRates, per_s: float) -> str:
    if rates.kicks is None:
        return "kicks of CPUs are not recorded; run --trace scx records them"
    return f"{rates.kicks * per_s:.0f} kicks of CPUs a second"


def task_json(listed: TaskList | None, rates: TaskRates | None, tasks: list[TaskLine]) -> dict[str, Any]:
    """The same as an object: that of the rates, each task with what the kernel's list says of it."""
    found: dict[str, Any] = msgspec.to_builtins(rates or TaskRates(unavailable=NOT_READ))
    found["tasks"] = [_task(it) for it in tasks]
    found["more_listed"] = None if listed is None else listed.more
    found["list_unreadable"] = "the kernel's list of tasks is not read, or not yet"
    if listed is not None:
        found["list_unreadable"] = listed.unreadable
    return found


def _task(it: TaskLine) -> dict[str, Any]:
    """What is unknown is None; a name that both know, such as the CPU, is from the list."""
    both: dict[str, Any] = dict.fromkeys((*ListedTask.__struct_fields__, *TaskRate.__struct_fields__))
    for one in (it.rate, it.listed):
        if one is not None:
            both.update({name: msgspec.to_builtins(getattr(one, name)) for name in one.__struct_fields__})
    return both


def _cpu(it: CpuRate, per_s: float) -> str:
    if it.unreadable is not None:
        return f"cpu {it.cpu:<3} unreadable: {clean(it.unreadable)}"
    busy = ABSENT if it.busy_share is None else f"{it.busy_share:.1%}"
    lost = f", {counted(it.lost, 'event')} lost" if it.lost else ""
    switches = f"{it.switches * per_s:.0f} switches/s, {it.preempted * per_s:.0f} of them preemptions"
    return f"cpu {it.cpu:<3} busy {busy}, {switches}{lost}"
