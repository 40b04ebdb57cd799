"""Where the keys of a scenario are, so that a mistake is named with file, line and key.

A mistake is found in one of three places: the parser finds what is no TOML, msgspec what is no scenario, and
`ktstr_tui.guest.scenario_checks` what cannot be done. The last two know the way to a value; its line is found here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.text import did_you_mean
from ktstr_tui.wire.toml_file import Lines, Place, parse_toml

KeysOf = Callable[[Place, dict[str, Any]], Sequence[str]]
"""The keys of the table at a place of a parsed scenario."""


class ScenarioSource:
    """The text of a scenario.

    Args:
        text: As it was read.
        filename: For messages.

    Raises:
        UsageError: It is not TOML.
    """

    def __init__(self, text: str, filename: str) -> None:
        self.table = parse_toml(text, filename)
        self.filename = filename
        self._lines = Lines(text)

    def mistake(self, place: Place, what: str, hint: str = "") -> UsageError:
        """Make the error for what is wrong at a place.

        Args:
            place: The way to the value; steps, operations and the like are counted from 0, and shown from 1.
            what: What is wrong with it.
            hint: What would be right.
        """
        key = ".".join(f"{part + 1}" if isinstance(part, int) else part for part in place)
        line = self._lines.find(place)
        return UsageError(f"{self.filename}:{line}: {key or 'scenario'}: {what}", hint)

    def mistyped(self, message: str, choices: Mapping[str, Sequence[str]], keys_of: KeysOf) -> UsageError:
        """Make the error for what msgspec says: ``what is wrong - at `$.steps[0].workers[1].kind```.

        Args:
            message: Of the validation error.
            choices: What the keys with a closed set of values may be.
            keys_of: Names the keys of a table.
        """
        what, _, at = message.partition(" - at `$")
        place: Place = tuple(
            int(number) if number else name for number, name in re.findall(r"\[(\d+)\]|\.(\w+)", at)
        )
        if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", what):
            keys = keys_of(place, self.table)
            what = f"there is no such key{did_you_mean(unknown[1], keys)}"
            return self.mistake((*place, unknown[1]), what, f"keys here are {', '.join(keys)}")
        if missing := re.fullmatch(r"Object missing required field `(.*)`", what):
            what = f"the key {missing[1]} is missing"
        names = [part for part in place if isinstance(part, str)]
        known = choices.get(names[-1], ()) if names else ()
        if value := re.fullmatch(r"Invalid (?:enum )?value '(.*)'", what):
            what = f"there is no {names[-1]} {value[1]!r}{did_you_mean(value[1], known)}"
        return self.mistake(place, what, f"{names[-1]} is one of {', '.join(known)}" if known else "")
