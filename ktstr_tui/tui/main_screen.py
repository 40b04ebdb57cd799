"""The main screen: all panes, arranged by the size of the terminal.

Three arrangements share one set of widgets. *Compact* (below 100x30) shows header, verdict, vCPUs, the
scheduler's deadline and one pane at a time behind tabs. *Normal* shows everything, log, output and tasks sharing
a place. *Wide* (from 170x45) shows log and output side by side, or the tasks.
"""

from __future__ import annotations

from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical

from ktstr_tui.text.drill import Place
from ktstr_tui.tui.actions import bindings
from ktstr_tui.tui.bars import BriefBar, HeaderBar, TabBar, VerdictBar
from ktstr_tui.tui.beats import BeatsPane
from ktstr_tui.tui.cpus import CpuPane
from ktstr_tui.tui.drill_window import DrillWindow
from ktstr_tui.tui.key_bar import COMPACT_WIDTH, KeyBar
from ktstr_tui.tui.lists import CapturesPane, WirePane
from ktstr_tui.tui.logs import LogPane, OutputPane
from ktstr_tui.tui.pane import LineBar, LinePane
from ktstr_tui.tui.report_screen import ReportScreen
from ktstr_tui.tui.run_screen import RunScreen, TooSmall
from ktstr_tui.tui.scheduler import SchedulerPane
from ktstr_tui.tui.tasks_pane import TasksPane
from ktstr_tui.tui.view import View
from ktstr_tui.tui.watch_pane import WatchPane

COMPACT_HEIGHT = 30
"""Terminals that are lower than this, or narrower than `COMPACT_WIDTH`, get tabs."""
WIDE_WIDTH, WIDE_HEIGHT = 170, 45
"""Terminals from this size on show log and output side by side."""
_LEFT = ("captures", "log", "output", "tasks", "wire", "beats")
_LOGS = ("log", "output", "tasks")
"""Those that share a place unless the terminal is wide."""
_RIGHT = ("scheduler", "watch")
_TIMELINE = ("timeline", "0", "timeline")
"""A screen of its own, told beside the panes that are hidden, and as a tab."""


