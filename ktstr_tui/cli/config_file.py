"""The configuration file, ``$XDG_CONFIG_HOME/ktstr/config.toml``: theme, keys, and defaults of ``run``.

    theme = "ktstr-light"

    [keys]
    "run.capture" = "f5"

    [run]
    memory = "1G"

Reading never fails. What is wrong becomes a list of mistakes with line and key, and what is right is used. Callers
decide what a mistake costs: `run` refuses to start with another memory than was meant, a replay starts all the same.
Which themes and actions there are only the screen knows; see `ktstr_tui.cli.look`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from ktstr_tui.cli.options import RIVALS
from ktstr_tui.cli.run_keys import run_keys
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.text import did_you_mean
from ktstr_tui.wire.toml_file import Lines, Place, parse_toml
from ktstr_tui.wire.user_file import config_dir, read_user_text

MAX_CONFIG_BYTES = 1 << 20
Part: TypeAlias = Literal["file", "theme", "keys", "run"]
"""What a mistake is about; ``file`` for the file as a whole and for keys that nothing knows."""
_TOP = ("theme", "keys", "run")


class Mistake(msgspec.Struct, frozen=True):
    """Something wrong in the file."""

    part: Part
    where: str
    """File, and line where there is one: ``/home/me/.config/ktstr/config.toml:3``."""
    key: str
    """Empty when it is about the file as a whole."""
    what: str
    hint: str = ""

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.where, self.key, self.what)))


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What the file says, without what was wrong in it."""

    path: Path
    exists: bool = False
    theme: str = ""
    """As written; whether there is such a theme is not checked."""
    keys: Mapping[str, str] = {}
    """Comma-separated keys by the id of an action, as written."""
    run: Mapping[str, Any] = {}
    """By the name of the key in ``[run]``, as written."""
    mistakes: tuple[Mistake, ...] = ()
    lines: Mapping[str, int] = {}
    """The line of each key, by ``theme``, ``keys.ID`` and ``run.NAME``."""

    def mistake(self, part: Part, key: str, what: str, hint: str = "") -> Mistake:
        """A mistake at the line of a key."""
        return Mistake(part, f"{self.path}:{self.lines[key]}", key, what, hint)


def config_path() -> Path:
    """Where the file is looked for."""
    return config_dir() / "config.toml"


def read_config() -> Config:
    """Read the file; without one everything is as by default."""
    path = config_path()
    if not path.exists() and not path.is_symlink():
        return Config(path=path)
    try:
        source = read_user_text(path, "configuration file", max_bytes=MAX_CONFIG_BYTES)
    except UsageError as error:
        return _unreadable(path, Mistake("file", str(path), "", error.message, error.hint))
    try:
        table = parse_toml(source, str(path))
    except UsageError as error:
        where, _, what = error.message.partition(": ")
        return _unreadable(path, Mistake("file", where, "", what, error.hint))
    return _Reader(path, table, Lines(source)).config()


def _unreadable(path: Path, mistake: Mistake) -> Config:
    return Config(path=path, exists=True, mistakes=(mistake,))


class _Reader:
    """Takes a parsed file apart."""

    def __init__(self, path: Path, table: Mapping[str, Any], lines: Lines) -> None:
        self._path, self._table, self._find = path, table, lines
        self._mistakes: list[Mistake] = []
        self._lines: dict[str, int] = {}

    def config(self) -> Config:
        """What the file says, and the mistakes in it."""
        for key in self._table.keys() - set(_TOP):
            near = did_you_mean(key, (*_TOP, *run_keys()))
            hint = f"keys are {', '.join(_TOP)}; options of run are in the table [run]"
            self._wrong("file", (key,), f"there is no such key{near}", hint)
        keys = dict(self._keys(self._part("keys"), ("keys",)))
        run = self._without_rivals(dict(self._run(self._part("run"))))
        return Config(
            path=self._path,
            exists=True,
            theme=self._theme(),
            keys=keys,
            run=run,
            mistakes=tuple(self._mistakes),
            lines=self._lines,
        )

    def _wrong(self, part: Part, place: Place, what: str, hint: str = "") -> None:
        where = f"{self._path}:{self._find.find(place)}"
        self._mistakes.append(Mistake(part, where, ".".join(map(str, place)), what, hint))

    def _noted(self, place: Place) -> None:
        self._lines[".".join(map(str, place))] = self._find.find(place)

    def _theme(self) -> str:
        name = self._table.get("theme", "")
        self._noted(("theme",))
        if not isinstance(name, str):
            self._wrong("theme", ("theme",), f"{name!r} is of another type", 'write theme = "ktstr-light"')
            return ""
        return name

    def _part(self, name: Literal["keys", "run"]) -> Mapping[str, Any]:
        table = self._table.get(name, {})
        if isinstance(table, dict):
            return table
        self._wrong(name, (name,), f"{table!r} is of another type", f"write it as a table: [{name}]")
        return {}

    def _keys(self, table: Mapping[str, Any], place: Place) -> Iterable[tuple[str, str]]:
        # Ids of actions have dots: `run.capture = "f5"` is a table in a table, `"run.capture" = "f5"` is not.
        for name, value in table.items():
            here = (*place, name)
            if isinstance(value, dict):
                yield from self._keys(value, here)
            elif isinstance(value, str):
                self._noted(here)
                yield ".".join(map(str, here[1:])), value
            else:
                self._wrong(
                    "keys", here, f"{value!r} is of another type", 'write keys as text: "f5" or "c,f5"'
                )

    def _without_rivals(self, run: dict[str, Any]) -> dict[str, Any]:
        for one, other in RIVALS:
            if one in run and other in run:
                self._wrong(
                    "run", ("run", other), f"{one} and {other} exclude each other", "keep one of them"
                )
                del run[other]
        return run

    def _run(self, table: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
        for name, value in table.items():
            key = run_keys().get(name)
            if key is None:
                near = did_you_mean(name, run_keys())
                hint = "keys are the long options of run: ktstr-tui run --help"
                self._wrong("run", ("run", name), f"there is no such key{near}", hint)
                continue
            try:
                key.convert(value)
            except UsageError as error:
                self._wrong("run", ("run", name), error.message, error.hint)
            else:
                self._noted(("run", name))
                yield name, value
