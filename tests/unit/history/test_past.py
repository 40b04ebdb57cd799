"""The time before a stop, against a machine of which everything is known."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktstr_tui.history.past import MAX_STEPS, MAX_STRETCHES, Past, Waiter
from ktstr_tui.history.stretches import stretches, totals
from ktstr_tui.model.history import History, Wait
from ktstr_tui.text.before import sentence
from tests.unit.history.scripted import BOOT_NS, MS, Machine, comm

MOVES = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 5), st.sampled_from([0, 1, 2, 0x100]), st.integers(0, 50)),
    max_size=120,
)
PID, DSQ = 118, 7


def waiter(**changes: object) -> Waiter:
    fields: dict[str, object] = {
        "pid": PID, "comm": comm(PID), "age_ms": 3530.0, "allowed": frozenset({0, 1}), "place": "0x7", "dsq_id": DSQ,
        "dsq_kind": "user", "dsq_cpu": None, "held": False,
    }  # fmt: skip
    return Waiter(**{**fields, **changes})  # type: ignore[arg-type]


def past(machine: Machine, about: Waiter | None = None, known_from_ns: int = 0) -> History:
    return Past(machine.trace(known_from_ns), machine.now_ns, machine.current()).history(about)


def wait_of(history: History) -> Wait:
    assert history.wait is not None
    return history.wait


@given(moves=MOVES)
def test_stretches_add_up_to_what_really_ran(moves: list[tuple[int, int, int, int]]) -> None:
    machine = Machine(3)
    for cpu, pid, state, ms in moves:
        if pid != machine.running[cpu]:
            machine.switch(cpu, pid, state)
        machine.wait(ms)
    for cpu in range(3):
        found = stretches(machine.events[cpu], BOOT_NS, machine.now_ns, machine.current()[cpu])
        sums = {it.pid: it.ns for it in totals(found, 0)}
        assert sums == {pid: ns for (on, pid), ns in machine.ran_ns.items() if on == cpu and ns}
        assert all(one.to_ns == other.from_ns for one, other in pairwise(found))
        assert not found or (found[0].from_ns, found[-1].to_ns) == (BOOT_NS, machine.now_ns)


def test_a_stop_in_the_middle_of_a_switch_shows_who_comes() -> None:
    machine = Machine(1)
    machine.switch(0, 101, 0)
    machine.wait(5)
    found = stretches(machine.events[0], BOOT_NS, machine.now_ns, (102, "comes"))
    assert [(it.pid, it.comm, it.to_ns - it.from_ns) for it in found[-2:]] == [
        (101, found[-2].comm, 5_000_000),
        (102, "comes", 0),
    ]
    assert [it.pid for it in totals(found, 0)] == [101]


@given(moves=MOVES, lost=st.data())
def test_time_around_lost_events_belongs_to_nobody(
    moves: list[tuple[int, int, int, int]], lost: st.DataObject
) -> None:
    machine = Machine(1)
    for _, pid, state, ms in moves:
        if pid != machine.running[0]:
            machine.switch(0, pid, state)
        machine.wait(ms)
    events = machine.events[0]
    kept = [event for event in events if lost.draw(st.booleans())]
    sums = {it.pid: it.ns for it in totals(stretches(kept, BOOT_NS, machine.now_ns, None), 0)}
    really: Mapping[int, int] = {pid: ns for (_, pid), ns in machine.ran_ns.items()}
    assert sum(sums.values()) == machine.now_ns - BOOT_NS
    if len(kept) == len(events) > 0:
        assert None not in sums
        assert all(ns == really[pid] for pid, ns in sums.items() if pid is not None)


def stalled(*, records_dsqs: bool = True) -> Machine:
    """A task that was preempted, put into a DSQ, and never taken out again."""
    machine = Machine(records_dsqs=records_dsqs)
    machine.switch(1, PID)
    machine.wait(1000)
    machine.insert(1, PID, DSQ)
    machine.switch(1, 0, 0)
    machine.wait(130)
    machine.prio[99] = 0
    machine.switch(0, 99)
    machine.wait(100)
    machine.switch(0, 0, 1)
    machine.wait(3300)
    return machine


def test_the_sentence_is_that_of_a_dsq_nobody_takes_from() -> None:
    history = past(stalled(), waiter())
    assert sentence(history) == (
        "task-118[118] last ran on cpu 1 until -3.53 s, inserted into DSQ 0x7 at -3.53 s; "
        "since then cpu 0 and 1 idled 3.4 s, nothing left DSQ 0x7"
    )
    wait = wait_of(history)
    assert (wait.how, wait.since, wait.left, wait.left_seen) == ("preempted", "observed", 0, "observed")
    assert wait.takers[0].ran[0].pid == 99
    assert [step.what for step in history.steps] == ["ran", "insert", "left"]


def test_without_dsq_events_what_follows_is_marked() -> None:
    history = past(stalled(records_dsqs=False), waiter())
    assert sentence(history) == (
        "task-118[118] last ran on cpu 1 until -3.53 s, now in DSQ 0x7; "
        "since then cpu 0 and 1 idled 3.4 s, nothing left DSQ 0x7 (inferred)"
    )


def test_nothing_is_inferred_when_a_task_ran_that_may_have_been_taken() -> None:
    machine = stalled(records_dsqs=False)
    machine.switch(0, 55)
    machine.wait(1)
    assert wait_of(past(machine, waiter())).left is None


def test_what_left_the_dsq_after_it_is_counted() -> None:
    machine = Machine()
    machine.switch(1, PID)
    machine.insert(1, PID, DSQ)
    machine.switch(1, 0, 0x100)
    for pid in (50, 51):
        machine.wait(100)
        machine.remove(0, pid, DSQ)
        machine.remove(0, pid, 9)
    machine.wait(3330)
    said = sentence(past(machine, waiter()))
    assert said.endswith("2 other tasks left DSQ 0x7, the last at -3.33 s")


def test_a_task_that_was_woken_and_a_real_time_hog() -> None:
    machine = Machine()
    machine.prio[9] = 49
    machine.switch(0, PID)
    machine.wait(1)
    machine.switch(0, 9, 1)
    machine.wait(50)
    machine.wake(0, PID, 0)
    machine.wait(2500)
    about = waiter(age_ms=2500.0, allowed=frozenset({0}), place="local cpu 0", dsq_kind="local", dsq_cpu=0)
    assert sentence(past(machine, about)) == (
        "task-118[118] last ran on cpu 0 until -2.55 s, woken at -2.50 s, now in DSQ local cpu 0; "
        "since then cpu 0 ran task-9[9] (rt) 2.5 s, nothing left DSQ local cpu 0 (inferred)"
    )


def test_a_task_that_the_scheduler_holds() -> None:
    machine = stalled()
    about = waiter(place=None, dsq_id=None, dsq_kind="other", held=True)
    assert sentence(past(machine, about)) == (
        "task-118[118] last ran on cpu 1 until -3.53 s, held by the BPF scheduler, in no DSQ; "
        "since then cpu 0 and 1 idled 3.4 s"
    )


def test_what_was_overwritten_is_unknown_and_not_guessed() -> None:
    machine = stalled()
    known = machine.now_ns - 1000 * MS
    history = past(machine, waiter(), known_from_ns=known)
    wait = wait_of(history)
    assert (wait.since, wait.since_ms, wait.last_ms, wait.left) == ("inferred", -3530.0, None, None)
    assert [it.unknown_ms for it in wait.takers] == [2530.0, 2530.0]
    assert sentence(history) == (
        "task-118[118] did not run in what was recorded, runnable since -3.53 s (inferred), now in DSQ 0x7; "
        "since then cpu 0 idled 1.0 s and 2.5 s are unknown, cpu 1 idled 1.0 s and 2.5 s are unknown"
    )
    assert [it.known_from_ms for it in history.cpus] == [-1000.0, -1000.0]


def test_a_cpu_that_only_one_other_may_not_use_is_no_taker() -> None:
    wait = wait_of(past(stalled(), waiter(allowed=frozenset({1}))))
    assert [it.cpu for it in wait.takers] == [1]
    assert "no CPU that is online may run it" in sentence(past(stalled(), waiter(allowed=frozenset())))


@pytest.mark.parametrize("printed", [0, 200])
def test_long_lists_are_cut_and_counted(printed: int) -> None:
    machine = Machine(1)
    for _ in range(100):
        machine.switch(0, PID)
        machine.wait(1)
        machine.switch(0, 0, 0x100)
        machine.wait(1)
    for number in range(printed):
        machine.text(0, f"line {number}\n")
    history = past(machine, waiter())
    assert (len(history.steps), history.more_steps) == (MAX_STEPS, 200 - MAX_STEPS)
    assert (len(history.cpus[0].ran), history.cpus[0].more) == (MAX_STRETCHES, 201 - MAX_STRETCHES)
    assert len(history.texts) + history.more_texts == printed
    assert [it.text for it in history.texts[-1:]] == ([f"line {printed - 1}"] if printed else [])
