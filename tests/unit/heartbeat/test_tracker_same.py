"""The tracker in C and its twin in Python do the same, whatever is done to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ktstr_tui.heartbeat.tracked import COUNTERS, Datagram, Origin
from ktstr_tui.heartbeat.tracker import Tracker
from ktstr_tui.wire.vlp import NONCE_TERMINAL, Beat, Status, encode
from tests.oracles.tracker import PyTracker
from tests.unit.heartbeat.either import keys_at, xorshift64

THRESHOLD_NS = 100
WRAP = 1 << 20


class Pair:
    """Two trackers to which the same is done, and the same must happen."""

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401
        self.ours = Tracker(*arguments)
        self.twin = PyTracker(*arguments)

    def same(self, method: str, *arguments: Any) -> Any:  # noqa: ANN401
        """Call both; return what both returned."""
        ours = getattr(self.ours, method)(*arguments)
        assert ours == getattr(self.twin, method)(*arguments), (method, arguments)
        assert self.ours.last_recovery_ns == self.twin.last_recovery_ns
        return ours

    def check(self) -> None:
        """Compare all there is to see, and each with itself."""
        statistics = self.same("statistics")
        rows = self.same("rows")
        assert statistics.tracked == len(rows) == len(self.ours) == len(self.twin)
        assert statistics.stall_emitted_count == sum(row.stalled for row in rows)
        assert statistics.eviction_scan_cursor < max(len(rows), 1)
        assert statistics.invariant_violations == 0
        for row in rows:
            assert self.same("get", row.pid) == row


class Choices:
    """Random choices from numbers that are the same everywhere."""

    def __init__(self, numbers: Iterator[int]) -> None:
        self._numbers = numbers

    def below(self, bound: int) -> int:
        """A number from 0 on."""
        return next(self._numbers) % bound

    def of(self, *values: Any) -> Any:  # noqa: ANN401
        """One of some values."""
        return values[self.below(len(values))]

    def nonce(self, now_ns: int) -> int:
        """A nonce that grows with time, or one near a border."""
        return int(
            self.of(
                now_ns,
                now_ns,
                now_ns + self.below(5),
                self.below(40),
                NONCE_TERMINAL,
                NONCE_TERMINAL - 1 - self.below(4),
                NONCE_TERMINAL - WRAP - 1 + self.below(3),
                WRAP - 1 + self.below(3),
            )
        )


def step(pair: Pair, choose: Choices, pids: list[int], now_ns: int) -> None:
    """Do one random thing to both."""
    operation = choose.below(100)
    pid = choose.of(*pids)
    if operation < 75:
        one = Beat(choose.of(*Status), pid, choose.below(30), choose.nonce(now_ns), choose.below(9))
        origin = choose.of(*Origin) if choose.below(8) == 0 else Origin.KERNEL_ATTESTED
        namespace = choose.of(None, None, None, None, 5, 6)
        generation = choose.of(None, None, None, None, None, None, 1, 2)
        if operation < 60:
            pair.same("record", one, now_ns, THRESHOLD_NS, origin, namespace, generation)
        else:
            data = encode(one)[: choose.of(32, 32, 32, 31)]
            peer = choose.of(None, pid, pid, pid ^ 1)
            one_datagram = Datagram(data, origin, peer, 0, namespace, generation)
            pair.same("record_batch", [one_datagram], now_ns, THRESHOLD_NS)
    elif operation < 88:
        pair.same("drain_stalled", now_ns, THRESHOLD_NS)
    elif operation < 92:
        pair.same("forget", pid)
    elif operation < 97:
        pair.same("get", pid)
        pair.same("last_ns_of", pid)
    else:
        pair.same("take", choose.of(*COUNTERS))
        pair.same("take_evicted_pid")


@pytest.mark.parametrize(
    ("eviction", "capacity", "window", "seed"),
    [("strict", 24, 7, 0xC0FFEE), ("balanced", 32, 256, 0xDEADBEEF)],
)
def test_a_hundred_thousand_random_steps(eviction: str, capacity: int, window: int, seed: int) -> None:
    pair = Pair(capacity, eviction, window)
    choose = Choices(xorshift64(seed))
    # Some pids crowd in one place of the index.
    pids = [*range(1, 2 * capacity), *keys_at(3, 2 * capacity, 20), (1 << 32) - 1]
    now_ns = 0
    for count in range(100_000):
        now_ns += choose.of(0, 0, 1, 5, 5, 40)
        step(pair, choose, pids, now_ns)
        assert pair.ours.last_recovery_ns == pair.twin.last_recovery_ns
        if count % 50 == 0:
            pair.check()
    pair.check()
    statistics = pair.ours.statistics()
    happened = {counter: getattr(statistics, counter) > 0 for counter in COUNTERS}
    assert [counter for counter in COUNTERS if not happened[counter]] == [
        "invariant_violations",
        "probe_exhausted",
    ]


@pytest.mark.parametrize("eviction", ["strict", "balanced"])
def test_pids_that_crowd_in_the_index(eviction: str) -> None:
    pair = Pair(128, eviction, 16)
    choose = Choices(xorshift64(0x5EED))
    pids = [*keys_at(5, 256, 150), *range(1000, 1100)]
    now_ns = 0
    for _ in range(20_000):
        now_ns += choose.of(0, 1, 20, 50)
        step(pair, choose, pids, now_ns)
    pair.check()
    statistics = pair.ours.statistics()
    assert statistics.probe_exhausted > 0
    assert statistics.evictions > 0


class SameMachine(RuleBasedStateMachine):
    """The same by hypothesis, which shrinks what it finds."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair()
        self.now_ns = 0

    @initialize(
        capacity=st.integers(1, 6),
        eviction=st.sampled_from(["strict", "balanced"]),
        window=st.integers(1, 8),
    )
    def begin(self, capacity: int, eviction: str, window: int) -> None:
        """Choose the sizes."""
        self.pair = Pair(capacity, eviction, window)

    @rule(step_ns=st.integers(0, 1500))
    def pass_time(self, step_ns: int) -> None:
        """Let time pass."""
        self.now_ns += step_ns

    @rule(
        status=st.sampled_from(Status),
        pid=st.integers(1, 9),
        timestamp=st.integers(0, 5),
        nonce=st.one_of(
            st.integers(0, 12),
            st.integers(NONCE_TERMINAL - 3, NONCE_TERMINAL),
            st.integers(WRAP - 2, WRAP + 2),
            st.integers(NONCE_TERMINAL - WRAP - 2, NONCE_TERMINAL - WRAP + 2),
            st.integers(0, NONCE_TERMINAL),
        ),
        origin=st.sampled_from(Origin),
        namespace=st.sampled_from([None, 1, 2]),
        generation=st.sampled_from([None, 1, 2]),
    )
    def record(
        self,
        status: Status,
        pid: int,
        timestamp: int,
        nonce: int,
        origin: Origin,
        namespace: int | None,
        generation: int | None,
    ) -> None:
        """Enter a beat."""
        one = Beat(status, pid, timestamp, nonce, timestamp)
        self.pair.same("record", one, self.now_ns, THRESHOLD_NS, origin, namespace, generation)

    @rule()
    def drain(self) -> None:
        """State the silences."""
        self.pair.same("drain_stalled", self.now_ns, THRESHOLD_NS)

    @rule(pid=st.integers(1, 9))
    def forget(self, pid: int) -> None:
        """Give a slot up."""
        self.pair.same("forget", pid)

    @rule(counter=st.sampled_from(COUNTERS))
    def take(self, counter: str) -> None:
        """Take a counter."""
        self.pair.same("take", counter)
        self.pair.same("take_evicted_pid")

    @invariant()
    def both_show_the_same(self) -> None:
        """Nothing visible differs."""
        self.pair.check()


SameMachine.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=60)
TestSame = SameMachine.TestCase
