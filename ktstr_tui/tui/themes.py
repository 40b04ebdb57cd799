"""Themes: TOML files beside the program and in the user's configuration directory.

A theme file has ``name``, ``dark``, the colours of a Textual theme, and a ``[variables]`` table for the
colours of scheduling classes and drawings. A theme of Textual itself works too: the defaults in
`FALLBACK_VARIABLES` then stand in for the variables that it does not know.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from textual.theme import Theme

from ktstr_tui.model.errors import UsageError
from ktstr_tui.wire.user_file import read_user_text

DEFAULT = "ktstr"
LIGHT = "ktstr-light"
FALLBACK_VARIABLES = {
    "class-ext": "ansi_bright_cyan",
    "class-fair": "ansi_bright_blue",
    "class-rt": "ansi_bright_magenta",
    "class-dl": "ansi_magenta",
    "class-stop": "ansi_bright_red",
    "spark": "ansi_cyan",
    "track": "ansi_bright_black",
    "quiet": "ansi_bright_black",
}
"""Values of the program's own variables for themes that do not set them."""
MAX_THEME_BYTES = 1 << 20
_COLOURS = (
    "primary", "secondary", "warning", "error", "success", "accent", "foreground", "background", "surface", "panel",
    "boost",
)  # fmt: skip


def load_theme(path: Path) -> Theme:
    """Read one theme file.

    Raises:
        UsageError: The file is not a theme.
    """
    try:
        data = tomllib.loads(read_user_text(path, "theme", max_bytes=MAX_THEME_BYTES))
    except (RecursionError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"theme {path}: {error}", "fix the file or remove it") from error
    unknown = sorted(set(data) - {"name", "dark", "variables", *_COLOURS})
    if unknown or "name" not in data or "primary" not in data:
        what = f"unknown key {unknown[0]!r}" if unknown else "name and primary are needed"
        raise UsageError(f"theme {path}: {what}", f"known keys: name, dark, variables, {', '.join(_COLOURS)}")
    colours = {key: str(data[key]) for key in _COLOURS if key in data}
    variables = {str(key): str(value) for key, value in data.get("variables", {}).items()}
    return Theme(name=str(data["name"]), dark=bool(data.get("dark", True)), variables=variables, **colours)  # type: ignore[arg-type]


def packaged_dir() -> Path:
    """Where the themes that come with the program are; in a checkout, a link to the folder at its top."""
    return Path(str(resources.files("ktstr_tui") / "themes"))


def user_dir() -> Path:
    """``$XDG_CONFIG_HOME/ktstr-tui/themes``."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "ktstr-tui" / "themes"


def load_all() -> tuple[list[Theme], list[UsageError]]:
    """All themes, a user's after the packaged ones, and what was wrong with files that could not be read."""
    themes, errors = [], []
    for path in _files():
        try:
            themes.append(load_theme(path))
        except UsageError as error:
            errors.append(error)
    return themes, errors


def _files() -> Iterator[Path]:
    for directory in (packaged_dir(), user_dir()):
        if directory.is_dir():
            yield from sorted(directory.glob("*.toml"))
