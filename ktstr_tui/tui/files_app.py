"""The part of the app that puts things into files and onto the clipboard, and says where they are or why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from textual.app import App
from textual.notifications import Notification, Notify, SeverityLevel

from ktstr_tui.model.state import CaptureState
from ktstr_tui.text.lines import clean
from ktstr_tui.tui import files
from ktstr_tui.tui.headline import headline_of
from ktstr_tui.tui.leaving import Leaving
from ktstr_tui.tui.main_screen import MainScreen
from ktstr_tui.tui.pane import LinePane
from ktstr_tui.tui.report_screen import ReportScreen
from ktstr_tui.tui.view import View

NOTICE_S = 6.0
"""How long a short-lived message is shown."""


@dataclass
class _Notice(Notification):
    """A message that knows which older one it replaces."""

    about: str = ""


class FilesApp(App[Leaving], inherit_bindings=False):
    """An app that shows messages for a moment and writes rows, captures and screenshots to files.

    Args:
        view: What is shown.
    """

    def __init__(self, view: View) -> None:
        super().__init__()
        self.view = view

    def say(self, text: str, severity: str = "information", *, title: str = "", about: str = "") -> None:
        """Show a short-lived message.

        Args:
            text: What is said; it may come from the guest.
            severity: "information", "warning" or "error".
            title: Above it.
            about: What a key sets with each press: an earlier message about it goes. Without it a message replaces
                only one of the same words.
        """
        level: SeverityLevel = "information"
        if severity in ("error", "warning"):
            level = "error" if severity == "error" else "warning"
        words = clean(text)
        self.post_message(Notify(_Notice(words, title, level, NOTICE_S, about=about or f"{title}: {words}")))

    def on_notify(self, event: Notify) -> None:
        """Take away the message that a newer one replaces; Textual shows that afterwards."""
        if isinstance(event.notification, _Notice):
            for older in list(self._notifications):
                if isinstance(older, _Notice) and older.about == event.notification.about:
                    self._unnotify(older, refresh=False)

    def action_copy_row(self) -> None:
        text = (
            self.focused.row_text() if isinstance(self.focused, LinePane) else headline_of(self.view).sentence
        )
        if not text:
            self.say("Nothing to copy here.")
            return
        self.copy_to_clipboard(text)
        self._keep(lambda: f"Copied; also in {files.write_copied(text)}")

    def action_export(self) -> None:
        screen = self.screen
        capture = screen.capture if isinstance(screen, ReportScreen) else None
        if isinstance(screen, MainScreen):
            capture = screen.captures.chosen()
        if capture is None:
            self.say("No capture to export yet: c takes one.")
            return
        info = self.view.state.info
        name = info.name if info else ""
        self._keep(lambda: self._exported(capture, name))

    def _exported(self, capture: CaptureState, run: str) -> str:
        path = files.export_capture(capture, run)
        self.copy_to_clipboard(str(path))
        return f"{capture.report.tag} is in {path}; the path is copied."

    def deliver_screenshot(
        self, filename: str | None = None, path: str | None = None, time_format: str | None = None
    ) -> str | None:
        """Save a picture of the screen under the state directory, and show where or why not."""
        self._keep(lambda: f"Screenshot saved as {self._shoot(filename, path, time_format)}")
        return None

    def _shoot(self, filename: str | None, path: str | None, time_format: str | None) -> str:
        directory = path or str(files.screenshots_dir())
        return self.save_screenshot(filename, directory, time_format)

    def _keep(self, write: Callable[[], str], about: str = "") -> None:
        try:
            self.say(write(), about=about)
        except OSError as error:
            self.say(
                f"The file could not be written: {error}. Set XDG_STATE_HOME to a writable place.", "error"
            )
