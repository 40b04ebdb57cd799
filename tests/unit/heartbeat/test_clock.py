"""The observer's clock: what counts as time in which somebody could have been heard."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.heartbeat.clock import JUMP_NS, MAX_STEP_NS, ObserverClock

MS = 1_000_000


class Hands:
    """A clock that is set by hand."""

    def __init__(self, now_ns: int = 1000) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns


def test_time_goes_on_by_what_passed() -> None:
    hands = Hands()
    clock = ObserverClock(hands)
    assert clock.now_ns() == 0
    hands.now_ns += 50 * MS
    assert clock.now_ns() == 50 * MS


def test_a_step_back_is_counted_and_adds_nothing() -> None:
    hands = Hands(10 * MS)
    clock = ObserverClock(hands)
    hands.now_ns = 4 * MS
    assert clock.now_ns() == 0
    assert clock.statistics().regressions == 1
    hands.now_ns = 11 * MS
    assert clock.now_ns() == 1 * MS, "the time before the step back is not counted twice"


def test_frozen_time_is_no_time() -> None:
    hands = Hands(0)
    clock = ObserverClock(hands, lambda start, end: min(end, 150 * MS) - max(start, 50 * MS))
    hands.now_ns = 200 * MS
    assert clock.now_ns() == 100 * MS
    assert clock.statistics().frozen_ns == 100 * MS


def test_nobody_listened_during_a_long_step() -> None:
    hands = Hands()
    clock = ObserverClock(hands)
    hands.now_ns += 3_000 * MS
    assert clock.now_ns() == MAX_STEP_NS
    assert clock.statistics().unobserved_ns == 3_000 * MS - MAX_STEP_NS
    assert clock.statistics().jumps == 0
    hands.now_ns += JUMP_NS + 1
    clock.now_ns()
    assert clock.statistics().jumps == 1


@given(st.lists(st.integers(-(10**10), 10**10)), st.integers(0, 10**9))
def test_never_back_and_nothing_is_lost(steps: list[int], frozen_ns: int) -> None:
    hands = Hands(10**12)
    clock = ObserverClock(hands, lambda start, end: frozen_ns)
    highest = hands.now_ns
    before = clock.now_ns()
    for step in steps:
        hands.now_ns += step
        highest = max(highest, hands.now_ns)
        now = clock.now_ns()
        assert before <= now <= before + MAX_STEP_NS
        before = now
    stats = clock.statistics()
    assert before + stats.frozen_ns + stats.unobserved_ns == highest - 10**12
