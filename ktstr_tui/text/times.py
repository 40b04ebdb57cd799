"""Times as people write them: ``12.5``, ``12.5s`` or ``500ms``; on a clock ``1:23.5``, and from here ``-5 s``."""

from __future__ import annotations

import re
from typing import NamedTuple

from ktstr_tui.model.errors import UsageError


def nanoseconds(word: str) -> int:
    """A time in nanoseconds.

    Raises:
        UsageError: It is no time.
    """
    text, scale = (word.removesuffix("ms"), 1e6) if word.endswith("ms") else (word.removesuffix("s"), 1e9)
    try:
        value = float(text) * scale
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e18:
        raise UsageError(f"{word!r} cannot be read as a time", "write it as 12.5, 12.5s or 500ms")
    return round(value)


class TypedTime(NamedTuple):
    """Where in a recording somebody wants to be."""

    ms: float
    """From its start, or from the time that is shown."""
    relative: bool
    """Whether it is counted from the time that is shown."""

    def from_start_ms(self, shown_ms: float) -> float:
        """The same from the start, in milliseconds; negative when that is before it."""
        return shown_ms + self.ms if self.relative else self.ms


_TYPED = re.compile(
    r"(?P<sign>[+-]?)\s*(?:(?:(?P<hours>\d{1,4}):)?(?P<minutes>\d{1,4}):)?"
    r"(?P<number>\d{1,12}(?:\.\d{0,9})?|\.\d{1,9})\s*(?P<unit>ms|s|)",
    re.ASCII,
)


def typed_time(word: str) -> TypedTime:
    """Read ``1:23.5``, ``83.5 s`` or ``500ms`` from the start, ``-5 s`` and ``+1:00`` from the time that is shown.

    Raises:
        UsageError: It is no time.
    """
    match = _TYPED.fullmatch(word.strip())
    minutes = 0 if match is None else 60 * int(match["hours"] or 0) + int(match["minutes"] or 0)
    if match is None or (match["minutes"] is not None and match["unit"] == "ms"):
        raise UsageError(f"{word!r} cannot be read as a time", "write it as 1:23.5, 83.5 s or -5 s")
    ms = minutes * 60_000.0 + float(match["number"]) * (1.0 if match["unit"] == "ms" else 1e3)
    return TypedTime(-ms if match["sign"] == "-" else ms, bool(match["sign"]))
