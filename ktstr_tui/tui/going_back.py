"""Going back: from a capture, a hit, a line of the log or an alert to the moment before it, by running the run again.

Only a run with a seed can be had again, and only where its files are. The screen asks how long before, and is left
with that answer; whoever opened it starts the rerun and shows it, frozen at the instant.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, NamedTuple

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input

from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.stored import IDENTITY_FILE
from ktstr_tui.text.lines import clean
from ktstr_tui.text.times import nanoseconds
from ktstr_tui.tui.actions import window_bindings
from ktstr_tui.tui.leaving import Leaving
from ktstr_tui.tui.lists import moment_of_capture
from ktstr_tui.tui.pane import LinePane, Moment
from ktstr_tui.tui.report_screen import ReportScreen
from ktstr_tui.tui.run_screen import RunScreen
from ktstr_tui.tui.themed_app import ThemedApp
from ktstr_tui.tui.view import View

DEFAULT_BEFORE = "500ms"
MAX_TIME = 20


class GoBack(NamedTuple):
    """Where to go."""

    data_dir: str
    """Of the run."""
    at_ns: int
    """On its clock."""
    before_ns: int
    """How long before that."""


def why_not(view: View) -> str:
    """Why the run cannot be had again; empty when it can."""
    info = view.source.state.info
    if info is None:
        return "The run has not begun."
    if info.seed is None:
        return "This run has no seed, so there is no way back: start it with run --seed N or --deterministic."
    if view.source.state.edit.boots > 1:
        return (
            "The guest was booted again, and a rerun has its first boot: go back with ktstr-tui rerun --to."
        )
    if not (Path(info.data_dir) / IDENTITY_FILE).is_file():
        return f"What the run keeps is not on this machine ({clean(info.data_dir)}): bundle it there, rerun it here."
    return ""


def moment_of_alert(view: View) -> Moment | None:
    """When the alert that is shown was raised; None without one."""
    alert = view.alert()
    return None if alert is None else Moment(alert.since_mono_ns, f"the alert “{clean(alert.text)}”")


class BackApp(ThemedApp):
    """An app that can be left to go back."""

    back: GoBack | None = None
    """Where to go, when the screen was left for that."""

    def action_go_back(self) -> None:
        """Ask how long before the chosen moment to go."""
        screen, refusal = self.screen, why_not(self.view)
        if refusal:
            self.say(refusal, "warning")
            return
        if not isinstance(screen, RunScreen):
            return
        moment = moment_of_capture(screen.capture) if isinstance(screen, ReportScreen) else None
        if moment is None and isinstance(self.focused, LinePane):
            moment = self.focused.moment()
        moment = moment or moment_of_alert(self.view)
        if moment is None:
            self.say("Choose a capture, a hit or a line of the log to go back from.")
            return
        at_ns = moment.mono_ns
        self.push_screen(BackDialog(moment.what), lambda before_ns: self._go_back(at_ns, before_ns))

    def _go_back(self, at_ns: int, before_ns: int | None) -> None:
        info = self.view.source.state.info
        if before_ns is not None and info is not None:
            self.back = GoBack(info.data_dir, at_ns, before_ns)
            self.exit(Leaving.BACK)


class BackDialog(ModalScreen[int | None]):
    """Asks how long before a moment to go; the answer is in nanoseconds, None when it was closed.

    Args:
        what: The moment, in words.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close", id="back.close"),
        *window_bindings(),
    ]

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what

    def compose(self) -> ComposeResult:
        with Vertical(id="back-form") as box:
            box.border_title = f"How long before {self._what}?"
            box.border_subtitle = "enter to run it again up to there · escape to close"
            line = Input(value=DEFAULT_BEFORE, id="back-text", compact=True, max_length=MAX_TIME)
            line.cursor_blink = False
            yield line

    def on_input_submitted(self, event: Input.Submitted) -> None:
        try:
            self.dismiss(nanoseconds(event.value.strip()))
        except UsageError as error:
            form = self.query_one("#back-form")
            form.border_subtitle = f"{clean(error.message)}; {error.hint}".replace("[", "\\[")

    def action_close(self) -> None:
        self.dismiss(None)
