"""How far a scenario is: elapsed against planned time, of the step and of the whole.

A step counts from the moment that its scheduler is attached and its workers run, and time in which the guest was frozen
does not count, as on the guest's own clock. What a step takes at most is planned; one that ends with its scheduler may
be shorter, and attaching schedulers makes the whole longer.
"""

from __future__ import annotations

from ktstr_tui.model.state import RunState
from ktstr_tui.text import words


def step_progress(state: RunState) -> str:
    """``11 of 15 s`` of the current step; empty without a step or a plan."""
    step, info = state.step, state.info
    if step is None or info is None or step.index >= len(info.steps_ms) or state.phase != "running":
        return ""
    return of_planned(_in_step_ms(state), info.steps_ms[step.index])


def scenario_progress(state: RunState) -> str:
    """``18 of 33 s`` of the whole scenario, or of the run's duration where that is shorter; empty without a plan."""
    step, info = state.step, state.info
    if step is None or info is None or not info.steps_ms:
        return ""
    planned_ms = sum(info.steps_ms)
    if info.duration_s is not None:
        planned_ms = min(planned_ms, int(info.duration_s * 1000))
    running = state.phase == "running"
    return of_planned(
        step.elapsed_ms + _in_step_ms(state) if running else state.scenario_elapsed_ms, planned_ms
    )


def _in_step_ms(state: RunState) -> int:
    if state.step is None:
        return 0
    until_ns = state.mono_ns if state.frozen is None else state.frozen_since_mono_ns
    return max(0, until_ns - state.step.started_mono_ns - state.step_frozen_ns) // 1_000_000


def of_planned(elapsed_ms: int, planned_ms: int) -> str:
    """``11 of 15 s``, or ``01:05 of 10:00`` from a minute on."""
    if planned_ms < 60_000 and elapsed_ms < 60_000:
        return f"{elapsed_ms // 1000} of {planned_ms / 1000:g} s"
    return f"{words.uptime(elapsed_ms * 1_000_000)} of {words.uptime(planned_ms * 1_000_000)}"


def held_progress(state: RunState, host_s: float | None) -> str:
    """``5.1 of 12.5 s, about 9 s left`` of a run that is had again up to an instant; empty for others, and from there.

    Args:
        state: The run.
        host_s: How long it has been seen; None when that is not known.
    """
    info = state.info
    if info is None or info.held_at_ns is None or state.ended is not None or state.frozen is not None:
        return ""
    done_ns, whole_ns = (it - state.started_mono_ns for it in (state.mono_ns, info.held_at_ns))
    if done_ns >= whole_ns or whole_ns <= 0:
        return ""
    text = f"{done_ns / 1e9:.1f} of {whole_ns / 1e9:.1f} s"
    if host_s is None or done_ns <= 0:
        return text
    return f"{text}, about {(whole_ns - done_ns) / done_ns * host_s:.0f} s left"
