"""A name for the layout of the messages between a run and its viewers, made from their types.

The version byte of a message changes when somebody remembers to change it; a field that came or went changes nothing in
it, and the two sides then misread each other or lose messages without a word. So commands and replies carry the name of
the layout that their program knows, and a peer that knows another one is named at once. Words of the documentation are
no part of it. A program that says no layout is one of somebody else's, and takes what it gets.
"""

from __future__ import annotations

import enum
import hashlib
import re
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, get_args

import msgspec

from ktstr_tui import __version__
from ktstr_tui.model.commands import Command, Reply
from ktstr_tui.model.events import Event
from ktstr_tui.model.state import RunState

BATCH_FORMAT: Final = 3
"""First byte of a message with events, see `event_batch`; other than that of an event, which it was before."""
_DIGITS = 8
_NAMES: Final = re.compile(r"[A-Za-z_]\w*")
_PLAIN: Final = (str, int, float, bool, bytes, tuple, frozenset, type(None))


@cache
def layout() -> str:
    """Name the layout of this program's messages: its version and a digest of their types."""
    return f"{__version__} {digest(Event, RunState, Command, Reply)}.{BATCH_FORMAT}"


def digest(*types: Any) -> str:  # noqa: ANN401 - unions are types too
    """Return a short digest of the fields of some types, and of all that they are made of."""
    known, waiting = dict[str, str](), list(types)
    while waiting:
        found = waiting.pop()
        name = f"{found.__module__}.{found.__qualname__}" if isinstance(found, type) else repr(found)
        if name not in known:
            known[name] = " ".join(_described(found))
            waiting += _made_of(found)
    plain = "\n".join(f"{name}: {known[name]}" for name in sorted(known))
    return hashlib.sha256(plain.encode()).hexdigest()[:_DIGITS]


def _described(found: Any) -> Iterator[str]:  # noqa: ANN401 - unions are types too
    if not isinstance(found, type):
        return
    if issubclass(found, enum.Enum):
        yield from (f"{it.name}={it.value!r}" for it in found)
    elif issubclass(found, msgspec.Struct):
        config, defaults = found.__struct_config__, found.__struct_defaults__
        yield f"{config.tag_field}={config.tag!r} {config.array_like} {found.__struct_encode_fields__}"
        written = _annotations(found)
        missing = len(found.__struct_fields__) - len(defaults)
        for at, field in enumerate(found.__struct_fields__):
            default = defaults[at - missing] if at >= missing else msgspec.NODEFAULT
            made_by = getattr(default, "factory", None)
            told = default if isinstance(default, _PLAIN) else made_by or type(default)
            yield f"{field}: {written[field][0]} = {getattr(told, '__name__', None) or repr(told)}"


def _made_of(found: Any) -> list[Any]:  # noqa: ANN401 - unions are types too
    if not isinstance(found, type) or not issubclass(found, msgspec.Struct):
        return list(get_args(found))
    parts = []
    for text, module in _annotations(found).values():
        names = vars(sys.modules[module])
        parts += [names[name] for name in _NAMES.findall(text) if _is_ours(names.get(name))]
    return parts


def _is_ours(found: object) -> bool:
    """Whether it is a type of messages, or made of some: what is imported from elsewhere has no layout of ours."""
    return bool(get_args(found)) or (
        isinstance(found, type) and issubclass(found, msgspec.Struct | enum.Enum)
    )


def _annotations(found: type) -> dict[str, tuple[str, str]]:
    """Each field's annotation as it is written, and the module in which."""
    return {
        name: (text if isinstance(text, str) else repr(text), base.__module__)
        for base in reversed(found.__mro__)
        for name, text in vars(base).get("__annotations__", {}).items()
    }
