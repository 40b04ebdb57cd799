"""What the bucket says in the end."""

from __future__ import annotations

import json

import pytest

from ktstr_tui.port.bucket import VerdictEntry
from ktstr_tui.port.dispatch import Dispatcher
from ktstr_tui.port.verdict import RESULT_KINDS, judge, result_line
from ktstr_tui.wire.frames import Frame
from ktstr_tui.wire.messages import ExitCode, MsgType


def verdict_of(*frames: Frame) -> Dispatcher:
    """A dispatcher that has seen these."""
    dispatcher = Dispatcher()
    dispatcher.dispatch(frames)
    return dispatcher


def code(kind: MsgType, value: int, crc_ok: bool = True) -> Frame:
    return Frame(kind, ExitCode(value).pack(), crc_ok)


def test_the_last_valid_word_counts() -> None:
    dispatcher = verdict_of(
        code(MsgType.Exit, 3),
        code(MsgType.Exit, 1),
        code(MsgType.Exit, 0, crc_ok=False),
        Frame(MsgType.Exit, b"x", True),
    )
    verdict = judge(dispatcher.drain_bucket())
    assert verdict.guest_exit == 1
    assert verdict.torn == {"Exit": 1}


def test_a_guest_without_a_last_word_has_none() -> None:
    verdict = judge([])
    assert (verdict.guest_exit, verdict.scheduler_exits, verdict.torn, verdict.results) == (None, (), {}, ())


def test_exits_of_schedulers_are_told_in_order_and_torn_ones_never_came() -> None:
    dispatcher = verdict_of(
        code(MsgType.SchedExit, 0),
        code(MsgType.SchedExit, 9, crc_ok=False),
        Frame(MsgType.SchedExit, b"?", True),
    )
    assert judge(dispatcher.drain_bucket()).scheduler_exits == (0, None)


def test_results_are_those_that_nobody_reads_before() -> None:
    frames = [Frame(kind, b"{}", True) for kind in MsgType]
    results = judge(verdict_of(*frames).drain_bucket()).results
    assert {entry.kind for entry in results} == RESULT_KINDS
    assert not any(kind.is_coordinator_internal for kind in RESULT_KINDS)


def entry(payload: bytes, crc_ok: bool = True) -> VerdictEntry:
    return VerdictEntry(4, MsgType.PayloadMetrics, payload, crc_ok)


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (b'{"p99_us": 12}', {"value": {"p99_us": 12}}),
        (b"1" * 40, {"value": int("1" * 40)}),
        (b"", {"text": ""}),
        (b"p99 = 12", {"text": "p99 = 12"}),
        (b"NaN", {"text": "NaN"}),
        (b"1e999", {"text": "1e999"}),
        (b"[" * 100_000, {"text": "[" * 100_000}),
        (b"1" * 10_000, {"text": "1" * 10_000}),
        (b"\xff\x00", {"base64": "/wA="}),
    ],
)
def test_a_result_is_json_whatever_it_holds(payload: bytes, told: dict[str, object]) -> None:
    line = result_line(entry(payload))
    assert "\n" not in line

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert (
        json.loads(line, parse_constant=refuse)
        == {"index": 4, "type": "PayloadMetrics", "crc_ok": True} | told
    )


def test_a_torn_result_is_kept_and_says_so() -> None:
    assert json.loads(result_line(entry(b"{}", crc_ok=False)))["crc_ok"] is False
