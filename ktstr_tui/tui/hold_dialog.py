"""The window that asks why automation is to be held; every viewer of the run sees the answer."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from ktstr_tui.model.commands import MAX_NAME_CHARACTERS, HoldAutomation
from ktstr_tui.tui.actions import window_bindings


class HoldDialog(ModalScreen[HoldAutomation | None]):
    """Asks for the reason of a hold on automation; the answer is None when it was closed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close", id="hold.close"),
        *window_bindings(),
    ]

    def compose(self) -> ComposeResult:
        with Vertical(id="hold-form") as box:
            box.border_title = f"Hold automation for {HoldAutomation().for_s / 60:g} min. What for?"
            box.border_subtitle = "enter to hold · escape to close"
            hint = "captures, alerts and ordinary commands wait; the guest runs on"
            line = Input(placeholder=hint, id="hold-text", compact=True, max_length=MAX_NAME_CHARACTERS)
            line.cursor_blink = False
            yield line

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(HoldAutomation(why=event.value.strip()))

    def action_close(self) -> None:
        self.dismiss(None)
