"""``tasks``: the kernel's list of tasks, and how they fared in the last second or so."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ktstr_tui.cli.attach import find_run
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.rates import TaskRates
from ktstr_tui.model.tasks import TaskList
from ktstr_tui.text.output import print_json, print_line
from ktstr_tui.text.task_lines import chosen_tasks, task_json, task_lines
from ktstr_tui.text.task_table import NAMES


def tasks_command(run_name: str | None, sort: str, wanted: str, reverse: bool, as_json: bool) -> None:
    """Print the tasks of a run.

    Raises:
        UsageError: There is no such column.
        KtstrError: There is no such run, or it does not answer.
    """
    from ktstr_tui.link.viewer import Viewer

    async def ask(place: Path) -> tuple[TaskList | None, TaskRates | None]:
        async with Viewer(place) as viewer:
            await viewer.connect()
            return viewer.state.task_list, viewer.state.task_rates

    if sort not in NAMES:
        raise UsageError(f"there is no column {sort!r}", f"columns are {', '.join(NAMES)}")
    listed, rates = asyncio.run(ask(find_run(run_name)))
    if as_json:
        print_json(
            task_json(listed, rates, chosen_tasks(listed, rates, sort, wanted=wanted, reverse=reverse))
        )
        return
    for line in task_lines(listed, rates, sort, wanted=wanted, reverse=reverse):
        print_line(line)
