"""Which options of ``run`` the configuration file may set, made from the options themselves.

A key is the long name of an option. The command line wins over the file: click takes the default of an option from the
file (its ``default_map``), so a flag must have a form that undoes it. What names one run (``--name``) is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

from typer.models import OptionInfo

from ktstr_tui.cli.run_options import RunOptions
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.text import did_you_mean

NOT_IN_FILE = frozenset(
    {"build", "json", "name", "record", "require-operators", "run-dir", "theme", "watch-file"}
)
"""Options that belong to one start; the theme has a key of its own."""
_KINDS = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text in quotes",
    Path: "text in quotes",
}


class RunKey(NamedTuple):
    """A key of the table ``[run]``."""

    name: str
    field: str
    """The field of `RunOptions`."""
    kind: type
    default: object
    option: OptionInfo

    @property
    def words(self) -> str:
        """What a value is, for people."""
        if issubclass(self.kind, StrEnum):
            return f"one of {', '.join(member.value for member in self.kind)}"
        bounds = f" from {self.option.min:.12g}" if self.option.min is not None else ""
        bounds += f" to {self.option.max:.12g}" if self.option.max is not None else ""
        return _KINDS[self.kind] + bounds

    def convert(self, value: object) -> object:
        """Return the value of a field from that of the file.

        Raises:
            UsageError: The file's value is of another type, out of range, or refused by `RunOptions.to_config`.
        """
        typed = self._typed(value)
        if isinstance(typed, (int, float)) and not isinstance(typed, bool):
            low, high = self.option.min, self.option.max
            if not ((low is None or typed >= low) and (high is None or typed <= high)):
                raise UsageError(f"{typed} is out of range", f"write {self.words}")
        options: dict[str, Any] = {self.field: typed}
        RunOptions(**options).to_config()
        return typed

    def _typed(self, value: object) -> object:
        if issubclass(self.kind, StrEnum) and isinstance(value, str):
            choices = [member.value for member in self.kind]
            if value not in choices:
                raise UsageError(
                    f"there is no {value!r}{did_you_mean(value, choices)}", f"write {self.words}"
                )
            return self.kind(value)
        accepted = {float: (int, float), Path: (str,)}.get(self.kind, (self.kind,))
        if not isinstance(value, accepted) or (isinstance(value, bool) and self.kind is not bool):
            raise UsageError(f"{value!r} is of another type", f"write {self.words}")
        return self.kind(value)


@cache
def run_keys() -> Mapping[str, RunKey]:
    """The keys of the table ``[run]``, by name, in the order of ``run --help``."""
    hints = get_type_hints(RunOptions, include_extras=True)
    found = (_key(field.name, hints[field.name], field.default) for field in fields(RunOptions))
    return {key.name: key for key in found if key is not None and key.name not in NOT_IN_FILE}


def _key(field: str, hint: Any, default: object) -> RunKey | None:  # noqa: ANN401
    assert get_origin(hint) is Annotated
    kind, option = get_args(hint)
    if not isinstance(option, OptionInfo):
        return None
    # Of an annotation typer keeps the first name where a default would be.
    names = (option.default, *(option.param_decls or ()))
    long = [name for name in names if isinstance(name, str) and name.startswith("--")]
    name = long[0].partition("/")[0].removeprefix("--") if long else field.replace("_", "-")
    plain = next(iter(set(get_args(kind)) - {NoneType}), kind)
    return RunKey(name, field, plain, default, option)
