"""Bounds of the dispatch: text in chunks, floods, counters."""

from __future__ import annotations

from ktstr_tui.port.actions import (
    Text,
    UnknownType,
)
from ktstr_tui.port.dispatch import Dispatcher
from ktstr_tui.wire.frames import Frame
from ktstr_tui.wire.messages import (
    ExitCode,
    MsgType,
)
from tests.unit.port.test_dispatch import without_marks


def test_a_character_split_over_two_chunks_comes_with_the_second() -> None:
    euro = "€".encode()
    dispatcher = Dispatcher()
    actions = dispatcher.dispatch(
        [
            Frame(MsgType.Stdout, b"price: " + euro[:1], True),
            Frame(MsgType.Stderr, b"other stream\n", True),
            Frame(MsgType.Stdout, euro[1:] + b"5\n", True),
        ]
    )
    assert without_marks(actions) == [
        Text(MsgType.Stdout, "price: "),
        Text(MsgType.Stderr, "other stream\n"),
        Text(MsgType.Stdout, "€5\n"),
    ]


def test_a_torn_chunk_of_text_does_not_garble_the_next_one() -> None:
    dispatcher = Dispatcher()
    actions = dispatcher.dispatch(
        [
            Frame(MsgType.Stdout, b"\xe2\x82", True),
            Frame(MsgType.Stdout, b"torn", False),
            Frame(MsgType.Stdout, b"plain", True),
        ]
    )
    assert without_marks(actions) == [Text(MsgType.Stdout, "plain")]


def test_a_flood_of_one_type_cannot_push_another_out() -> None:
    dispatcher = Dispatcher(bucket_entries=4, bucket_bytes=1000)
    dispatcher.dispatch([Frame(MsgType.SchedExit, ExitCode(1).pack(), True)])
    dispatcher.dispatch([Frame(MsgType.Stdout, b"%d" % i, True) for i in range(10)])
    statistics = dispatcher.statistics()
    assert statistics.bucketed == 11
    assert statistics.evicted == {"Stdout": 6}
    assert statistics.bucket_entries == 5
    entries = dispatcher.drain_bucket()
    assert [entry.index for entry in entries] == [0, 7, 8, 9, 10]
    assert dispatcher.statistics().bucket_entries == 0


def test_the_bucket_is_bounded_in_bytes_but_keeps_the_newest_entry() -> None:
    dispatcher = Dispatcher(bucket_bytes=100)
    dispatcher.dispatch([Frame(MsgType.Stdout, bytes(60), True), Frame(MsgType.Stdout, bytes(60), True)])
    assert dispatcher.statistics().bucket_bytes == 60
    dispatcher.dispatch([Frame(MsgType.Stdout, bytes(500), True)])
    assert [len(entry.payload) for entry in dispatcher.drain_bucket()] == [500]


def test_counters_add_up() -> None:
    dispatcher = Dispatcher()
    frames = [Frame(kind, bytes(5), crc_ok) for kind in [*MsgType, 1, 2, 1] for crc_ok in (True, False)]
    actions = dispatcher.dispatch(frames)
    statistics = dispatcher.statistics()
    assert statistics.frames == len(frames)
    assert statistics.bytes == 21 * len(frames)
    assert statistics.crc_bad == len(frames) // 2
    assert statistics.unknown == 6
    assert sum(statistics.by_type.values()) + statistics.unknown == statistics.frames
    # Here no internal frame has a good shape, so each is either dropped or bucketed.
    assert statistics.bucketed + sum(statistics.dropped.values()) == sum(statistics.by_type.values())
    assert [action for action in actions if isinstance(action, UnknownType)] == [
        UnknownType(1),
        UnknownType(2),
    ]


def test_a_flood_of_unknown_types_is_told_of_a_few_times_only() -> None:
    dispatcher = Dispatcher()
    actions = dispatcher.dispatch([Frame(number, b"", True) for number in range(1000)])
    assert len(actions) == 16
    assert dispatcher.statistics().unknown == 1000
