"""Requests in bytes: against our own reader of the other side, in any split, and amid anything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.debug.requests import (
    MAX_REQUEST_BYTES,
    Asked,
    Damaged,
    Heard,
    Interrupt,
    RequestReader,
    encode_answer,
)
from ktstr_tui.guest.gdb_packets import PacketReader


def pieces(data: bytes, size: int) -> list[Heard]:
    reader = RequestReader()
    return [it for at in range(0, len(data), size) for it in reader.feed(data[at : at + size])]


@given(st.binary(max_size=300))
def test_an_answer_is_read_back_by_the_reader_for_qemus_stub(data: bytes) -> None:
    assert PacketReader().feed(encode_answer(data)) == [data.decode("latin-1")]


@given(st.lists(st.binary(max_size=60), max_size=6), st.integers(1, 9))
def test_requests_come_out_whole_in_any_split(requests: list[bytes], size: int) -> None:
    sent = b"+".join(encode_answer(it) for it in requests)
    assert pieces(sent, size) == [Asked(it) for it in requests]


@given(st.binary(max_size=400), st.integers(1, 40))
def test_nothing_that_is_sent_raises_and_the_split_changes_nothing(data: bytes, size: int) -> None:
    assert pieces(data, size) == RequestReader().feed(data)


def test_an_interrupt_is_heard_between_requests_and_is_data_inside_of_one() -> None:
    inside = encode_answer(b"M0,1:\x03")
    assert RequestReader().feed(b"\x03" + inside + b"\x03") == [Interrupt(), Asked(b"M0,1:\x03"), Interrupt()]


def test_what_is_damaged_is_counted_and_what_comes_behind_it_is_read() -> None:
    reader = RequestReader()
    assert reader.feed(b"junk$g#00$g#67") == [Damaged(), Asked(b"g")]
    assert reader.junk_bytes == 4


def test_a_request_without_an_end_is_given_up() -> None:
    reader = RequestReader()
    assert reader.feed(b"$" + b"a" * (MAX_REQUEST_BYTES // 2)) == []
    assert reader.feed(b"a" * MAX_REQUEST_BYTES) == [Damaged()]
    assert reader.junk_bytes > MAX_REQUEST_BYTES
    assert reader.feed(b"$g#67") == [Asked(b"g")]