class MainScreen(RunScreen):
    """Is my scheduler healthy, and if not, what is stuck?"""

    place = "main"
    BINDINGS: ClassVar[list[BindingType]] = bindings("main")
    AUTO_FOCUS = "#cpus"

    def __init__(self, view: View) -> None:
        super().__init__(view)
        self.tab = "captures"
        """The pane that is shown where panes share a place."""
        self._mode = ""

    def compose(self) -> ComposeResult:
        yield HeaderBar("header")
        yield VerdictBar("verdict")
        yield CpuPane("cpus")
        yield BriefBar("brief")
        yield TabBar("tabs")
        with Container(id="body"):
            with Vertical(id="left"):
                yield CapturesPane("captures")
                with Container(id="logs"):
                    yield LogPane("log")
                    yield OutputPane("output")
                    yield TasksPane("tasks")
                with Container(id="meters"):
                    yield WirePane("wire")
                    yield BeatsPane("beats")
            with Vertical(id="right"):
                yield SchedulerPane("scheduler")
                yield WatchPane("watch")
        yield KeyBar()
        yield TooSmall()

    def on_mount(self) -> None:
        for pane in self.query(LinePane):
            pane.border_title = f"{pane.number} {pane.label}"
        self.query_one("#tabs", TabBar).tabs = [
            (pane.id or "", pane.number, pane.tab or pane.label)
            for pane in self._panes()
            if pane.id != "cpus"
        ] + [(_TIMELINE[0], _TIMELINE[1], "time")]

    def _panes(self) -> list[LinePane]:
        """The panes in the order of their numbers."""
        return sorted(self.query(LinePane), key=lambda it: it.number)

    def sync(self) -> None:
        """Paint what is visible and has changed."""
        for bar in self.query(LineBar):
            if bar.is_on_screen or not bar.size:
                bar.sync(self.view)
        for pane in self.query(LinePane):
            if pane.is_on_screen:
                pane.sync(self.view)
        self.sync_footer()

    def on_resize(self, event: events.Resize) -> None:
        width, height = event.size
        if width < COMPACT_WIDTH or height < COMPACT_HEIGHT:
            mode = "compact"
        elif width >= WIDE_WIDTH and height >= WIDE_HEIGHT:
            mode = "wide"
        else:
            mode = "normal"
        self._arrange(mode)
        self.call_after_refresh(self.sync)

    def _arrange(self, mode: str) -> None:
        self._mode = mode
        for name in ("compact", "normal", "wide"):
            self.set_class(name == mode, f"-{name}")
        compact = mode == "compact"
        shared = self.tab if self.tab in _LOGS else "log"
        for name in (*_LEFT, *_RIGHT):
            shown = (
                name == self.tab
                if compact
                else name not in _LOGS
                or name == shared
                or (mode == "wide" and shared != "tasks" and name != "tasks")
            )
            self.query_one(f"#{name}").display = shown
        self.query_one("#logs").display = not compact or self.tab in _LOGS
        self.query_one("#meters").display = not compact or self.tab in ("wire", "beats")
        self.query_one("#left").display = not compact or self.tab in _LEFT
        self.query_one("#right").display = not compact or self.tab in _RIGHT
        self.query_one("#tabs", TabBar).choose(self.tab)
        panes = [self.query_one(f"#{name}", LinePane) for name in _LOGS]
        for pane in panes:
            hidden = [f"{it.number} {it.label}" for it in panes if not it.display] + [" ".join(_TIMELINE[1:])]
            others = "".join(f" ─ {it}" for it in hidden)
            pane.border_title = f"{pane.number} {pane.label}{'' if compact else others}"

    def show_panel(self, name: str) -> None:
        """Bring a pane forward and focus it."""
        if name != "cpus" and (self._mode == "compact" or name in _LOGS):
            self.tab = name
            self._arrange(self._mode)
        self.set_focus(self.query_one(f"#{name}", LinePane))
        self.call_after_refresh(self.sync)

    def action_panel(self, name: str) -> None:
        self.show_panel(name)

    def action_next_panel(self, step: int) -> None:
        """Go to the pane with the next or previous number, around the end; hidden ones come forward."""
        panes = self._panes()
        here = panes.index(self.focused) if isinstance(self.focused, LinePane) else -step
        self.show_panel(panes[(here + step) % len(panes)].id or "cpus")

    @on(TabBar.Chosen)
    async def _tab_clicked(self, event: TabBar.Chosen) -> None:
        if event.pane == _TIMELINE[0]:
            await self.app.run_action("timeline")
        else:
            self.show_panel(event.pane)

    def show_cpu(self, number: int) -> None:
        """Go to the row of a CPU."""
        self.show_panel("cpus")
        pane = self.query_one(CpuPane)
        row = pane.row_of(number)
        if row is not None:
            pane.move_to(row)

    def action_sort(self) -> None:
        self.task_list.sort_next()

    def action_reverse(self) -> None:
        self.task_list.flip()

    @on(LinePane.RowOpened, "#cpus")
    def _cpu_opened(self, event: LinePane.RowOpened) -> None:
        number = event.pane.chosen() if isinstance(event.pane, CpuPane) else None
        if number is not None:
            self.app.push_screen(DrillWindow(self.view, Place("cpu", number)), self._open_vcpus)

    @on(LinePane.RowOpened, "#tasks")
    def _listed_task_opened(self, event: LinePane.RowOpened) -> None:
        task = event.pane.chosen() if isinstance(event.pane, TasksPane) else None
        if task is not None:
            self.app.push_screen(DrillWindow(self.view, Place("task", task.pid)), self._open_vcpus)

    def _open_vcpus(self, tag: str | None) -> None:
        capture = next((it for it in self.view.captures() if it.report.tag == tag), None)
        if capture is not None:
            self.app.push_screen(ReportScreen(self.view, capture, section="vcpus"))

    @property
    def task_list(self) -> TasksPane:
        """The list of tasks."""
        return self.query_one(TasksPane)

    @property
    def watches(self) -> WatchPane:
        """The watchpoints."""
        return self.query_one("#watch", WatchPane)

    @property
    def captures(self) -> CapturesPane:
        """The list of captures."""
        return self.query_one("#captures", CapturesPane)

    def filter_target(self) -> LinePane:
        """The pane that a filter applies to: the focused one, else the one that is shown."""
        return (
            self.focused if isinstance(self.focused, LinePane) else self.query_one(f"#{self.tab}", LinePane)
        )
