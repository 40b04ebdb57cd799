"""The window over the main screen that shows one vCPU, and goes on showing it while the run goes on."""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from ktstr_tui.text.cpu_lines import cpu_details, newest_capture
from ktstr_tui.text.lines import Line
from ktstr_tui.tui.actions import window_bindings
from ktstr_tui.tui.pane import LinePane
from ktstr_tui.tui.view import View


class CpuDetails(LinePane):
    """Everything that is known of a vCPU.

    Args:
        name: Id of the widget.
        number: Which CPU.
    """

    row_word = "line"

    def __init__(self, name: str, number: int) -> None:
        super().__init__(name)
        self.number_of_cpu = number
        self._lines: list[Line] = []

    def key(self, view: View) -> Hashable:
        return view.state.seq, view.paused

    def load(self, view: View, width: int) -> int:
        self._lines = cpu_details(view.state, self.number_of_cpu, max(20, width))
        return len(self._lines)

    def row(self, index: int, width: int) -> Line:
        return self._lines[index]


class CpuWindow(ModalScreen[str | None]):
    """One vCPU; the answer is the tag of the capture to open, or None.

    Args:
        view: Where the vCPU is seen.
        number: Which CPU.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Open capture", show=False, id="cpu.open"),
        Binding("escape,q", "close", "Close", show=False, id="cpu.close"),
        *window_bindings(),
    ]

    def __init__(self, view: View, number: int) -> None:
        super().__init__()
        self._view = view
        self._number = number

    def compose(self) -> ComposeResult:
        pane = CpuDetails("cpu-details", number=self._number)
        pane.border_title = f"vCPU {self._number}"
        yield pane

    def on_mount(self) -> None:
        self.call_after_refresh(self.sync)

    def sync(self) -> None:
        """Paint what has changed."""
        self.query_one(CpuDetails).sync(self._view)

    def action_open(self) -> None:
        report = newest_capture(self._view.state, self._number)
        if report is not None:
            self.dismiss(report.tag)

    def action_close(self) -> None:
        self.dismiss(None)
