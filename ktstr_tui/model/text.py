"""Making text of the guest safe to show."""

from __future__ import annotations

import re

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Strip terminal escape sequences, control and text-direction characters; keep newlines, expand tabs."""
    return _CONTROL.sub("", _ESCAPES.sub("", text.expandtabs(8)))


def shorten(text: str, width: int) -> str:
    """Cut ``text`` to ``width`` characters, the last being an ellipsis when something was cut."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"
