"""What a run that is had again is asked, answered over the page that it shares with its observer."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.guest.held_counts import HeldCounts
from ktstr_tui.guest.observer_page import MAX_NOTED, MAX_NOTES, Held, HoldReason, Note, Notes, ObserverPage
from ktstr_tui.guest.retracing import (
    HoldAt,
    NoteDown,
    Place,
    Retracing,
    WhatWasNoted,
    WhereIsIt,
    encode,
    place_of,
)
from ktstr_tui.model.errors import UsageError

PLACE = Place(100, False, 1, 0xFFFFFFFF81000000)
NR_NOTES, NOTES, BEGUN, HOLD_AT = 400, 313344, 280576, 24


@pytest.fixture
def page() -> Iterator[ObserverPage]:
    with closing(ObserverPage()) as page:
        yield page


def answer(page: ObserverPage, text: str) -> str | None:
    return Retracing(page, lambda: PLACE, HeldCounts(page).stop_at).answer(text)


def test_it_says_where_it_is_and_what_was_noted(page: ObserverPage) -> None:
    assert msgspec.json.decode(answer(page, encode(WhereIsIt())) or "", type=Place) == PLACE
    assert answer(page, encode(NoteDown(((16, 8), (20, 8)), (7,), 1))) == "OK"
    assert msgspec.json.decode(answer(page, encode(WhatWasNoted())) or "", type=Notes) == Notes(
        (), (), True, True
    )
    notes = [Note(it, it + 3, 16, 99, it, 1, 8) for it in range(MAX_NOTES + 10)]
    struct.pack_into("<QQ", page._map, NR_NOTES, len(notes), 2)
    struct.pack_into("<QQ", page._map, BEGUN, 5, 8)
    for number, it in enumerate(notes):
        struct.pack_into("<QQQQQII", page._map, NOTES + number % MAX_NOTES * 48, *msgspec.structs.astuple(it))
    found = msgspec.json.decode(answer(page, encode(WhatWasNoted())) or "", type=Notes)
    assert found == Notes(tuple(notes[10:]), (5, 8), False, True)
    # What is noted from now on begins anew.
    assert answer(page, encode(NoteDown())) == "OK"
    assert page.notes() == Notes((), (), True, True)


@pytest.mark.parametrize(
    "request_",
    [
        NoteDown(ranges=((0, 1),) * (MAX_NOTED + 1)),
        NoteDown(probes=(1,) * (MAX_NOTED + 1)),
        NoteDown(probes=(-1,)),
        NoteDown(ranges=((1 << 64, 1),)),
        NoteDown(ranges=(((1 << 64) - 8, 9),)),
        NoteDown(ranges=((16, 0),)),
        NoteDown(vcpu=-2),
        NoteDown(vcpu=1 << 40),
        HoldAt(-1),
        HoldAt(1 << 64),
    ],
)
def test_what_does_not_fit_is_refused(request_: NoteDown | HoldAt, page: ObserverPage) -> None:
    before = bytes(page._map[:])
    with pytest.raises(UsageError):
        answer(page, encode(request_))
    assert bytes(page._map[:]) == before


@given(st.text(max_size=200) | st.binary(max_size=100).map(lambda data: f"QKtstr:{data.hex()}"))
def test_any_text_is_answered_or_refused_or_is_somebody_elses(text: str) -> None:
    with closing(ObserverPage()) as page:
        try:
            found = answer(page, text)
        except UsageError:
            return
        assert found is None or text.startswith("QKtstr:")


def test_the_smaller_of_two_numbers_is_held_at_first_and_each_once(page: ObserverPage) -> None:
    def told() -> int:
        return int(struct.unpack_from("<Q", page._map, HOLD_AT)[0])

    counts = HeldCounts(page)
    counts.visit_at(50)
    counts.stop_at(30)
    assert told() == 30
    assert counts.take_due(31) == (False, True)
    assert told() == 50
    assert counts.take_due(40) == (False, False)
    counts.stop_at(50)
    assert counts.take_due(50) == (True, True)
    assert told() == 0
    assert counts.take_due(60) == (False, False)


def test_places_are_in_the_order_of_time_and_name_what_was_hit() -> None:
    def place(reason: HoldReason, total: int, rip: int, *, in_block: bool = False) -> Place:
        return place_of(Held(reason, 1, total, 0x10, 7, 8, (), in_block), rip)

    inside = [place(HoldReason.WRITE, 20, rip, in_block=True) for rip in (4, 8)]
    behind = place(HoldReason.CALL, 20, 1)
    before = place(HoldReason.STOP, 10, 9)
    assert sorted([behind, inside[1], before, inside[0]], key=lambda it: it.order) == [
        before,
        *inside,
        behind,
    ]
    assert [it.hit for it in (before, inside[0], behind)] == [None, (0x10, 8), (0x10, 0)]
