"""What came last before an instant, of all that a run noted when it was had again.

Whoever goes back is held where a block of translated code begins, before it is executed. So a store that is gone back
over is not made yet, and what is watched shows the value that it had before.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ktstr_tui.capture.stop.debugger import DebuggerStop
from ktstr_tui.capture.watch.debugger_points import Point
from ktstr_tui.guest.observer_page import Note, Notes
from ktstr_tui.guest.retracing import NoteDown, Place

_BREAKS = ("break", "hbreak")


class Earlier(msgspec.Struct, frozen=True):
    """Where to go back to."""

    total: int
    """Instructions executed by all vCPUs."""
    stop: DebuggerStop
    """What the debugger is shown there."""
    breakpoint: int | None = None
    """The breakpoint that is the reason, which may be behind where the block begins."""


def to_note(points: Iterable[Point], vcpu: int) -> NoteDown:
    """What a run is to note, so that breakpoints, writes and the last block of a vCPU can be found in it."""
    known = list(points)
    return NoteDown(
        ranges=tuple((it.address, it.length) for it in known if it.kind == "watch"),
        probes=tuple(it.address for it in known if it.kind in _BREAKS),
        vcpu=vcpu,
    )


def last_block(notes: Notes, here: Place, vcpu: int) -> Earlier | None:
    """The last block of that vCPU that began before an instant; None when none was noted."""
    began = max((it for it in notes.begun if it < here.total), default=None)
    return None if began is None else Earlier(began, DebuggerStop(vcpu=vcpu))


def last_met(here: Place, points: Iterable[Point]) -> Earlier | None:
    """The last breakpoint before the one that a machine is held for, in the same block; None when there is none."""
    reached = here.breakpoint
    if here.in_block or reached is None:
        return None
    met = [it.address for it in points if it.kind in _BREAKS and here.rip <= it.address < reached]
    return Earlier(here.total, DebuggerStop(vcpu=here.vcpu), max(met)) if met else None


def last_hit(notes: Notes, here: Place, points: Iterable[Point]) -> Earlier | None:
    """The last breakpoint, or store that changed what is watched, before an instant; None when none was noted."""
    known = list(points)
    for number in range(len(notes.notes) - 1, -1, -1):
        note = notes.notes[number]
        if not _is_before(note, here):
            continue
        stop = _stop_of(note, known)
        if stop is not None and (not note.width or _changed(notes.notes, number)):
            return Earlier(note.began, stop, None if note.width else note.address)
    return None


def hit_at(place: Place, points: Iterable[Point]) -> DebuggerStop | None:
    """The stop that a debugger with these points is shown of a held machine; None when it is for none of them."""
    if place.hit is None:
        return None
    address, width = place.hit
    note = Note(place.total, place.total, address, place.rip, 0, place.vcpu, width)
    return _stop_of(note, list(points))


def _is_before(note: Note, here: Place) -> bool:
    if note.ended != here.total or not here.in_block:
        return note.ended <= here.total
    return note.width == 0 or note.next_ip <= here.rip


def _stop_of(note: Note, points: list[Point]) -> DebuggerStop | None:
    for point in points:
        if not note.width and point.kind in _BREAKS and point.address == note.address:
            return DebuggerStop(vcpu=note.vcpu)
        if note.width and point.kind == "watch" and _overlap(note, point.address, point.length):
            return DebuggerStop(vcpu=note.vcpu, watch="watch", address=point.address)
    return None


def _changed(notes: tuple[Note, ...], number: int) -> bool:
    """Whether a store left another value than there was, as far as the noted stores before it tell."""
    note = notes[number]
    for before in reversed(notes[:number]):
        if before.width and _overlap(before, note.address, note.width):
            same = (before.address, before.width) == (note.address, note.width)
            return not same or note.width > 8 or before.value != note.value
    return True


def _overlap(note: Note, address: int, length: int) -> bool:
    return note.address < address + length and address < note.address + note.width
