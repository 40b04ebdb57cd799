"""The scheduler's statistics: one line there, one line back, and every way in which that can fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MemoryReceiveStream, MemorySendStream, MockClock, memory_stream_pair

from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.missing_stats import MissingStats
from ktstr_tui.port.stats_port import (
    MAX_DEPTH,
    MAX_LINE_BYTES,
    Cancelled,
    DuringFreeze,
    NoScheduler,
    Refused,
    RelayError,
    StatsError,
    StatsPort,
    Timeout,
)

Far = trio.StapledStream[MemorySendStream, MemoryReceiveStream]
OK = b'{"errno":0,"args":{"resp":{"nr":7}}}\n'


class Guest:
    """The relay's end of the port: answers with what it is given, in order."""

    def __init__(self, stream: Far, *answers: bytes | None) -> None:
        self.asked: list[bytes] = []
        self._stream = stream
        self._answers = list(answers)

    async def run(self) -> None:
        pending = b""
        async for data in self._stream:
            pending += bytes(data)
            while b"\n" in pending:
                line, _, pending = pending.partition(b"\n")
                self.asked.append(line)
                answer = self._answers.pop(0) if self._answers else None
                if answer is not None:
                    await self._stream.send_all(answer)

    async def say(self, data: bytes) -> None:
        await self._stream.send_all(data)


@asynccontextmanager
async def port(
    *answers: bytes | None, frozen: Callable[[], bool] = lambda: False
) -> AsyncIterator[tuple[StatsPort, Guest]]:
    ours, theirs = memory_stream_pair()
    guest = Guest(theirs, *answers)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(guest.run)
        yield StatsPort(ours, frozen), guest
        nursery.cancel_scope.cancel()


async def error_of(asking: Awaitable[object]) -> StatsError:
    with pytest.raises(StatsError) as caught:
        await asking
    return caught.value


async def test_statistics_and_their_meaning() -> None:
    async with port(OK, b'{"errno":0,"args":{"resp":["desc"]}}\n') as (stats, guest):
        assert await stats.stats() == {"nr": 7}
        assert await stats.meta() == ["desc"]
    assert guest.asked == [b'{"req":"stats"}', b'{"req":"stats_meta"}']
    counted = stats.statistics()
    assert (counted.requests, counted.answered, counted.failed) == (2, 2, {})
    assert counted.last_ms is not None


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (
            b'{"ktstr_relay_error":"no scheduler","detail":"no server on it"}',
            NoScheduler,
            "no server on it",
        ),
        (b'{"ktstr_relay_error":"timeout"}', Timeout, "timeout"),
        (b'{"ktstr_relay_error":"closed","detail":"gone"}', RelayError, "closed: gone"),
        (b'{"ktstr_relay_error":{"no":1}}', RelayError, "no"),
        (b'{"errno":22,"args":{"resp":"no such request"}}', Refused, "errno 22: no such request"),
        (b'{"errno":0}', RelayError, "no errno and args"),
        (b'{"errno":0,"args":{}}', RelayError, "no resp"),
        (b'{"errno":"0","args":{"resp":1}}', RelayError, "no errno and args"),
        (b"[1]", RelayError, "not a JSON object"),
        (b"what", RelayError, "not JSON"),
        (b"", RelayError, "not JSON"),
        (b'{"errno":0,"args":{"resp":18446744073709551616}}', RelayError, "not JSON"),
        (b'{"errno":0,"args":{"resp":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}}", RelayError, "nested"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, RelayError, "bytes"),
        (b"[" * 100_000 + b"]" * 100_000, RelayError, "not JSON"),
    ],
)
async def test_every_kind_of_answer_has_its_typed_error(
    answer: bytes, kind: type[StatsError], words: str
) -> None:
    async with port(answer + b"\n", OK) as (stats, _):
        error = await error_of(stats.stats())
        assert type(error) is kind
        assert words in error.message
        assert error.missing == MissingStats(kind.reason, error.message)
        assert await stats.stats() == {"nr": 7}, "the port is in step again"
    assert stats.statistics().failed == {kind.reason: 1}


