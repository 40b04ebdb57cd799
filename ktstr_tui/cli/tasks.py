"""``tasks``: which tasks run, wait and move, and how much, in the last second or so."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from ktstr_tui.cli.attach import find_run
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.rates import TaskRates
from ktstr_tui.text.output import print_json, print_line
from ktstr_tui.text.task_lines import COLUMNS, TaskColumn, sorted_tasks, task_lines


def tasks_command(run_name: str | None, sort: str, as_json: bool) -> None:
    """Print the tasks of a run.

    Raises:
        UsageError: There is no such column.
        KtstrError: There is no such run, or it does not answer.
    """
    from ktstr_tui.link.viewer import Viewer

    async def ask(place: Path) -> TaskRates | None:
        async with Viewer(place) as viewer:
            await viewer.connect()
            return viewer.state.task_rates

    column: TaskColumn | None = next((it for it in COLUMNS if it == sort), None)
    if column is None:
        raise UsageError(f"there is no column {sort!r}", f"columns are {', '.join(COLUMNS)}")
    rates = asyncio.run(ask(find_run(run_name)))
    if as_json:
        found = rates or TaskRates(unavailable="the kernel's trace is not read, or not yet")
        print_json(
            msgspec.to_builtins(msgspec.structs.replace(found, tasks=tuple(sorted_tasks(found, column))))
        )
        return
    for line in task_lines(rates, column):
        print_line(line)
