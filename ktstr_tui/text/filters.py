"""What a filter lets through: a regular expression, or with ``!`` before it all that it does not match.

Letter case does not matter. A text that is no regular expression is looked for as it stands, so that a filter is of use
while it is still being typed.
"""

from __future__ import annotations

import re
from functools import lru_cache


@lru_cache(maxsize=64)
def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error:
        return re.compile(re.escape(text), re.IGNORECASE)


def keeps(wanted: str, text: str) -> bool:
    """Whether a filter lets a line through.

    Args:
        wanted: The filter; an empty one lets everything through, as does a ``!`` alone.
        text: The line.
    """
    inverse = wanted.startswith("!")
    wanted = wanted[inverse:]
    return not wanted or (_pattern(wanted).search(text) is not None) != inverse


def is_literal(wanted: str) -> bool:
    """Whether a filter is no regular expression, and so is looked for as it stands."""
    try:
        re.compile(wanted.removeprefix("!"))
    except re.error:
        return True
    return False
