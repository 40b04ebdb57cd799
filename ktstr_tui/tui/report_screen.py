"""The report screen: one capture, the stalled task on top."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.widgets import ContentSwitcher

from ktstr_tui.model.report import CaptureReport, kind_word, of_ejection
from ktstr_tui.model.state import CaptureState
from ktstr_tui.text import report_diff, report_files, report_lines, words
from ktstr_tui.text.cause import headline
from ktstr_tui.text.drill import Place
from ktstr_tui.text.history_lines import history_lines
from ktstr_tui.text.lines import Line, clean, cut, spread, width_of, wrap
from ktstr_tui.tui.actions import bindings
from ktstr_tui.tui.bars import TabBar, badges
from ktstr_tui.tui.drill_window import DrillWindow
from ktstr_tui.tui.key_bar import KeyBar
from ktstr_tui.tui.maps_pane import MapsPane
from ktstr_tui.tui.memory_shown import prompt_offers
from ktstr_tui.tui.pane import LineBar, LinePane
from ktstr_tui.tui.report_panes import DocumentPane, OverviewPane, ReportPane, TaskDetail, TasksPane
from ktstr_tui.tui.run_screen import RunScreen, TooSmall
from ktstr_tui.tui.view import View

Section: TypeAlias = Literal[
    "overview", "tasks", "vcpus", "runqueues", "dsqs", "maps", "dmesg", "changes", "history"
]
SECTIONS: tuple[tuple[Section, str, str], ...] = (
    ("overview", "1", "overview"), ("tasks", "2", "tasks"), ("vcpus", "3", "vCPUs"), ("runqueues", "4", "runqueues"),
    ("dsqs", "5", "DSQs"), ("maps", "6", "maps"), ("dmesg", "7", "dmesg"), ("changes", "8", "changes"),
    ("history", "9", "before"),
)  # fmt: skip


class ReportBar(LineBar):
    """Which capture this is, and what is stuck."""

    def __init__(self, name: str, capture: CaptureState) -> None:
        super().__init__(name)
        self.capture = capture

    def lines(self, view: View, width: int) -> list[Line]:
        report = self.capture.report
        error = of_ejection(report)
        bad = error or report.is_placeholder
        kind = kind_word(report) if report.exit_kind else clean(report.trigger).upper()
        tags = [it.report.tag for it in view.state.captures]
        place = f"{tags.index(report.tag) + 1} of {len(tags)}" if report.tag in tags else "no longer listed"
        left: Line = [(f" {'■' if bad else '●'} {kind} ", "badge-bad" if bad else "badge-info")]
        left += [(f" {clean(report.tag)}", "strong")]
        left += [(f"  step {clean(report.step)}", "") if report.step else ("", "")]
        right: Line = [*badges(view), ("[ ]", "key"), (f" capture {place} ", "dim")]
        room = width - width_of(left) - width_of(right) - 3
        kernel = f"  {clean(report.kernel)}  {words.pause_parts(report.pause)}"
        left.append((cut(kernel, room), "dim"))
        lines = [spread(left, right, width)]
        sentence = headline(report)
        lines += [[(f" {part}", "strong")] for part in wrap(sentence, width - 2, most=4)]
        missing = report_lines.notes(report)
        if missing and not report.is_placeholder:
            lines.append(_missing(missing, width))
        return lines


def _missing(notes: list[tuple[str, str, str]], width: int) -> Line:
    line: Line = []
    room = width - 1
    for kind, section, _reason in notes:
        if kind != report_lines.LATE:
            text = cut(f" ▲ {kind} {section}", room)
            line.append((text, report_lines.note_role(kind)))
            room -= len(text)
    late = [
        section.rpartition(".")[2].removesuffix("_tail")
        for kind, section, _ in notes
        if kind == report_lines.LATE
    ]
    if late:
        verb = "was" if len(late) == 1 else "were"
        text = f" · {' and '.join(late)} {verb} read after the guest resumed"
        line.append((cut(text, max(0, room)), "dim"))
    return line


class ReportScreen(RunScreen):
    """A capture opened.

    Args:
        view: Where the list of captures is.
        capture: The one to show.
        section: The section to begin with.
    """

    place = "report"
    BINDINGS: ClassVar[list[BindingType]] = bindings("report")

    def __init__(self, view: View, capture: CaptureState, *, section: Section = "overview") -> None:
        super().__init__(view)
        self.capture = capture
        self._first = section

    def compose(self) -> ComposeResult:
        report = self.capture.report
        yield ReportBar("report-bar", capture=self.capture)
        yield TabBar("sections")
        documents = (
            ("vcpus", "vcpus", report_lines.vcpus), ("runqueues", "runqueues", report_lines.runqueues),
            ("dsqs", "dsqs", report_lines.dsqs), ("dmesg", "dmesg_tail", report_lines.dmesg),
            ("history", "history", history_lines),
        )  # fmt: skip
        with ContentSwitcher(initial="overview", id="report"):
            yield OverviewPane("overview", report=report, section="tasks", compose=self._overview)
            with Vertical(id="tasks"):
                yield TasksPane("task-table", report=report)
                yield TaskDetail("task-detail", report=report)
            for name, section, compose in documents:
                at_end = name == "dmesg"
                yield DocumentPane(name, report=report, section=section, compose=compose, at_end=at_end)
            yield MapsPane("maps", report=report)
            yield DocumentPane("changes", report=report, section="", compose=self._changes)
        yield KeyBar()
        yield TooSmall()

    def on_mount(self) -> None:
        self.query_one("#sections", TabBar).tabs = list(SECTIONS)
        self.query_one("#task-detail", LinePane).border_title = "the task under the cursor"
        self.action_section(self._first)

    def on_resize(self, event: events.Resize) -> None:
        self.call_after_refresh(self.sync)

    def _overview(self, report: CaptureReport, width: int) -> list[Line]:
        capture = self.view.entry(report) or self.capture
        lines: list[Line] = []
        if capture.degraded is not None:
            lines = [[("degraded", "head")], *report_files.degraded_lines(capture.degraded, width), []]
        return [*lines, *report_lines.overview(report, width), *report_files.saved_lines(capture, width)]

    def _changes(self, report: CaptureReport, width: int) -> list[Line]:
        return report_diff.changes(report, [it.report for it in self.view.state.captures], width)

    def sync(self) -> None:
        """Paint what is visible and has changed."""
        for bar in self.query(LineBar):
            bar.sync(self.view)
        for pane in self.query(LinePane):
            if pane.is_on_screen:
                pane.sync(self.view)
        self.sync_footer()

    def offers(self) -> dict[str, str]:
        return {**super().offers(), **prompt_offers(self.view, self.capture), "capture.export": "Export"}

    def show(self, capture: CaptureState) -> None:
        """Show another capture in the same section."""
        self.capture = capture
        self.query_one(ReportBar).capture = capture
        for pane in self.query(ReportPane):
            pane.show(capture.report)
        self.sync()

    def action_section(self, name: str) -> None:
        self.query_one(ContentSwitcher).current = name
        self.query_one("#sections", TabBar).choose(name)
        self.set_focus(self.query_one("#task-table" if name == "tasks" else f"#{name}", LinePane))
        self.call_after_refresh(self.sync)

    def action_next_section(self, step: int) -> None:
        """Go to the next or previous section, around the end; in that of the tasks, to its other half first."""
        stops: list[str] = [name for name, _key, _label in SECTIONS]
        stops[stops.index("tasks") : stops.index("tasks") + 1] = ["task-table", "task-detail"]
        here = stops.index(self.focused.id or "") if isinstance(self.focused, LinePane) else -step
        name = stops[(here + step) % len(stops)]
        self.action_section("tasks" if name.startswith("task-") else name)
        self.set_focus(self.query_one(f"#{name}", LinePane))

    def action_close(self) -> None:
        self.dismiss(None)

    def action_sort(self) -> None:
        self.action_section("tasks")
        self.tasks.sort_next()

    def action_reverse(self) -> None:
        self.action_section("tasks")
        self.tasks.flip()

    def filter_target(self) -> LinePane:
        """The pane that a filter applies to: that of the shown tab."""
        name = self.query_one(ContentSwitcher).current
        return self.query_one("#task-table" if name == "tasks" else f"#{name}", LinePane)

    @property
    def tasks(self) -> TasksPane:
        """The table of tasks."""
        return self.query_one(TasksPane)

    @on(TabBar.Chosen)
    def _section_clicked(self, event: TabBar.Chosen) -> None:
        self.action_section(event.pane)

    @on(LinePane.RowOpened, "#task-table")
    def _task_opened(self) -> None:
        task = self.tasks.chosen()
        if task is not None:
            self.app.push_screen(DrillWindow(self.view, Place("task", task.pid), self.capture.report))

    @on(TasksPane.Moved)
    def _task_moved(self) -> None:
        detail = self.query_one(TaskDetail)
        detail.chosen = self.tasks.chosen()
        detail.sync(self.view)
