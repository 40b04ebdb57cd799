"""Themes: TOML files beside the program and in the user's configuration directory, and those of Textual.

A theme file has ``name``, ``dark``, the colours of a Textual theme, and a ``[variables]`` table for the
colours of scheduling classes and drawings. Themes of Textual lack these, and were made for larger text and fewer
colours: in most of them a warning or a dimmed word cannot be read on some background of this screen. So they are
shown with their backgrounds as they are and with every other colour moved until it can be read (`readable`). That takes
milliseconds for each, so it is done for the one that is shown, when it is (`shown`).
The two themes of Textual that take the terminal's own 16 colours are not offered, because nobody can measure those.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path

from textual.color import Color, ColorParseError
from textual.theme import BUILTIN_THEMES, Theme

from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.text import did_you_mean
from ktstr_tui.tui.contrast import READABLE, legible
from ktstr_tui.wire.user_file import config_dir, read_user_text

DEFAULT = "ktstr"
LIGHT = "ktstr-light"
_FIRST = {DEFAULT: 0, LIGHT: 1}
MAX_THEME_BYTES = 1 << 20
TINTS = {"success": 0.10, "warning": 0.14, "error": 0.16}
"""What share of a status colour the bar with the verdict has in its background; ktstr.tcss says the same."""
_COLOURS = (
    "primary", "secondary", "warning", "error", "success", "accent", "foreground", "background", "surface", "panel",
    "boost",
)  # fmt: skip
_INKS = ("primary", "secondary", "warning", "error", "success", "accent", "foreground")
"""Colours that text is written in."""
_CLASSES = {
    True: {
        "class-ext": "#7fd4ff", "class-fair": "#a7b8d8", "class-rt": "#f29bd4", "class-dl": "#c3a2ff",
        "spark": "#3f83b5",
    },
    False: {
        "class-ext": "#005f99", "class-fair": "#3d4f70", "class-rt": "#a02876", "class-dl": "#6d3fc0",
        "spark": "#2f7fb8",
    },
}  # fmt: skip
"""Colours of scheduling classes and drawings for dark and for light themes that do not set them."""
_QUIET = 0.35
"""How far dimmed text is on the way from the colour of text to that of the background, if it can be read there."""
_TRACK = 0.18
OWN_VARIABLES = {*_CLASSES[True], "class-stop", "track", "quiet"}
"""The variables that our style sheet needs and that no theme of Textual has."""
_RATIO = READABLE + 0.1
"""Some more than is needed, because what is drawn is rounded once more."""
_ROUNDS = 8


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
        near = did_you_mean(unknown[0], ("name", "dark", "variables", *_COLOURS)) if unknown else ""
        what = f"unknown key {unknown[0]!r}{near}" if unknown else "name and primary are needed"
        raise UsageError(f"theme {path}: {what}", f"known keys: name, dark, variables, {', '.join(_COLOURS)}")
    colours = {key: _opaque(path, key, data[key]) for key in _COLOURS if key in data}
    given = data.get("variables", {})
    if not isinstance(given, dict):
        raise UsageError(f"theme {path}: variables is not a table", "write [variables], then name = value")
    variables = {str(key): str(value) for key, value in given.items()}
    for key in OWN_VARIABLES & variables.keys():
        _opaque(path, key, variables[key])
    return Theme(name=str(data["name"]), dark=bool(data.get("dark", True)), variables=variables, **colours)  # type: ignore[arg-type]


def _opaque(path: Path, key: str, value: object) -> str:
    try:
        colour = Color.parse(str(value))
    except ColorParseError as error:
        raise UsageError(f"theme {path}: {key}: {error}", "write a colour as #rrggbb") from error
    if colour.ansi is not None or colour.a < 1:
        raise UsageError(
            f"theme {path}: {key}: {value} depends on the terminal or on what is below it",
            "write a colour as #rrggbb",
        )
    return str(value)


def packaged_dir() -> Path:
    """Where the themes that come with the program are; in a checkout, a link to the folder at its top."""
    return Path(str(resources.files("ktstr_tui") / "themes"))


def user_dir() -> Path:
    """``$XDG_CONFIG_HOME/ktstr/themes``."""
    return config_dir() / "themes"


def load_all() -> tuple[list[Theme], list[UsageError]]:
    """The themes that are offered, as they are written, and what was wrong with files that could not be read.

    Returns:
        Themes of the program, then of the user, then of Textual. A user's theme of the name of another replaces it.
    """
    themes: dict[str, Theme] = {}
    errors = []
    for path in _files():
        try:
            theme = load_theme(path)
            themes[theme.name] = theme
        except UsageError as error:
            errors.append(error)
    stock = {name: it for name, it in BUILTIN_THEMES.items() if not it.ansi and name not in themes}
    return list((themes | stock).values()), errors


def shown(theme: Theme) -> Theme:
    """Make an offered theme one that can be shown: with all variables, and in colours that can be read."""
    stock = BUILTIN_THEMES.get(theme.name)
    return _stock(theme.name) if theme is stock else completed(theme)


@cache
def _stock(name: str) -> Theme:
    return readable(BUILTIN_THEMES[name])


def completed(theme: Theme) -> Theme:
    """Give a theme the variables of the program that it does not set; its own colours stay as they are."""
    variables = _variables(theme.dark, _parsed(theme))
    return dataclasses.replace(theme, variables={**variables, **theme.variables})


def readable(theme: Theme) -> Theme:
    """Move the colours of a theme of Textual until all text of the screen can be read.

    Backgrounds stay as they are. The tints of the bar with the verdict depend on the colours of status, so it takes
    some rounds.
    """
    colours = _parsed(theme)
    for _ in range(_ROUNDS):
        moved = {name: legible(colours[name], _grounds(colours), _RATIO) for name in _INKS}
        if all(colours[name] == colour for name, colour in moved.items()):
            break
        colours |= moved
    hexes = {name: colour.hex6 for name, colour in colours.items()}
    return dataclasses.replace(theme, **hexes, variables=_variables(theme.dark, colours))  # type: ignore[arg-type]


def _parsed(theme: Theme) -> dict[str, Color]:
    # What Textual takes for colours that a theme leaves out.
    generated = theme.to_color_system().generate()
    return {name: Color.parse(generated[name]) for name in (*_INKS, "background", "surface", "panel")}


def _grounds(colours: Mapping[str, Color]) -> list[Color]:
    """All backgrounds that text may be on."""
    base = colours["background"]
    tinted = [Color.parse(base.blend(colours[name], share).hex6) for name, share in TINTS.items()]
    return [base, colours["surface"], colours["panel"], *tinted]


def _variables(dark: bool, colours: Mapping[str, Color]) -> dict[str, str]:
    """What our style sheet and the widgets of Textual take for text, in colours that can be read."""
    grounds = _grounds(colours)
    ink, ground = colours["foreground"], colours["background"]
    quiet = legible(ink.blend(ground, _QUIET), grounds, _RATIO).hex6
    found = {
        name: legible(Color.parse(value), grounds, _RATIO).hex6 for name, value in _CLASSES[dark].items()
    }
    return found | {
        "class-stop": colours["error"].hex6,
        "track": ground.blend(ink, _TRACK).hex6,
        "quiet": quiet,
        "text-muted": quiet,
        "text-disabled": quiet,
        "button-color-foreground": ground.hex6,
        "block-cursor-foreground": ground.hex6,
        "block-cursor-background": colours["primary"].hex6,
    }


def packaged_files() -> list[Path]:
    """The theme files that come with the program, in the order in which they are offered."""
    return sorted(packaged_dir().glob("*.toml"), key=lambda path: (_FIRST.get(path.stem, 2), path.name))


def _files() -> list[Path]:
    # A directory that is missing or cannot be read has no themes.
    return [*packaged_files(), *sorted(user_dir().glob("*.toml"))]
