"""The window that asks which time of a recording to show."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from ktstr_tui.model.errors import UsageError
from ktstr_tui.text.lines import clean
from ktstr_tui.text.times import TypedTime, typed_time
from ktstr_tui.tui.actions import window_bindings

MAX_TIME = 20


class SeekDialog(ModalScreen[TypedTime | None]):
    """Asks for a time; the answer is None when it was closed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close", id="seek.close"),
        *window_bindings(),
    ]

    def compose(self) -> ComposeResult:
        with Vertical(id="seek-form") as box:
            box.border_title = "Which time? 1:23.5 or 83.5 s from the start, -5 s from here"
            box.border_subtitle = "enter to show it · escape to close"
            line = Input(id="seek-text", compact=True, max_length=MAX_TIME)
            line.cursor_blink = False
            yield line

    def on_input_submitted(self, event: Input.Submitted) -> None:
        try:
            self.dismiss(typed_time(event.value))
        except UsageError as error:
            form = self.query_one("#seek-form")
            form.border_subtitle = f"{clean(error.message)}; {error.hint}".replace("[", "\\[")

    def action_close(self) -> None:
        self.dismiss(None)
