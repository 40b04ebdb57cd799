"""The live list of tasks: the kernel's own list, joined with what its trace says of the last second or so."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from ktstr_tui.model.tasks import TaskLine, TaskList, task_table
from ktstr_tui.model.text import counted
from ktstr_tui.text.lines import ABSENT, Line, clean
from ktstr_tui.text.table import Column
from ktstr_tui.text.task_table import COLUMNS, NAMES, searchable
from ktstr_tui.tui.table_pane import TablePane
from ktstr_tui.tui.view import View


class TasksPane(TablePane[TaskLine]):
    """All tasks; sortable by every column, filtered by name, pid, class, policy, queue and what they do."""

    label = "tasks"
    number = "9"
    row_word = "task"
    opens = True
    table = COLUMNS
    sort_keys = ("tasks.sort", "tasks.reverse")

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.sort_column = NAMES.index("run")

    def key(self, view: View) -> Hashable:
        # The list and the rates come once a second: joined and put in order then, and not at each paint.
        return view.state.task_list, view.state.task_rates

    def items(self, view: View) -> Iterable[TaskLine]:
        return task_table(view.state.task_list or TaskList(), view.state.task_rates)

    def identity(self, item: TaskLine) -> object:
        return item.pid

    def searchable(self, item: TaskLine) -> str:
        return searchable(item)

    def line(self, item: TaskLine, shown: Sequence[Column[TaskLine]]) -> Line:
        return self.tone(super().line(item, shown))

    def offers(self, view: View) -> dict[str, str]:
        found = super().offers(view)
        return {**found, "row.open": "Details"} if self.chosen() is not None else found

    def caption(self, view: View) -> str:
        listed, rates = view.state.task_list, view.state.task_rates
        parts = [super().caption(view)]
        if listed is not None:
            parts.append(
                counted(len(listed.tasks), "task")
                + (f" of {len(listed.tasks) + listed.more}" if listed.more else "")
            )
            parts.append(f"unreadable: {clean(listed.unreadable)}" if listed.unreadable else "")
        if rates is None or rates.unavailable:
            parts.append(f"no rates: {clean(rates.unavailable or ABSENT)}" if rates else "no rates")
        return " · ".join(filter(None, parts))

    def empty(self, view: View) -> str:
        if view.over:
            return "The tasks of this run were not listed."
        return "The kernel's list of tasks appears about a second after the guest is up."
