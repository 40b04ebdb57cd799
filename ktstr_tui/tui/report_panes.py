"""The panes of a report: a document of lines, and the sortable table of tasks with the details of one."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from textual.message import Message

from ktstr_tui.model.report import CaptureReport, TaskReport
from ktstr_tui.text import words
from ktstr_tui.text.lines import ABSENT, Align, Line, clean, columns, text_of
from ktstr_tui.text.report_lines import task_detail
from ktstr_tui.tui.pane import LinePane
from ktstr_tui.tui.view import View

Compose = Callable[[CaptureReport, int], list[Line]]


class ReportPane(LinePane):
    """A section of a report.

    Args:
        section: The report's name of the section, under which it may be noted as unavailable.
    """

    def __init__(self, name: str, report: CaptureReport, section: str) -> None:
        super().__init__(name)
        self.report = report
        self.section = section

    def key(self, view: View) -> Hashable:
        return id(self.report)

    def show(self, report: CaptureReport) -> None:
        """Show another report."""
        self.report = report
        self.cursor = 0
        self.scroll_to(y=0, animate=False)
        if self._view is not None:
            self.sync(self._view, force=True)

    def empty(self, view: View) -> str:
        reason = self.report.unavailable.get(self.section)
        return f"Unavailable: {clean(reason)}" if reason else "None at the time of the capture."


class DocumentPane(ReportPane):
    """A section that is just read; a filter leaves the lines that contain its text.

    Args:
        compose: Makes the lines of a report for a width.
        at_end: Whether the section opens at its last line, as a log does.
    """

    row_word = "line"

    def __init__(
        self, name: str, report: CaptureReport, section: str, compose: Compose, *, at_end: bool = False
    ) -> None:
        super().__init__(name, report=report, section=section)
        self._compose_section = compose
        self._at_end = at_end
        self._opened: CaptureReport | None = None
        self._lines: list[Line] = []

    def load(self, view: View, width: int) -> int:
        lines = self._compose_section(self.report, max(20, width))
        self._lines = [it for it in lines if self.keeps(text_of(it))]
        return len(self._lines)

    def after_load(self, rows_before: int) -> None:
        if self._at_end and self._opened is not self.report:
            self._opened = self.report
            self.call_after_refresh(self.move_to, self.rows - 1)

    def row(self, index: int, width: int) -> Line:
        return self._lines[index]


class OverviewPane(DocumentPane):
    """The first section, which grows when the capture is saved together with its early one."""

    def key(self, view: View) -> Hashable:
        entry = view.entry(self.report)
        return (super().key(view), entry.dual_path if entry else "")


_Column = tuple[str, int, Align, Callable[[TaskReport], Any], Callable[[TaskReport], str]]

COLUMNS: tuple[_Column, ...] = (
    ("age", 7, "right", lambda it: -(it.age_ms or 0.0), lambda it: words.milliseconds(it.age_ms)),
    ("task", 24, "left", lambda it: it.comm, lambda it: words.task(it.comm, it.pid)),
    ("pid", 6, "right", lambda it: it.pid, lambda it: str(it.pid)),
    ("S", 2, "left", lambda it: it.state, lambda it: clean(it.state)),
    ("class", 6, "left", lambda it: it.sched_class, lambda it: clean(it.sched_class)),
    ("cpu", 4, "right", lambda it: it.cpu, lambda it: str(it.cpu)),
    ("allowed", 8, "left", lambda it: it.cpus_allowed, lambda it: clean(it.cpus_allowed)),
    ("dsq", 10, "left", lambda it: it.dsq or "", lambda it: ABSENT if it.dsq is None else clean(it.dsq)),
    ("weight", 7, "right", lambda it: it.weight or 0, lambda it: words.number(it.weight)),
    ("policy", 8, "left", lambda it: it.policy, lambda it: clean(it.policy)),
    ("nice", 5, "right", lambda it: it.nice, lambda it: str(it.nice)),
    (
        "slice",
        7,
        "right",
        lambda it: it.slice_ns or 0,
        lambda it: words.slice_left(it.slice_ns),
    ),
    ("dsq_vtime", 10, "right", lambda it: it.dsq_vtime or 0, lambda it: words.number(it.dsq_vtime)),
)
"""Heading, width, alignment, sort key and text of each column; the narrow screen shows the first ones."""


_PID = next(index for index, column in enumerate(COLUMNS) if column[0] == "pid")


class TasksPane(ReportPane):
    """The runnable tasks; sortable by every column, filtered by name, pid or queue."""

    row_word = "task"

    class Moved(Message):
        """Another task is under the cursor."""

    def __init__(self, name: str, report: CaptureReport) -> None:
        super().__init__(name, report=report, section="tasks")
        self.sort_column = 0
        self.reverse = False
        self._tasks: list[TaskReport] = []

    def key(self, view: View) -> Hashable:
        return id(self.report), self.sort_column, self.reverse

    def load(self, view: View, width: int) -> int:
        kept = [it for it in self.report.tasks if self.keeps(_searchable(it))]
        self._tasks = sorted(kept, key=COLUMNS[self.sort_column][3], reverse=self.reverse)
        return len(self._tasks)

    def caption(self, view: View) -> str:
        parts = []
        name = COLUMNS[self.sort_column][0]
        if name != "pid" and name not in [it[0] for it in self._columns(self._width())]:
            parts.append(f"sorted by {name} {'▲' if self.reverse else '▼'}")
        if "tasks" in self.report.truncated:
            parts.append(f"truncated: {clean(self.report.truncated['tasks'])}")
        return " · ".join(parts)

    def kept(self) -> str:
        return f"{len(self._tasks)} of {len(self.report.tasks)}"

    def offers(self, view: View) -> dict[str, str]:
        found = super().offers(view)
        if not self.report.tasks:
            return found
        return {**found, "report.sort": "Sort", "report.reverse": "Reverse"}

    def chosen(self) -> TaskReport | None:
        """The task under the cursor."""
        return self._tasks[self.cursor] if self.cursor < len(self._tasks) else None

    def _columns(self, width: int) -> list[_Column]:
        shown: list[_Column] = []
        used = 0
        for column in COLUMNS:
            if column[0] == "pid":
                continue
            used += column[1] + 1
            if width and used > width + 1:
                break
            shown.append(column)
        return shown

    def heading(self, width: int) -> Line | None:
        if not self._tasks:
            return None
        sorted_by = COLUMNS[self.sort_column][0]
        mark = "▲" if self.reverse else "▼"
        cells: list[tuple[str, str, int, Align]] = []
        for name, span, align, _key, _text in self._columns(width):
            if name == "task" and sorted_by == "pid":
                cells.append((f"task, by pid{mark}", "key", span, align))
            elif name == sorted_by:
                cells.append((f"{name}{mark}", "key", span, align))
            else:
                cells.append((name, "head", span, align))
        return columns(cells)

    def row(self, index: int, width: int) -> Line:
        task = self._tasks[index]
        first = self.report.stalled is not None and task.pid == self.report.stalled.pid
        return columns(
            (text(task), self._role(name, task, first), span, align)
            for name, span, align, _key, text in self._columns(width)
        )

    def _role(self, name: str, task: TaskReport, stalled: bool) -> str:
        if name == "class":
            return words.CLASS_ROLES.get(task.sched_class, "")
        if name == "age":
            return "bad" if stalled else ""
        return "strong" if name == "task" else ""

    def sort_next(self) -> None:
        """Sort by the next column that is shown, or by pid, which the task column shows; then by the first again."""
        shown = [COLUMNS.index(it) for it in self._columns(self._width())]
        after = sorted(index for index in (*shown, _PID) if index > self.sort_column)
        self.sort_column = after[0] if after else 0
        self._resort()

    def flip(self) -> None:
        """Reverse the order."""
        self.reverse = not self.reverse
        self._resort()

    def heading_clicked(self, x: int) -> None:
        for column in self._columns(self.size.width):
            if x <= column[1]:
                index = COLUMNS.index(column)
                self.reverse = not self.reverse if index == self.sort_column else False
                self.sort_column = index
                self._resort()
                return
            x -= column[1] + 1

    def _resort(self) -> None:
        kept = self.chosen()
        if self._view is None:
            return
        self.sync(self._view)
        pids = [it.pid for it in self._tasks]
        self.move_to(pids.index(kept.pid) if kept is not None and kept.pid in pids else 0)

    def move_to(self, index: int) -> None:
        super().move_to(index)
        self.post_message(self.Moved())

    def after_load(self, rows_before: int) -> None:
        self.post_message(self.Moved())


def _searchable(task: TaskReport) -> str:
    return f"{task.comm} {task.pid} {task.dsq or ''} {task.sched_class} {task.policy}"


class TaskDetail(ReportPane):
    """Everything that the report says of the task under the cursor."""

    def __init__(self, name: str, report: CaptureReport) -> None:
        super().__init__(name, report=report, section="tasks")
        self.chosen: TaskReport | None = None
        self._lines: list[Line] = []

    def key(self, view: View) -> Hashable:
        return id(self.report), self.chosen.pid if self.chosen else None

    def load(self, view: View, width: int) -> int:
        self._lines = task_detail(self.chosen, max(20, width)) if self.chosen else []
        return len(self._lines)

    def row(self, index: int, width: int) -> Line:
        return self._lines[index]
