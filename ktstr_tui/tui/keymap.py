"""Keys that a user wants: names of keys are checked, and no key may mean two things at one place.

Textual itself takes any key map: a name that no terminal sends is never heard, and of two actions on one key one is
silently out of reach. So a key map is checked before Textual gets it.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from textual.binding import Binding
from textual.keys import Keys

from ktstr_tui.model.text import did_you_mean
from ktstr_tui.tui.action import Action
from ktstr_tui.tui.actions import ACTIONS

TAKEN = {
    "ctrl+p": "opens the command palette",
}
"""Keys of Textual that no action may have."""
_MODIFIERS = ("ctrl", "shift", "alt", "super", "meta", "hyper")


class KeyMistake(NamedTuple):
    """Why an action cannot have the keys that are wanted for it."""

    id: str
    what: str
    hint: str


def check_keys(wanted: Mapping[str, str]) -> tuple[dict[str, str], list[KeyMistake]]:
    """Check a key map.

    Args:
        wanted: Comma-separated keys by the id of an action.

    Returns:
        What can be had, with keys in Textual's names; and what cannot.
    """
    actions = {it.id: it for it in ACTIONS}
    good: dict[str, str] = {}
    mistakes = []
    for id_, keys in wanted.items():
        mistake = None if id_ in actions else _unknown(id_)
        mistake = mistake or _bad_name(id_, keys)
        if mistake is None:
            good[id_] = ",".join(_names(keys))
        else:
            mistakes.append(mistake)
    while clash := _clash(good):
        del good[clash.id]
        mistakes.append(clash)
    return good, mistakes


def _unknown(id_: str) -> KeyMistake:
    near = did_you_mean(id_, [it.id for it in ACTIONS])
    return KeyMistake(id_, f"there is no such action{near}", "ktstr-tui config show lists the actions")


def _bad_name(id_: str, keys: str) -> KeyMistake | None:
    names = _names(keys)
    if not names:
        return KeyMistake(id_, "has no key", "write at least one, such as f5")
    for name in names:
        *modifiers, key = name.split("+")
        known = len(key) == 1 or key in key_names()
        if not known or not set(modifiers) <= set(_MODIFIERS):
            near = did_you_mean(key, key_names()) if not known else did_you_mean(modifiers[0], _MODIFIERS)
            hint = "keys are written as c, S, f5, ctrl+k, slash or question_mark; several with commas between"
            return KeyMistake(id_, f"there is no key {name!r}{near}", hint)
    return None


def _clash(keys: Mapping[str, str]) -> KeyMistake | None:
    """The last action of the key map that wants a key which means something else already."""
    for number, mine in reversed(list(enumerate(ACTIONS))):
        if mine.id not in keys:
            continue
        wanted = set(keys[mine.id].split(","))
        if taken := sorted(wanted & TAKEN.keys()):
            return KeyMistake(mine.id, f"{taken[0]} {TAKEN[taken[0]]}", "choose another key")
        for other_number, other in enumerate(ACTIONS):
            theirs = set(_names(keys.get(other.id, other.keys)))
            earlier = other.id not in keys or other_number < number
            if other.id != mine.id and earlier and _meet(mine, other) and (both := sorted(wanted & theirs)):
                what = f"{both[0]} is the key of {other.id} ({other.label}) too"
                return KeyMistake(mine.id, what, f"choose another, or give {other.id} another key")
    return None


def _meet(one: Action, other: Action) -> bool:
    """Whether the keys of both are heard at one place: main screen, report and timeline are never seen together."""
    return one.place == other.place or not {"app", "pane"}.isdisjoint({one.place, other.place})


def _names(keys: str) -> list[str]:
    """Keys in Textual's names: ``/`` is ``slash``."""
    wanted = [key.strip() for key in keys.split(",") if key.strip()]
    return [it.key for key in wanted for it in Binding.make_bindings([Binding(key, "")])]


@cache
def key_names() -> frozenset[str]:
    """Names of keys longer than one character, without modifiers."""
    punctuation = (name for sign in string.punctuation if sign != "," for name in _names(sign))
    named = {key.value for key in Keys if "+" not in key.value and not key.value.startswith("<")}
    return frozenset({"comma", *punctuation, *named})
