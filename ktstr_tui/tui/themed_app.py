"""The part of the app that has to do with its look: which themes are offered, which one is used, and which keys."""

from __future__ import annotations

from typing import ClassVar

from textual.theme import Theme

from ktstr_tui.tui import files, roles, themes
from ktstr_tui.tui.files_app import FilesApp
from ktstr_tui.tui.look import Look
from ktstr_tui.tui.pane import StyledLines
from ktstr_tui.tui.view import View


class ThemedApp(FilesApp, inherit_bindings=False):
    """An app with the themes that can be read, which keeps the choice of one for the next start.

    Args:
        view: What is shown.
        look: Theme and keys as the user wants them.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = set(roles.COMPONENTS)

    def __init__(self, view: View, look: Look) -> None:
        # Textual asks for its default theme while it is made.
        self._shown: dict[str, Theme] = {}
        super().__init__(view)
        self._look = look
        self._notices = list(look.notices)
        self._offer_themes()
        self._theme_in_use = self.theme
        self.set_keymap(look.keys)

    def _offer_themes(self) -> None:
        loaded, errors = themes.load_all()
        # Textual offers all of its own, as they are.
        for name in self.available_themes:
            self.unregister_theme(name)
        for theme in loaded:
            self.register_theme(theme)
        self._shown.clear()
        self._notices += [f"{error.message}; {error.hint}" for error in errors]
        wanted = self._look.theme or files.kept_theme() or themes.DEFAULT
        if wanted not in self.available_themes:
            self._notices.append(f"There is no theme {wanted!r}; this is {themes.DEFAULT}.")
            wanted = themes.DEFAULT
        self.theme = wanted

    def get_theme(self, theme_name: str) -> Theme | None:
        """A theme by its name, ready to be shown; None when none has it."""
        found = self._shown.get(theme_name)
        if found is None and (offered := super().get_theme(theme_name)) is not None:
            self._shown[theme_name] = found = themes.shown(offered)
        return found

    def refresh_css(self, animate: bool = True) -> None:
        """Compute all styles again, and paint in them."""
        super().refresh_css(animate)
        for screen in self.screen_stack:
            for lines in screen.query(StyledLines):
                lines.restyle()

    def on_mount(self) -> None:
        self.theme_changed_signal.subscribe(self, self._keep_theme)
        for text in self._notices:
            self.say(text, "warning")

    def action_next_theme(self) -> None:
        names = list(self.available_themes)
        self.theme = names[(names.index(self.theme) + 1) % len(names)]

    def _keep_theme(self, theme: Theme) -> None:
        if theme.name != self._theme_in_use:
            self._theme_in_use = theme.name
            self._keep(lambda: self._theme_kept(theme.name), about="theme")

    def _theme_kept(self, name: str) -> str:
        files.keep_theme(name)
        decided_by = self._look.decided_by
        return f"Theme {name}" + (f"; the next start takes the one in {decided_by}." if decided_by else ".")
