"""Schedulers that were changed by command, in the state and in words."""

from __future__ import annotations

import pytest

from ktstr_tui.model.control import ReplaceScheduler
from ktstr_tui.model.events import (
    ActionChanged,
    OutputText,
    SchedulerChange,
    SchedulerChanged,
    SchedulerSwapped,
)
from ktstr_tui.model.fold import fold
from ktstr_tui.model.scheduler_swap import (
    ReplaceOutcome,
    SwapAttached,
    SwapDetached,
    SwapFailed,
    SwapRejected,
    SwapStored,
    SwapTimedOut,
)
from ktstr_tui.model.state import MAX_SWAPS, RunState
from ktstr_tui.model.verdict import exit_code

ATTACHED = SwapAttached(took_ms=320, loaded="mine", enable_seq=2)


def test_a_replacement_is_counted_and_marked_in_time() -> None:
    state = RunState()
    fold(state, OutputText(seq=1, stream="sched_log", text="--- begin mine.bpf.o ---\n"))
    assert state.loading == "mine.bpf.o"
    fold(state, SchedulerSwapped(seq=2, mono_ns=7, op="replace", name="mine.bpf.o", outcome=ATTACHED))
    assert state.loading == ""
    assert state.replacements == 1
    assert [(swap.mono_ns, swap.name, swap.outcome) for swap in state.swaps] == [(7, "mine.bpf.o", ATTACHED)]


@pytest.mark.parametrize(
    ("op", "outcome", "severity", "words"),
    [
        ("replace", ATTACHED, "info", "a.o attached as mine in 320 ms (asked for by eva)"),
        ("replace", SwapStored(took_ms=1, loaded="old"), "info", "attached with the next step that names it"),
        ("detach", SwapDetached(took_ms=12), "info", "detached in 12 ms"),
        (
            "replace",
            SwapRejected(took_ms=1, by="verifier", reason="R0 invalid", loaded="old"),
            "error",
            "a.o: R0 invalid; old is attached",
        ),
        ("attach", SwapFailed(took_ms=1, reason="why"), "error", "a.o: why; no scheduler is attached"),
        ("replace", SwapTimedOut(took_ms=150_000), "error", "no answer from the guest in 150 s"),
    ],
)
def test_each_outcome_has_its_line(op: str, outcome: ReplaceOutcome, severity: str, words: str) -> None:
    state = RunState()
    event = SchedulerSwapped(seq=1, op=op, name="a.o", who="eva", outcome=outcome)  # type: ignore[arg-type]
    fold(state, event)
    assert state.log[-1].severity == severity
    assert words in state.log[-1].text
    assert state.replacements == (outcome is ATTACHED)


def test_the_list_of_changes_is_bounded() -> None:
    state = RunState()
    for seq in range(1, MAX_SWAPS + 11):
        fold(state, SchedulerSwapped(seq=seq, op="replace", name=str(seq), outcome=ATTACHED))
    assert len(state.swaps) == MAX_SWAPS
    assert state.replacements == MAX_SWAPS + 10
    assert state.forgotten["swaps"] == 10


def changed(seq: int, change: SchedulerChange, name: str) -> SchedulerChanged:
    return SchedulerChanged(seq=seq, change=change, name=name)


@pytest.mark.parametrize(
    ("outcome", "ejections"),
    [
        (SwapRejected(took_ms=9, by="kernel", reason="init() failed", log=(), loaded="old"), 0),
        (ATTACHED, 1),
        (SwapFailed(took_ms=9, reason="its loader died", log=(), loaded=""), 1),
    ],
)
def test_a_replacement_whose_init_fails_is_no_ejection_of_the_run(
    outcome: ReplaceOutcome, ejections: int
) -> None:
    """What the kernel ejects while it enables it, it refuses; what was enabled and then ejected counts."""
    state = RunState()
    replacing = ReplaceScheduler(name="mine.bpf.o", path="/x")
    fold(state, changed(1, "attached", "old"))
    fold(state, ActionChanged(seq=2, id=1, action=replacing, disposition="emitted"))
    fold(state, changed(3, "attached", "mine"))
    fold(state, changed(4, "ejected", "mine"))
    fold(state, changed(5, "attached", "old"))
    fold(state, SchedulerSwapped(seq=6, op="replace", name="mine.bpf.o", outcome=outcome))
    fold(state, ActionChanged(seq=7, id=1, action=replacing, disposition="done"))
    assert (state.ejections, exit_code(state, None)) == (ejections, ejections)
    fold(state, changed(8, "ejected", "old"))
    assert state.ejections == ejections + 1


def test_the_old_scheduler_may_be_ejected_while_the_new_one_is_verified() -> None:
    state = RunState()
    fold(state, changed(1, "attached", "old"))
    action = ReplaceScheduler(name="mine.bpf.o", path="/x")
    fold(state, ActionChanged(seq=2, id=1, action=action, disposition="emitted"))
    fold(state, changed(3, "ejected", "old"))
    refused = SwapRejected(took_ms=9, by="verifier", reason="no", log=(), loaded="")
    fold(state, SchedulerSwapped(seq=4, op="replace", name="mine.bpf.o", outcome=refused))
    assert state.ejections == 1
