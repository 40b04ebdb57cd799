"""The command palette: every action that works here, by its name.

Of Textual's own commands it has those that are of use: choosing a theme from a list, and a picture of the screen. Its
list of keys is less than our help, and quitting is ours, which asks what becomes of the run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import ClassVar

from textual.app import SystemCommand
from textual.binding import BindingType
from textual.command import CommandPalette
from textual.screen import Screen

from ktstr_tui.tui.actions import ACTIONS, window_bindings
from ktstr_tui.tui.prompt import PromptApp
from ktstr_tui.tui.run_screen import RunScreen

_OF_TEXTUAL = {
    "Theme": "Choose a theme from a list; the choice is kept",
    "Screenshot": "Save a picture of the screen as SVG",
}


class Palette(CommandPalette):
    """Textual's palette, with the keys that a window keeps from the app."""

    BINDINGS: ClassVar[list[BindingType]] = window_bindings()


class PaletteApp(PromptApp, inherit_bindings=False):
    """An app with a palette of actions."""

    def action_command_palette(self) -> None:
        """Open it, over a screen on a run or a window."""
        if not isinstance(self.screen, Palette):
            self.push_screen(Palette(id="--command-palette"))

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Textual's, as far as they are of use, and the actions that do something on this screen."""
        for command in super().get_system_commands(screen):
            if command.title in _OF_TEXTUAL:
                yield SystemCommand(command.title, _OF_TEXTUAL[command.title], command.callback)
        refused = bool(self.view.refusal("control the run"))
        for it in ACTIONS:
            if it.asks and refused:
                continue
            if it.place == "app" or (isinstance(screen, RunScreen) and it.place == screen.place):
                yield SystemCommand(f"{it.label} ({it.id})", it.about, self._runner(screen, it.run))

    def _runner(self, screen: Screen[object], run: str) -> Callable[[], Awaitable[None]]:
        here = hasattr(screen, f"action_{run.partition('(')[0]}")

        async def perform() -> None:
            await (screen if here else self).run_action(run)

        return perform
