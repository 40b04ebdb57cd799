"""The window that asks what to watch, with the expressions that were asked for before.

The history is a file of lines in the user's state directory, so that it outlives the run; a directory that
cannot be written to costs the history and nothing else.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Checkbox, Input

from ktstr_tui.model.commands import AddWatch
from ktstr_tui.tui.actions import window_bindings
from ktstr_tui.tui.files import state_dir

MAX_HISTORY = 50
MAX_EXPRESSION = 256
"""The arguments of the command ``watch``."""


def _history_file() -> Path:
    return state_dir() / "watch-history"


def load_history() -> list[str]:
    """Expressions that were asked for before, the newest last."""
    with suppress(OSError, UnicodeDecodeError):
        lines = _history_file().read_text(encoding="utf-8").splitlines()
        return [line[:MAX_EXPRESSION] for line in lines if line.isprintable()][-MAX_HISTORY:]
    return []


def remember(expression: str) -> None:
    """Put an expression at the end of the history."""
    lines = [line for line in load_history() if line != expression]
    with suppress(OSError):
        _history_file().write_text("\n".join([*lines, expression][-MAX_HISTORY:]) + "\n", encoding="utf-8")


class Toggle(Checkbox):
    """A checkbox whose state can be told without colour."""

    BUTTON_INNER = " "

    def watch_value(self) -> None:
        self.BUTTON_INNER = "X" if self.value else " "
        super().watch_value()


class WatchDialog(ModalScreen[AddWatch | None]):
    """Asks for an expression and how to watch it; the answer is None when it was closed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close", id="watch.close"),
        Binding("up", "history(-1)", "Older", id="watch.older"),
        Binding("down", "history(1)", "Newer", id="watch.newer"),
        *window_bindings(),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._history = load_history()
        self._place = len(self._history)

    def compose(self) -> ComposeResult:
        with Vertical(id="watch-form") as box:
            box.border_title = "Watch writes to, or calls of (call:NAME):"
            box.border_subtitle = "enter to watch · ↑↓ for history · escape to close"
            hint = "jiffies   runqueues@1.nr_running   scx_root->exit_kind   0xffff…   call:NAME"
            line = Input(placeholder=hint, id="watch-text", compact=True, max_length=MAX_EXPRESSION)
            line.cursor_blink = False
            yield line
            with Horizontal(id="watch-options"):
                yield Toggle("8 bytes instead of 4", id="watch-long", compact=True)
                yield Toggle("once", id="watch-once", compact=True)
                yield Toggle("capture each hit", id="watch-capture", compact=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        expression = event.value.strip()
        if not expression:
            self.dismiss(None)
            return
        remember(expression)
        asked = AddWatch(
            expression=expression,
            length=8 if self._is_on("long") else 4,
            once=self._is_on("once"),
            capture=self._is_on("capture"),
        )
        self.dismiss(asked)

    def _is_on(self, name: str) -> bool:
        return self.query_one(f"#watch-{name}", Toggle).value

    def action_close(self) -> None:
        self.dismiss(None)

    def action_history(self, step: int) -> None:
        self._place = max(0, min(len(self._history), self._place + step))
        line = self.query_one(Input)
        line.value = self._history[self._place] if self._place < len(self._history) else ""
        line.cursor_position = len(line.value)
