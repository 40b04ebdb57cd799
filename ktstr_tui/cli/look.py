"""How the screen is to look: what the command line asks for, then the configuration file, then the last choice.

A mistake in the file never keeps a screen from opening: it is printed, shown on the screen, and the default is used.
"""

from __future__ import annotations

from ktstr_tui.cli.config_file import Config, Mistake, read_config
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.text import did_you_mean
from ktstr_tui.text.output import say
from ktstr_tui.tui import themes
from ktstr_tui.tui.keymap import check_keys
from ktstr_tui.tui.look import Look


def look_for(theme: str | None) -> Look:
    """Decide about the look of a screen that is about to open, and print what is wrong with the configuration file.

    Args:
        theme: What ``--theme`` says; None without it.

    Raises:
        UsageError: ``--theme`` names no theme.
    """
    offered = theme_names()
    if theme is not None and theme not in offered:
        raise UsageError(f"there is no theme {theme!r}{did_you_mean(theme, offered)}", _themes_hint(offered))
    config = read_config()
    sound, mistakes = check_look(config)
    for mistake in mistakes:
        say(f"{mistake}; {mistake.hint}" if mistake.hint else str(mistake))
    return Look(
        theme=theme or sound.theme,
        decided_by=str(config.path) if sound.theme else "",
        keys=sound.keys,
        notices=tuple(str(mistake) for mistake in mistakes),
    )


def check_look(config: Config) -> tuple[Look, list[Mistake]]:
    """Check the parts of a configuration that are about the screen.

    Returns:
        The theme and keys that can be used, and all mistakes of the file, those found before included.
    """
    mistakes = list(config.mistakes)
    theme, offered = config.theme, theme_names()
    if theme and theme not in offered:
        what = f"there is no theme {theme!r}{did_you_mean(theme, offered)}"
        mistakes.append(config.mistake("theme", "theme", what, _themes_hint(offered)))
        theme = ""
    keys, wrong = check_keys(config.keys)
    mistakes += [config.mistake("keys", f"keys.{it.id}", it.what, it.hint) for it in wrong]
    return Look(theme=theme, keys=keys), mistakes


def theme_names() -> list[str]:
    """Names of the themes that are offered."""
    return [theme.name for theme in themes.load_all()[0]]


def _themes_hint(offered: list[str]) -> str:
    return f"themes are {', '.join(offered)}"
