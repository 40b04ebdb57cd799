"""The footer: the keys of `footer`, in one line.

Textual's Footer has a widget for each key and makes all of them anew whenever the focus moves. That took a fifth of the
screen's time, and lay between a key and its paint. Here a line is composed, as in the other bars.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from textual import events
from textual.screen import Screen

from ktstr_tui.text.lines import Line, width_of
from ktstr_tui.tui.pane import LineBar
from ktstr_tui.tui.view import View

COMPACT_WIDTH = 100
"""A narrower terminal gets a footer without spaces."""


class _Entry(NamedTuple):
    """A key and what it does."""

    key: str
    shown: str
    label: str
    about: str
    enabled: bool


class KeyBar(LineBar):
    """What can be done now and with which key; a click on one presses it."""

    def __init__(self) -> None:
        super().__init__("keys")
        self._entries: list[_Entry] = []

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._bindings_changed)

    def on_unmount(self) -> None:
        self.screen.bindings_updated_signal.unsubscribe(self)

    def _bindings_changed(self, screen: Screen[object]) -> None:
        # Several keys for one action are one entry, under the first.
        found: dict[str, _Entry] = {}
        for _node, binding, enabled, about in screen.active_bindings.values():
            if binding.show:
                shown = self.app.get_key_display(binding)
                entry = _Entry(binding.key, shown, binding.description, about or binding.description, enabled)
                found.setdefault(binding.action, entry)
        self._entries = list(found.values())
        self._compose_lines(self.size.width)

    def lines(self, view: View, width: int) -> list[Line]:
        return [[span for entry in self._entries for span in _spans(entry, width)]]

    def _entry_at(self, x: int) -> _Entry | None:
        for entry in self._entries:
            x -= width_of(list(_spans(entry, self.size.width)))
            if x < 0:
                return entry
        return None

    def on_mouse_move(self, event: events.MouseMove) -> None:
        entry = self._entry_at(event.x)
        about = None if entry is None else entry.about
        if about != self.tooltip:
            self.tooltip = about

    def on_mouse_down(self, event: events.MouseDown) -> None:
        entry = self._entry_at(event.x)
        if entry is not None and entry.enabled:
            self.app.simulate_key(entry.key)
        elif entry is not None:
            self.app.bell()


def _spans(entry: _Entry, width: int) -> Iterator[tuple[str, str]]:
    role = "" if entry.enabled else "dim"
    if width < COMPACT_WIDTH:
        yield entry.shown, role or "foot-key"
        yield f" {entry.label} ", role
    else:
        yield f" {entry.shown} ", role or "foot-key"
        yield f"{entry.label} ", role
