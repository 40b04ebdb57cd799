"""``compare``: where two runs begin to differ, without what is the host's in their events."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from ktstr_tui.backend.again import differences
from ktstr_tui.backend.identity import Identity
from ktstr_tui.backend.instants import difference, of_the_guest
from ktstr_tui.cli.kept_runs import events_of, find_kept
from ktstr_tui.model.events import Event
from ktstr_tui.model.stored import IDENTITY_FILE
from ktstr_tui.text.output import print_json, print_line

MAX_WORDS = 200


def compare_command(one: str, other: str, as_json: bool) -> None:
    """Print what two runs were made of that differs, and their first event that does.

    Raises:
        UsageError: One of them is no run with a seed.
    """
    places = [find_kept(one), find_kept(other)]
    made = differences(*(_identity(it) for it in places))
    streams = [_seen(events_of(it)) for it in places]
    found = difference(*streams)
    if as_json:
        first = None if found is None else dict(zip(("number", "one", "other"), found, strict=True))
        print_json({"made_of": made, "first_difference": first, "events": [len(it) for it in streams]})
    else:
        _print(made, found, len(streams[0]))


def _identity(directory: Path) -> Identity:
    return msgspec.json.decode((directory / IDENTITY_FILE).read_bytes(), type=Identity)


def _seen(events: Iterable[Event]) -> list[dict[str, Any]]:
    return [it for it in map(of_the_guest, events) if it is not None]


def _print(made: list[str], found: tuple[int, Any, Any] | None, number: int) -> None:
    for line in made:
        print_line(f"made of   {line}")
    if found is None:
        print_line(f"events    all {number} are the same")
        return
    at, mine, theirs = found
    print_line(f"events    the first {at} are the same, then:")
    for label, event in (("one", mine), ("other", theirs)):
        print_line(f"{label:9} {_words(event)}")
    if mine is not None and theirs is not None and mine["type"] == theirs["type"]:
        names = sorted(it for it in {*mine, *theirs} if mine.get(it) != theirs.get(it))
        print_line(f"differ in {', '.join(names)}")


def _words(event: dict[str, Any] | None) -> str:
    if event is None:
        return "ended"
    plain = msgspec.json.encode(event).decode()
    return plain if len(plain) <= MAX_WORDS else f"{plain[:MAX_WORDS]}…"
