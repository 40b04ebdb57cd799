"""Make the tables of docs/reference.md about the configuration file: themes, keys by action, options of ``run``."""

from __future__ import annotations

from textual.theme import BUILTIN_THEMES

from ktstr_tui.cli.run_keys import run_keys
from ktstr_tui.tui import themes
from ktstr_tui.tui.actions import ACTIONS
from tests.docs.markdown import code, table
from tests.docs.source import one_line

_PLACES = {
    "app": "everywhere",
    "main": "main screen",
    "report": "report",
    "timeline": "timeline",
    "pane": "focused pane",
}


def config_blocks() -> dict[str, str]:
    """The blocks by name."""
    return {"themes": _themes(), "config-keys": _keys(), "config-run": _run()}


def _themes() -> str:
    packaged = [themes.load_theme(path) for path in themes.packaged_files()]
    own = [(code(it.name), "dark" if it.dark else "light", "this program") for it in packaged]
    stock = [
        (code(it.name), "dark" if it.dark else "light", "Textual")
        for it in BUILTIN_THEMES.values()
        if not it.ansi
    ]
    return table(("name", "background", "made by"), [*own, *stock])


def _keys() -> str:
    rows = ((code(it.id), code(it.keys), _PLACES[it.place], it.about) for it in ACTIONS)
    return table(("action", "keys", "where", "meaning"), rows)


def _run() -> str:
    rows = (
        (
            code(key.name),
            key.words,
            "" if key.default in (None, "") else code(_toml(key.default)),
            one_line(key.option.help or ""),
        )
        for key in run_keys().values()
    )
    return table(("key", "value", "default", "meaning"), rows)


def _toml(value: object) -> str:
    return (
        str(value).lower()
        if isinstance(value, bool)
        else f'"{value}"'
        if isinstance(value, str)
        else str(value)
    )
