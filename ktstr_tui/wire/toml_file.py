"""Read TOML files that people write, and point at the line of a mistake.

The parser keeps no positions, so `Lines` finds keys and tables again. It knows the block form: ``[table]``,
``[[tables]]`` and ``key = value``; what is written inline is found at the line of its outermost key.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any, TypeAlias

from ktstr_tui.model.errors import UsageError

Place: TypeAlias = tuple[str | int, ...]
"""The way to a value: keys of tables and indices of arrays."""
_PART = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
_DOTTED = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*\[\[?\s*({_DOTTED})\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=")


def parse_toml(source: str, filename: str) -> dict[str, Any]:
    """Parse TOML text; ``filename`` is for messages.

    Raises:
        UsageError: It is not TOML; the message names file and line.
    """
    try:
        return tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        match = re.search(r"\(at line (\d+), column \d+\)", str(error))
        line = int(match[1]) if match else source.count("\n") + 1
        message = str(error).split(" (at ")[0]
        raise UsageError(f"{filename}:{line}: {message}", "this is not valid TOML") from error
    except RecursionError as error:
        raise UsageError(
            f"{filename}: tables or arrays are nested too deeply", "no key needs that"
        ) from error


class Lines:
    """Where the keys and tables of a TOML text are.

    Args:
        source: The text; it has been parsed before.
    """

    def __init__(self, source: str) -> None:
        self._places: dict[Place, int] = {(): 1}
        self._counts: dict[Place, int] = {}
        table: Place = ()
        in_text = False
        for number, line in enumerate(source.splitlines(), 1):
            if not in_text and (header := _HEADER.match(line)):
                table = self._open(_parts(header[1]), line.lstrip().startswith("[["))
                self._places[table] = number
            elif not in_text and (key := _KEY.match(line)):
                place = table
                for part in _parts(key[1]):
                    place = (*place, part)
                    self._places.setdefault(place, number)
            in_text ^= (line.count('"""') + line.count("'''")) % 2 == 1

    def _open(self, names: list[str], is_array: bool) -> Place:
        place: Place = ()
        for depth, name in enumerate(names):
            place = (*place, name)
            if is_array and depth == len(names) - 1:
                self._counts[place] = self._counts.get(place, 0) + 1
            if place in self._counts:
                place = (*place, self._counts[place] - 1)
        return place

    def find(self, place: Place) -> int:
        """Return the line of a key or table, counted from 1; of what contains it when it is not found itself."""
        while place not in self._places:
            place = place[:-1]
        return self._places[place]


def _parts(dotted: str) -> list[str]:
    return [part.strip("\"'") for part in re.findall(_PART, dotted)]
