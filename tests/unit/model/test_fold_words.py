"""The log names phases, steps and changes in words, and counts steps from 1."""

from __future__ import annotations

import pytest

from ktstr_tui.link.operator import login_at_host
from ktstr_tui.model import events as ev
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import RunState


def last_line(event: ev.Event) -> str:
    state = RunState()
    fold(state, event)
    return state.log[-1].text


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (ev.LifecycleChanged(phase="InitStarted"), "init started"),
        (ev.LifecycleChanged(phase="PayloadStarting"), "workload starting"),
        (ev.LifecycleChanged(phase="SchedulerDied", reason="fifo: 1"), "scheduler died: fifo: 1"),
        (ev.SchedulerChanged(change="process-exit", name="fifo"), "fifo process exited"),
        (ev.Frozen(reason="root@vm"), "guest frozen by root@vm"),
        (
            ev.StepStarted(
                index=0, name="base", scheduler="none", worker_count=1, elapsed_ms=0, total_iterations=0
            ),
            "step 1 base: scheduler none, 1 worker",
        ),
    ],
)
def test_the_log_uses_words(event: ev.Event, line: str) -> None:
    assert last_line(event) == line


def test_an_operator_has_a_login_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("USER", raising=False)
    login, _, host = login_at_host().partition("@")
    assert host
    assert not login.isdigit()
