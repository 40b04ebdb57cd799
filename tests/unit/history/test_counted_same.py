"""The counting in C beside that in plain Python, on events in any order, with losses in between."""

from __future__ import annotations

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ktstr_tui.history.counted import MAX_KNOWN, MAX_TASKS, Counts
from ktstr_tui.kernel.trace.decode import KINDS, RECORD
from ktstr_tui.kernel.trace.events import Kind
from tests.oracles.trace_counts import PyCounts, Seen, packed

CPUS = 3
U64_MAX = (1 << 64) - 1
TIMES = st.one_of(st.integers(0, 60_000_000), st.integers(0, 40_000_000_000), st.sampled_from([0, U64_MAX]))
PIDS = st.one_of(st.integers(0, 6), st.sampled_from([-1, 1 << 31, -(1 << 63)]))
EVENTS = st.builds(
    Seen,
    TIMES,
    st.integers(0, CPUS - 1),
    st.sampled_from(
        ["switch", "switch", "switch", "wakeup", "new", "migrate", "exit", "kick", "waking", "text"]
    ),
    PIDS,
    PIDS,
    st.sampled_from([0, 1, 2, 0x10, 0x100, 0x101, -1]),
    st.integers(-2, 140),
)
REUSED: tuple[Kind, ...] = ("switch", "exit", "new")
GONE: list[list[Seen] | tuple[str, int]] = [
    [Seen(at, 0, kind, 1, 0, 0, 9) for at, kind in enumerate(REUSED)],
    ("forget", 0),
    ("finish", 5),
    [Seen(9, 0, "migrate", 1, 0, 0, 9)],
]
STEPS = st.lists(
    st.one_of(
        st.lists(EVENTS, max_size=40),
        st.tuples(st.just("forget"), st.integers(0, CPUS - 1)),
        st.tuples(st.just("forget waits"), st.just(0)),
        st.tuples(st.just("finish"), TIMES),
    ),
    max_size=20,
)


def run(steps: list[list[Seen] | tuple[str, int]], ordered: bool) -> None:
    ours, theirs = Counts(CPUS), PyCounts(CPUS)
    for step in [*steps, ("finish", 50_000_000_000), ("finish", 60_000_000_000)]:
        if isinstance(step, list):
            events = sorted(step) if ordered else step
            ours.add(packed(events))
            theirs.add(events)
        elif step[0] == "forget":
            ours.forget(step[1])
            theirs.forget(step[1])
        elif step[0] == "forget waits":
            ours.forget_waits()
            theirs.forget_waits()
        else:
            found = ours.finish(step[1], {1: "one"}, {0: 7}, kicks=True)
            assert found == theirs.finish(step[1], {1: "one"}, {0: 7}, kicks=True)


@given(steps=STEPS, ordered=st.booleans())
@example(steps=GONE, ordered=True)
@example(steps=[[Seen(5, 0, "wakeup", 1, 0, 0, 0), Seen(2, 1, "switch", 1, 0, 0, 0)]], ordered=False)
def test_both_count_the_same(steps: list[list[Seen] | tuple[str, int]], ordered: bool) -> None:
    run(steps, ordered)


@pytest.mark.parametrize("seed", range(4))
def test_both_count_the_same_of_many_events(seed: int) -> None:
    chance, now_ns = random.Random(seed), 0
    kinds: tuple[Kind, ...] = (
        "switch",
        "switch",
        "switch",
        "switch",
        "wakeup",
        "wakeup",
        "new",
        "migrate",
        "exit",
    )
    steps: list[list[Seen] | tuple[str, int]] = []
    for _ in range(6):
        events = []
        for _ in range(1500):
            now_ns += chance.randrange(1, 3_000_000)
            kind, pids = chance.choice(kinds), (chance.randrange(6), chance.randrange(6))
            state = chance.choice([0, 1, 0x100])
            events.append(Seen(now_ns, chance.randrange(CPUS), kind, *pids, state, 120))
        steps += [events, ("forget", chance.randrange(CPUS)), ("finish", now_ns)]
    run(steps, ordered=True)


@given(
    events=st.lists(
        st.tuples(EVENTS, st.sampled_from([0, 0, 1, 0x40]), st.integers(0, len(KINDS)), st.integers(0, 5))
    )
)
def test_events_without_a_value_of_no_kind_or_of_no_cpu_are_left_out(
    events: list[tuple[Seen, int, int, int]],
) -> None:
    ours, theirs = Counts(CPUS), PyCounts(CPUS)
    for event, missing, kind, cpu in events:
        numbers = list(RECORD.unpack(packed([event])))
        numbers[4:7] = [cpu, missing, kind]
        ours.add(RECORD.pack(*numbers))
        if kind and not missing and cpu < CPUS:
            theirs.add([event._replace(kind=KINDS[kind - 1], cpu=cpu)])
    assert ours.finish(1, {}, {}) == theirs.finish(1, {}, {})


def test_more_tasks_than_are_remembered_are_left_out_and_counted() -> None:
    ours, theirs = Counts(CPUS), PyCounts(CPUS)
    tasks = MAX_KNOWN + 1000
    events = [Seen(2 * pid, 0, "switch", pid, pid - 1, 0, 120) for pid in range(1, tasks + 1)]
    events += [Seen(2 * pid + 1, 1, "switch", pid, pid + 1, 1, 120) for pid in range(900, 0, -1)]
    ours.add(packed(events))
    theirs.add(events)
    found = ours.finish(3 * tasks, {}, {})
    assert found == theirs.finish(3 * tasks, {}, {})
    assert len(found.tasks) == MAX_TASKS
    assert len(found.tasks) + found.more_tasks >= tasks
    ours.add(packed(events[:10]))
    theirs.add(events[:10])
    assert ours.finish(4 * tasks, {}, {}) == theirs.finish(4 * tasks, {}, {})
