"""The window that leads from a CPU to its tasks, to their queues, to the CPUs that may run them, and back.

It goes on showing its place while the run goes on; on a report it shows the moment of the capture.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from ktstr_tui.model.report import CaptureReport
from ktstr_tui.text.cpu_lines import cpu_details, newest_capture
from ktstr_tui.text.drill import Place, Step, page, scene_of, scene_of_capture
from ktstr_tui.text.lines import Line
from ktstr_tui.tui.actions import window_bindings
from ktstr_tui.tui.pane import LinePane
from ktstr_tui.tui.view import View


class DrillPane(LinePane):
    """The page of one place.

    Args:
        name: Id of the widget.
        place: What it shows first.
        report: The capture that is shown; None for the run.
    """

    row_word = "line"
    opens = True

    def __init__(self, name: str, place: Place, report: CaptureReport | None) -> None:
        super().__init__(name)
        self.place, self._report = place, report
        self._steps: list[Step] = []

    def key(self, view: View) -> Hashable:
        return (
            (self.place, id(self._report))
            if self._report is not None
            else (self.place, view.state.seq, view.paused)
        )

    def load(self, view: View, width: int) -> int:
        scene = scene_of(view.state) if self._report is None else scene_of_capture(self._report)
        steps = page(scene, self.place)
        if self.place.kind == "cpu" and self._report is None:
            steps = _with_details(steps, cpu_details(view.state, self.place.number, max(20, width)))
        self._steps = steps
        return len(steps)

    def row(self, index: int, width: int) -> Line:
        line, leads = self._steps[index]
        return [*line, (" →", "key")] if leads is not None else line

    def leads(self) -> Place | None:
        """Where the row under the cursor leads."""
        return self._steps[self.cursor][1] if self.cursor < len(self._steps) else None


def _with_details(steps: list[Step], details: list[Line]) -> list[Step]:
    """The page of a CPU among the details of it: its line "runs" is there already, and leads to the same task."""
    runs, waits = steps[1][1], steps[2:]
    end = details.index([]) if [] in details else len(details)
    now = [(line, runs if at == 1 else None) for at, line in enumerate(details[:end])]
    return [*now, *waits, *((line, None) for line in details[end:])]


class DrillWindow(ModalScreen[str | None]):
    """One place after the other; the answer is the tag of the capture to open, or None.

    Args:
        view: Where the run is seen.
        place: Where to begin.
        report: The capture to look into; None for the run.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open", show=False, id="drill.open", priority=True),
        Binding("escape,backspace", "back", "Back", show=False, id="drill.back"),
        Binding("q", "close", "Close", show=False, id="drill.close"),
        *window_bindings(),
    ]

    def __init__(self, view: View, place: Place, report: CaptureReport | None = None) -> None:
        super().__init__()
        self._view, self._report = view, report
        self._trail: list[tuple[Place, int]] = [(place, 0)]

    def compose(self) -> ComposeResult:
        yield DrillPane("drill", self._trail[0][0], self._report)

    def on_mount(self) -> None:
        self._show()

    @property
    def _pane(self) -> DrillPane:
        return self.query_one(DrillPane)

    def _show(self) -> None:
        place, row = self._trail[-1]
        pane = self._pane
        pane.place = place
        pane.border_title = " → ".join(it.title for it, _ in self._trail[-4:])
        pane.border_subtitle = ""
        pane.sync(self._view, force=True)
        pane.move_to(row)
        self.call_after_refresh(self.sync)

    def sync(self) -> None:
        """Paint what has changed."""
        pane = self._pane
        pane.sync(self._view)
        pane.border_subtitle = "enter follows → · escape goes back · q closes"

    def on_line_pane_row_opened(self) -> None:
        """A click on a row does what Enter does."""
        self.action_open()

    def action_open(self) -> None:
        leads = self._pane.leads()
        if leads is not None:
            self._trail[-1] = (self._trail[-1][0], self._pane.cursor)
            self._trail.append((leads, 0))
            self._show()
            return
        place = self._trail[-1][0]
        if self._report is None and place.kind == "cpu":
            report = newest_capture(self._view.state, place.number)
            if report is not None:
                self.dismiss(report.tag)

    def action_back(self) -> None:
        if len(self._trail) == 1:
            self.dismiss(None)
            return
        self._trail.pop()
        self._show()

    def action_close(self) -> None:
        self.dismiss(None)