async def test_exactly_the_cap_is_legal_and_one_more_is_skipped() -> None:
    head, tail = b'{"errno":0,"args":{"resp":"', b'"}}'
    largest = head + b"x" * (MAX_LINE_BYTES - len(head) - len(tail)) + tail
    assert len(largest) == MAX_LINE_BYTES
    async with port(largest + b"\n", b" " + largest + b"\n", OK) as (stats, _):
        assert len(await stats.stats()) == MAX_LINE_BYTES - len(head) - len(tail)
        error = await error_of(stats.stats())
        assert isinstance(error, RelayError)
        assert await stats.stats() == {"nr": 7}
    assert stats.statistics().discarded_bytes == MAX_LINE_BYTES + 1


async def test_a_flood_without_an_end_costs_no_more_than_the_cap(autojump_clock: MockClock) -> None:
    async with port(None) as (stats, guest):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(error_of, stats.stats())
            for _ in range(40):
                await guest.say(b"x" * 100_000)
        assert len(stats._buffer) <= MAX_LINE_BYTES + 65536
    assert stats.statistics().discarded_bytes > 3_000_000


async def test_a_request_over_the_cap_is_refused() -> None:
    async with port() as (stats, guest):
        with pytest.raises(UsageError, match="bytes"):
            await stats.request({"req": "x" * MAX_LINE_BYTES})
        assert guest.asked == []


async def test_a_late_answer_is_never_taken_for_the_next_one(autojump_clock: MockClock) -> None:
    async with port(None, OK) as (stats, guest):
        assert isinstance(await error_of(stats.stats(timeout_s=1)), Timeout)
        assert isinstance(await error_of(stats.stats(timeout_s=1)), Timeout)
        assert len(guest.asked) == 1, "nothing new is asked while an answer is outstanding"
        await guest.say(b'{"errno":0,"args":{"resp":"late"}}\n')
        assert await stats.stats() == {"nr": 7}
    counted = stats.statistics()
    assert counted.discarded_lines == 1
    assert counted.failed == {"timeout": 2}


async def test_a_guest_that_stands_is_not_asked() -> None:
    async with port(frozen=lambda: True) as (stats, guest):
        assert isinstance(await error_of(stats.stats()), DuringFreeze)
        assert guest.asked == []


async def test_a_guest_that_is_stopped_meanwhile_gives_that_reason(autojump_clock: MockClock) -> None:
    started_s = trio.current_time()
    async with port(None, frozen=lambda: trio.current_time() > started_s) as (stats, _):
        assert isinstance(await error_of(stats.stats(timeout_s=2)), DuringFreeze)


async def test_closing_cancels_who_waits_and_who_comes_later(autojump_clock: MockClock) -> None:
    async with port(None) as (stats, _):
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                assert isinstance(await error_of(stats.stats(timeout_s=60)), Cancelled)

            nursery.start_soon(ask)
            await trio.sleep(1)
            stats.close()
        assert isinstance(await error_of(stats.stats()), Cancelled)


async def test_a_guest_that_goes_away_cancels(autojump_clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    stats = StatsPort(ours)
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            assert isinstance(await error_of(stats.stats(timeout_s=60)), Cancelled)

        nursery.start_soon(ask)
        await trio.sleep(1)
        await theirs.aclose()


async def test_one_request_at_a_time(autojump_clock: MockClock) -> None:
    async with port(None, OK) as (stats, guest), trio.open_nursery() as nursery:

        async def ask() -> None:
            assert await stats.stats(timeout_s=60) == {"nr": 7}

        nursery.start_soon(ask)
        nursery.start_soon(ask)
        await trio.sleep(1)
        assert len(guest.asked) == 1
        await guest.say(OK)
    assert len(guest.asked) == 2


@given(st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_any_split_of_an_answer_is_the_same_answer(cuts: list[int]) -> None:
    async def split() -> None:
        async with port(None) as (stats, guest), trio.open_nursery() as nursery:

            async def ask() -> None:
                assert await stats.stats() == {"nr": 7}

            nursery.start_soon(ask)
            rest = OK
            for cut in cuts:
                await guest.say(rest[:cut])
                rest = rest[cut:]
            await guest.say(rest)

    trio.run(split, clock=MockClock(autojump_threshold=0))
