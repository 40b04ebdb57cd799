"""Times as people write them: ``12.5``, ``12.5s`` or ``500ms``."""

from __future__ import annotations

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
