"""The window with the log of a build, or of a scheduler that was refused; the line that matters comes first."""

from __future__ import annotations

from textual.content import Content

from ktstr_tui.model.state import RunState
from ktstr_tui.text.edit_lines import log_page
from ktstr_tui.text.lines import clean
from ktstr_tui.tui.dialogs import DialogPage


class BuildPage(DialogPage):
    """What was printed.

    Args:
        title: What it is about.
        headline: The line that matters; empty for none.
        log: What was printed.
        path: The file that holds all of it; empty for none.
    """

    def __init__(self, title: str, headline: str, log: tuple[str, ...], path: str) -> None:
        super().__init__()
        self.title_text = clean(title)
        self._headline, self._log, self._path = headline, log, path

    def page(self) -> Content:
        parts: list[str | tuple[str, str]] = []
        if self._headline:
            parts.append((f"{clean(self._headline)}\n\n", "bold $error"))
        for line in self._log:
            matters = bool(self._headline) and self._headline in line
            parts.append((f"{clean(line)}\n", "bold") if matters else f"{clean(line)}\n")
        if not self._log:
            parts.append("It printed nothing.\n")
        if self._path:
            parts += [("\nall of it  ", "$quiet"), clean(self._path)]
        return Content.assemble(*parts).rstrip()


def edit_offers(state: RunState) -> dict[str, str]:
    """Ids and labels of what can be done about the scheduler's source."""
    found = {}
    if state.info is not None and (state.info.build or state.info.watched_files):
        found["run.rebuild"] = "Build" if state.info.build else "Load"
    if log_page(state) is not None:
        found["run.build_log"] = "Refusal" if state.lifecycle == "SchedulerNotAttached" else "Build log"
    return found
