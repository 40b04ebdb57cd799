"""Random values of the model's types, made from their annotations, so that new fields and events are covered too."""

from __future__ import annotations

import types
import typing
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st

from ktstr_tui.model import events as ev

EVENT_TYPES: tuple[type[msgspec.Struct], ...] = get_args(ev.Event)

_TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=5,
)


@cache
def values(kind: Any) -> st.SearchStrategy[Any]:  # noqa: ANN401
    """Values of an annotation: plain types, structs, and containers, unions and literals of them."""
    simple: dict[Any, st.SearchStrategy[Any]] = {
        # Some fields are summed by the fold, and no sum of a run leaves 64 bits.
        int: st.integers(-(2**56), 2**56),
        float: st.floats(allow_nan=False, allow_infinity=False),
        str: _TEXT,
        bool: st.booleans(),
        type(None): st.none(),
        Any: _PLAIN,
    }
    if kind in simple:
        return simple[kind]
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return st.sampled_from(args)
    if origin in (Union, types.UnionType):
        return st.one_of(*[values(arg) for arg in args])
    if origin is tuple and args[-1] is not ...:
        return st.tuples(*[values(arg) for arg in args])
    if origin is tuple:
        return st.lists(values(args[0]), max_size=2).map(tuple)
    if origin is list:
        return st.lists(values(args[0]), max_size=2)
    if origin is dict:
        return st.dictionaries(values(args[0]), values(args[1]), max_size=2)
    return structs(kind)


@cache
def structs(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Instances of a struct with every field random."""
    hints = {name: hint for name, hint in get_type_hints(kind).items() if not _is_class_variable(hint)}
    return st.builds(kind, **{name: values(hint) for name, hint in hints.items()})


def _is_class_variable(hint: object) -> bool:
    return hint is typing.ClassVar or get_origin(hint) is typing.ClassVar


def any_event() -> st.SearchStrategy[ev.Event]:
    """Any event, with any content."""
    return st.one_of(*[structs(kind) for kind in EVENT_TYPES])


def numbered(events: list[ev.Event]) -> list[ev.Event]:
    """The same events as a stream would number them."""
    return [
        msgspec.structs.replace(event, seq=seq, mono_ns=1_000_000 * seq)
        for seq, event in enumerate(events, 1)
    ]


def streams(max_size: int = 30) -> st.SearchStrategy[list[ev.Event]]:
    """Lists of events numbered from 1."""
    return st.lists(any_event(), max_size=max_size).map(numbered)
