"""A name for the layout of the messages between a run and its viewers, made from their types.

The version byte of a message changes when somebody remembers to change it; a field that came or went changes nothing in
it, and the two sides then misread each other or lose messages without a word. So commands and replies carry the name of
the layout that their program knows, and a peer that knows another one is named at once. Words of the documentation are
no part of it. A program that says no layout is one of somebody else's, and takes what it gets.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

import msgspec

from ktstr_tui import __version__
from ktstr_tui.model.commands import Command, Reply
from ktstr_tui.model.events import Event
from ktstr_tui.model.state import RunState

_WORDS = ("description", "title")
_DIGITS = 8


@cache
def layout() -> str:
    """Name the layout of this program's messages: its version and a digest of their types."""
    return f"{__version__} {digest(Event, RunState, Command, Reply)}"


def digest(*types: Any) -> str:  # noqa: ANN401 - unions are types too
    """Return a short digest of the fields of some types, and of all that they are made of."""
    _, components = msgspec.json.schema_components(types)
    plain = msgspec.json.encode(_without_words(components), order="deterministic")
    return hashlib.sha256(plain).hexdigest()[:_DIGITS]


def _without_words(value: Any) -> Any:  # noqa: ANN401 - a JSON schema is anything
    if isinstance(value, dict):
        return {
            key: _without_words(it)
            for key, it in value.items()
            # A field may have such a name, but then its schema is no text.
            if key not in _WORDS or not isinstance(it, str)
        }
    return [_without_words(it) for it in value] if isinstance(value, list) else value
