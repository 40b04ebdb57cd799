"""The panes of a report: a document of lines, and the sortable table of tasks with the details of one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

from ktstr_tui.model.report import CaptureReport, TaskReport
from ktstr_tui.text import words
from ktstr_tui.text.lines import ABSENT, Line, clean, text_of
from ktstr_tui.text.report_lines import task_detail
from ktstr_tui.text.table import Column
from ktstr_tui.tui.pane import LinePane
from ktstr_tui.tui.table_pane import TablePane
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


def _class_role(it: TaskReport) -> str:
    return words.CLASS_ROLES.get(it.sched_class, "")


COLUMNS: tuple[Column[TaskReport], ...] = (
    Column("age", 7, "right", lambda it: -(it.age_ms or 0.0), lambda it: words.milliseconds(it.age_ms)),
    Column(
        "task", 24, "left", lambda it: it.comm, lambda it: words.task(it.comm, it.pid), lambda _: "strong"
    ),
    Column("pid", 6, "right", lambda it: it.pid, lambda it: str(it.pid)),
    Column("S", 2, "left", lambda it: it.state, lambda it: clean(it.state)),
    Column("class", 6, "left", lambda it: it.sched_class, lambda it: clean(it.sched_class), _class_role),
    Column("cpu", 4, "right", lambda it: it.cpu, lambda it: str(it.cpu)),
    Column("allowed", 8, "left", lambda it: it.cpus_allowed, lambda it: clean(it.cpus_allowed)),
    Column(
        "dsq", 10, "left", lambda it: it.dsq or "", lambda it: ABSENT if it.dsq is None else clean(it.dsq)
    ),
    Column("weight", 7, "right", lambda it: it.weight or 0, lambda it: words.number(it.weight)),
    Column("policy", 8, "left", lambda it: it.policy, lambda it: clean(it.policy)),
    Column("nice", 5, "right", lambda it: it.nice, lambda it: str(it.nice)),
    Column("slice", 7, "right", lambda it: it.slice_ns or 0, lambda it: words.slice_left(it.slice_ns)),
    Column("dsq_vtime", 10, "right", lambda it: it.dsq_vtime or 0, lambda it: words.number(it.dsq_vtime)),
)
"""The narrow screen shows the first ones."""


class TasksPane(TablePane[TaskReport], ReportPane):
    """The runnable tasks; sortable by every column, filtered by name, pid or queue."""

    row_word = "task"
    table = COLUMNS
    sort_keys = ("report.sort", "report.reverse")
    opens = True

    def __init__(self, name: str, report: CaptureReport) -> None:
        super().__init__(name, report, "tasks")

    def key(self, view: View) -> Hashable:
        return id(self.report), self.sort_column, self.reverse

    def items(self, view: View) -> Iterable[TaskReport]:
        return self.report.tasks

    def identity(self, item: TaskReport) -> object:
        return item.pid

    def searchable(self, item: TaskReport) -> str:
        return f"{item.comm} {item.pid} {item.dsq or ''} {item.sched_class} {item.policy}"

    def offers(self, view: View) -> dict[str, str]:
        found = super().offers(view)
        return {**found, "row.open": "Follow"} if self.chosen() is not None else found

    def show(self, report: CaptureReport) -> None:
        self._items = []
        super().show(report)

    def caption(self, view: View) -> str:
        parts = [super().caption(view)]
        if "tasks" in self.report.truncated:
            parts.append(f"truncated: {clean(self.report.truncated['tasks'])}")
        return " · ".join(filter(None, parts))

    def line(self, item: TaskReport, shown: Sequence[Column[TaskReport]]) -> Line:
        found = super().line(item, shown)
        if self.report.stalled is not None and item.pid == self.report.stalled.pid and shown[0].name == "age":
            found[0] = (found[0][0], "bad")
        return found


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
