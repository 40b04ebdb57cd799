"""Text of the guest made safe, and the mark for what is absent; for sentences, which need no terminal."""

from __future__ import annotations

from ktstr_tui.model.text import printable

ABSENT = "–"
"""Shown for a value that could not be read; zero is shown as 0."""


def clean(text: str) -> str:
    """Text of the guest as one safe line."""
    return printable(text).replace("\n", " ")
