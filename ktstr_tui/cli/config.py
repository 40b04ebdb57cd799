"""``ktstr-tui config``: where the configuration file is, what is in force, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from ktstr_tui.cli.helping import Commands
from ktstr_tui.cli.run_arguments import AsJson
from ktstr_tui.text.output import print_json, print_line, say

app = Commands(no_args_is_help=True, help="Show and check the configuration file.")
Origin: TypeAlias = Literal["default", "file", "last choice"]


class Setting(msgspec.Struct, frozen=True):
    """One key with the value that is in force."""

    key: str
    value: object
    origin: Origin


@app.command()
def path() -> None:
    """Print where the configuration file is, or would be."""
    from ktstr_tui.cli.config_file import config_path

    print_line(str(config_path()))


@app.command()
def show(as_json: AsJson = False) -> None:
    """Print every setting, with its value and where it comes from."""
    from ktstr_tui.cli.config_file import read_config
    from ktstr_tui.cli.look import check_look

    config = read_config()
    look, mistakes = check_look(config)
    found = [_theme(look.theme), *_keys(look.keys), *_run(config.run)]
    if as_json:
        print_json({"path": str(config.path), "settings": msgspec.to_builtins(found)})
    else:
        print_line(f"# {config.path}{'' if config.exists else ' (no such file)'}")
        width = max(len(it.key) for it in found)
        for it in found:
            mark = "" if it.origin == "default" else f"  ({it.origin})"
            print_line(f"{it.key:{width}}  {_as_toml(it.value)}{mark}")
    for mistake in mistakes:
        say(str(mistake))


@app.command()
def check(as_json: AsJson = False) -> None:
    """Check the configuration file: name file, line and key of every mistake; exit code 2 if there is one."""
    from ktstr_tui.cli.config_file import read_config
    from ktstr_tui.cli.look import check_look
    from ktstr_tui.model.errors import EXIT_USAGE

    config = read_config()
    mistakes = check_look(config)[1]
    if as_json:
        found = msgspec.to_builtins(mistakes)
        print_json({"path": str(config.path), "exists": config.exists, "mistakes": found})
    for mistake in () if as_json else mistakes:
        print_line(str(mistake))
        if mistake.hint:
            print_line(f"  next: {mistake.hint}")
    if mistakes:
        raise SystemExit(EXIT_USAGE)
    if not as_json:
        print_line(f"{config.path}: {'no mistakes' if config.exists else 'no such file; defaults are used'}")


def _theme(wanted: str) -> Setting:
    from ktstr_tui.cli.look import theme_names
    from ktstr_tui.tui.files import kept_theme
    from ktstr_tui.tui.themes import DEFAULT

    if wanted:
        return Setting("theme", wanted, "file")
    kept = kept_theme()
    return (
        Setting("theme", kept, "last choice")
        if kept in theme_names()
        else Setting("theme", DEFAULT, "default")
    )


def _keys(wanted: Mapping[str, str]) -> list[Setting]:
    from ktstr_tui.tui.actions import ACTIONS

    return [
        Setting(f"keys.{it.id}", wanted.get(it.id, it.keys), "file" if it.id in wanted else "default")
        for it in ACTIONS
    ]


def _run(given: Mapping[str, object]) -> list[Setting]:
    from ktstr_tui.cli.run_keys import run_keys

    return [
        Setting(
            f"run.{key.name}", given.get(key.name, key.default), "file" if key.name in given else "default"
        )
        for key in run_keys().values()
    ]


def _as_toml(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)
