"""The loop in C over a page of the trace, against a plain second reading, for every kind of header and for garbage."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui._native import ffi, lib
from ktstr_tui.kernel.trace.decode import Decoder
from ktstr_tui.kernel.trace.rings import PageCopy
from tests.oracles import trace_pages as plain

DELTAS = st.integers(0, (1 << 27) - 1)
TIMES = st.integers(0, (1 << 64) - 1)
BODIES = st.binary(min_size=4, max_size=200)
PIECES = st.one_of(
    st.builds(lambda *it: plain.data_event(it[0], it[1], long=it[2]), BODIES, DELTAS, st.booleans()),
    st.builds(plain.discarded, st.integers(1, 20), st.integers(1, (1 << 27) - 1)),
    st.builds(plain.extend, st.integers(0, (1 << 59) - 1)),
    st.builds(plain.stamp, TIMES),
)  # fmt: skip
PAGES = st.one_of(st.lists(PIECES, max_size=60).map(b"".join), st.binary(max_size=600))


def decoded(data: bytes, time_ns: int) -> tuple[list[plain.Event], int]:
    """What C makes of a page, and the bytes that it says are damaged."""
    counts = ffi.new("struct ktt_counts *")
    rows, found = Decoder({}).decode_raw(PageCopy(time_ns, data), 3, counts)
    assert counts.events == counts.unplanned == found
    assert all(rows[k].cpu == 3 for k in range(found))
    return [plain.Event(rows[k].time_ns, rows[k].at, rows[k].length) for k in range(found)], counts.damaged


@given(data=PAGES, time_ns=TIMES)
def test_both_readings_agree_on_any_page(data: bytes, time_ns: int) -> None:
    events, damaged = decoded(data, time_ns)
    assert events == plain.events_of(data, time_ns)
    assert all(event.at + event.length <= len(data) for event in events)
    assert damaged <= len(data)


@given(pieces=st.lists(PIECES, max_size=30), time_ns=TIMES, cut=st.integers(0, 8))
def test_nothing_is_damaged_but_what_is_cut_off(pieces: list[bytes], time_ns: int, cut: int) -> None:
    data = b"".join(pieces)
    assert decoded(data, time_ns)[1] == 0
    shorter = data[: max(0, len(data) - cut)]
    before = decoded(data, time_ns)[0]
    assert decoded(shorter, time_ns)[0] == before[: len(decoded(shorter, time_ns)[0])]


def test_pages_that_are_decoded_by_two_threads_do_not_meet() -> None:
    # A capture is rendered in one thread while another follows the trace, with one decoder.
    decoder, counts = Decoder({}), ffi.new("struct ktt_counts *")
    one, other = (plain.data_event(bytes([number]) * 16, number, long=False) for number in (1, 2))
    rows, found = decoder.decode_raw(PageCopy(1000, one * 5), 0, counts)
    before = [(rows[k].time_ns, rows[k].cpu) for k in range(found)]
    theirs = threading.Thread(
        target=decoder.decode_raw, args=(PageCopy(9000, other * 3), 1, ffi.new("struct ktt_counts *"))
    )
    theirs.start()
    theirs.join()
    assert [(rows[k].time_ns, rows[k].cpu) for k in range(found)] == before


def test_what_follows_the_end_of_a_page_is_not_read() -> None:
    first = plain.data_event(b"\1\0\0\0", 5)
    events, damaged = decoded(first + plain.END + plain.data_event(b"\2\0\0\0", 5), 100)
    assert events == [plain.Event(105, 4, 4)]
    assert damaged == 0


def test_an_absolute_time_keeps_the_upper_bits_of_the_time_before() -> None:
    before = (3 << plain.STAMP_BITS) + 1000
    page = plain.stamp(2000) + plain.data_event(bytes(4), 1)
    assert decoded(page, before)[0][0].time_ns == (3 << plain.STAMP_BITS) + 2001
    page = plain.stamp(10) + plain.data_event(bytes(4), 1)
    assert decoded(page, before)[0][0].time_ns == (4 << plain.STAMP_BITS) + 11
    assert decoded(plain.stamp(10) + plain.data_event(bytes(4), 1), 1000)[0][0].time_ns == 11


@given(value=st.integers(0, (1 << 64) - 1), size=st.sampled_from([1, 2, 4, 8]), signed=st.booleans())
def test_numbers_are_read_in_their_width_and_sign(value: int, size: int, signed: bool) -> None:
    plans = ffi.new("struct ktt_plan[1]")
    plans[0].type = 7
    member = plans[0].members[2]
    member.offset, member.size, member.is_signed = 4, size, signed
    data = plain.data_event(b"\7\0\0\0" + value.to_bytes(8, "little"), 0)
    events, counts = ffi.new("struct ktt_event[4]"), ffi.new("struct ktt_counts *")
    assert lib.ktt_decode(ffi.from_buffer(data), len(data), 0, 0, plans, 1, events, 4, counts) == 1
    expected = int.from_bytes(value.to_bytes(8, "little")[:size], "little", signed=signed)
    assert events[0].values[2] == (
        expected if signed or size < 8 else expected - (1 << 64) * (expected >> 63)
    )
    assert events[0].missing == 0


def test_a_number_outside_its_event_is_missing() -> None:
    plans = ffi.new("struct ktt_plan[1]")
    plans[0].type = 7
    for k, (offset, size) in enumerate(((4, 4), (8, 4), (65535, 8), (4, 200))):
        plans[0].members[k].offset, plans[0].members[k].size = offset, size
    data = plain.data_event(b"\7\0\0\0\5\0\0\0", 0) + plain.data_event(bytes(64), 0)
    events, counts = ffi.new("struct ktt_event[4]"), ffi.new("struct ktt_counts *")
    assert lib.ktt_decode(ffi.from_buffer(data), len(data), 0, 0, plans, 1, events, 4, counts) == 2
    assert (events[0].values[0], events[0].missing) == (5, 0b1110)
    assert (counts.events, counts.unplanned) == (2, 1)
