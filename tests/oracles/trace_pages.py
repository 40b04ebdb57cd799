"""A second reading of the kernel's trace pages, from the text of include/linux/ring_buffer.h, and a writer of them.

Slow and plain: one event at a time, with Python's integers of any width.
"""

from __future__ import annotations

from typing import NamedTuple

PADDING, EXTEND, STAMP = 29, 30, 31
DELTA_BITS, STAMP_BITS = 27, 59
WORD = 4


class Event(NamedTuple):
    """An event as it lies in a page."""

    time_ns: int
    at: int
    """Of its body."""
    length: int


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + WORD], "little")


def events_of(data: bytes, time_ns: int) -> list[Event]:
    """Return the events of a page that begins at a time, up to the first that reaches outside of it."""
    found, at = [], 0
    while at + WORD <= len(data):
        kind, delta, at = _word(data, at) & 31, _word(data, at) >> 5, at + WORD
        if kind == PADDING and delta == 0:
            break
        if kind in (0, PADDING, EXTEND, STAMP):
            if at + WORD > len(data):
                break
            second = _word(data, at)
            if kind == EXTEND:
                time_ns = (time_ns + (second << DELTA_BITS) + delta) % (1 << 64)
                at += WORD
                continue
            if kind == STAMP:
                time_ns = _absolute((second << DELTA_BITS) + delta, time_ns)
                at += WORD
                continue
            start = at + WORD if kind == 0 else at
            end = at + (second + 3) // 4 * 4
            if end <= start:
                break
        else:
            start, end = at, at + WORD * kind
        if end > len(data):
            break
        time_ns = (time_ns + delta) % (1 << 64)
        if kind != PADDING:
            found.append(Event(time_ns, start, end - start))
        at = end
    return found


def _absolute(stamp: int, before: int) -> int:
    upper = before >> STAMP_BITS << STAMP_BITS
    time_ns = stamp | upper
    return (time_ns + (1 << STAMP_BITS) if upper and time_ns < before else time_ns) % (1 << 64)


def head_word(kind: int, delta: int) -> bytes:
    """The word before an event."""
    return (delta << 5 | kind).to_bytes(WORD, "little")


def data_event(body: bytes, delta: int, *, long: bool = False) -> bytes:
    """An event with what goes before it; ``long`` gives its length in a word of its own."""
    body += bytes(-len(body) % WORD)
    words = len(body) // WORD
    if long or not 0 < words < PADDING:
        return head_word(0, delta) + (len(body) + WORD).to_bytes(WORD, "little") + body
    return head_word(words, delta) + body


def discarded(length: int, delta: int) -> bytes:
    """An event that the kernel threw away; ``length`` in words, the one with the length included."""
    return head_word(PADDING, delta) + (WORD * length).to_bytes(WORD, "little") + bytes(WORD * (length - 1))


def extend(delta: int) -> bytes:
    """Time that passed, up to 59 bits."""
    return head_word(EXTEND, delta & (1 << DELTA_BITS) - 1) + (delta >> DELTA_BITS).to_bytes(WORD, "little")


def stamp(time_ns: int) -> bytes:
    """The time itself."""
    rest = time_ns & (1 << STAMP_BITS) - 1
    return head_word(STAMP, rest & (1 << DELTA_BITS) - 1) + (rest >> DELTA_BITS).to_bytes(WORD, "little")


END = head_word(PADDING, 0)
"""Nothing more on this page."""
