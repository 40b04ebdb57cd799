"""What the main screen and a report have in common: a footer that follows what can be done, and a smallest size.

Textual (its issue 6665) keeps what the widgets of closed windows drew in a cache of 1,024 entries: some 40 MiB, and a
full collection of garbage goes through all of it. So that cache is emptied when a window was closed.
"""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual._styles_cache import StylesCache
from textual.binding import ActiveBinding
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from ktstr_tui.tui.build_page import edit_offers
from ktstr_tui.tui.footer import arranged, labels
from ktstr_tui.tui.key_bar import COMPACT_WIDTH
from ktstr_tui.tui.memory_shown import prompt_offers
from ktstr_tui.tui.pane import LinePane
from ktstr_tui.tui.view import View

MIN_WIDTH, MIN_HEIGHT = 60, 15
"""A smaller terminal shows that it is too small, and nothing else."""


class TooSmall(Static):
    """Stands in for everything else while the terminal is too small."""

    def on_resize(self) -> None:
        """Say the size that there is and the one that is needed."""
        size = self.app.size
        self.update(
            f"Terminal too small: {size.width}x{size.height}, needs {MIN_WIDTH}x{MIN_HEIGHT}. "
            "The run continues. ctrl+q quits."
        )


class RunScreen(Screen[None]):
    """A screen on a run.

    Args:
        view: What is shown of the run.
    """

    place: ClassVar[str]
    """As the table of actions names it."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self.view = view
        self._labels: dict[str, str] = {}
        self._focused_before: Widget | None = None

    def offers(self) -> dict[str, str]:
        """Ids and labels of what the focused pane offers."""
        found = self.focused.offers(self.view) if isinstance(self.focused, LinePane) else {}
        return {**found, **edit_offers(self.view.source.state), **prompt_offers(self.view)}

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        """The bindings in effect; those that do nothing here and now are not shown."""
        width = self.app.size.width
        spacing = 2 if width < COMPACT_WIDTH else 4
        return arranged(super().active_bindings, labels(self.view, self.offers()), self.app, width, spacing)

    def sync(self) -> None:
        """Paint what is visible and has changed."""

    def filter_target(self) -> LinePane:
        """The pane that a filter applies to."""
        raise NotImplementedError

    def sync_footer(self) -> None:
        """Let the footer follow what can be done now."""
        now = labels(self.view, self.offers())
        if now != self._labels:
            self._labels = now
            self.refresh_bindings()

    def on_screen_resume(self) -> None:
        """A window above was closed."""
        StylesCache.get_inner_outer.cache_clear()

    def on_resize(self, event: events.Resize) -> None:
        """Choose between the screen and the notice that there is no room for it."""
        tiny = event.size.width < MIN_WIDTH or event.size.height < MIN_HEIGHT
        if tiny and not self.has_class("-tiny"):
            self._focused_before = self.focused
        self.set_class(tiny, "-tiny")
        if not tiny and self._focused_before is not None:
            self.set_focus(self._focused_before)
            self._focused_before = None
        self.refresh_bindings()
