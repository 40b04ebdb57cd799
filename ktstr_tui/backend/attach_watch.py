"""A scheduler that takes long to attach: says so, with what it waits for as far as that is known.

The verifier may need a minute for a large program, and a program may wait for something before it attaches. Until then
the kernel's own scheduler runs and every CPU is healthy, so nothing else says that the scenario waits.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from ktstr_tui.model.events import AlertCleared, AlertRaised, Event
from ktstr_tui.model.state import RunState
from ktstr_tui.model.text import shorten

LOOK_EVERY_S = 1.0
"""Seconds between two looks."""
ALERT_S = 10.0
"""How long a scheduler may take to attach before it is an alert."""
ALERT_KEY = "attach"
_LINE_CHARACTERS = 120
"""Of the program's last line in the alert."""


async def watch_attach(
    state: Callable[[], RunState],
    frozen_between_ns: Callable[[int, int], int],
    clock: Callable[[], int],
    emit: Callable[[Event], object],
) -> None:
    """Look at the scheduler that is being loaded until cancelled.

    Args:
        state: The run so far.
        frozen_between_ns: How long the guest was frozen within a stretch of time; that does not count.
        clock: Host monotonic clock, in nanoseconds.
        emit: Takes the alert, renewed at every look, and the word that it is over.
    """
    alerted = False
    while True:
        await trio.sleep(LOOK_EVERY_S)
        seen, now_ns = state(), clock()
        since_ns = seen.loading_since_mono_ns
        idle_ns = frozen_between_ns(since_ns, now_ns) + _host_stood_ns(seen, since_ns)
        waited_s = (now_ns - since_ns - idle_ns) / 1e9
        wanted = bool(seen.loading) and waited_s >= ALERT_S
        if wanted:
            text = f"{seen.loading} was started {waited_s:.0f} s ago and has not attached: {what_for(seen)}"
            emit(AlertRaised(key=ALERT_KEY, kind="attach", severity="warning", text=text))
        elif alerted:
            emit(AlertCleared(key=ALERT_KEY, kind="attach"))
        alerted = wanted


def _host_stood_ns(state: RunState, since_ns: int) -> int:
    """How long the host gave the guest no CPU since then: that is no wait of the scheduler."""
    return sum(max(0, it.end_ns - max(it.start_ns, since_ns)) for it in state.host_stood)


def what_for(state: RunState) -> str:
    """Say what a scheduler that is being loaded waits for, as far as the samples and its log show it."""
    scheduler = state.scheduler
    if scheduler is not None and scheduler.state == "enabling":
        what = "the kernel is enabling it"
    elif state.loading.startswith("demo:") or state.loading.endswith((".bpf.o", ".o")):
        what = "libbpf loads it and the kernel verifies its programs"
    else:
        what = (
            "its program has not asked the kernel to enable it; the kernel may be verifying its BPF programs"
        )
    line = _last_line(state)
    return f"{what}; last line of its log: {line}" if line else what


def _last_line(state: RunState) -> str:
    for it in reversed(state.output):
        if it.mono_ns < state.loading_since_mono_ns:
            break
        if it.source == "sched_log" and it.text.strip() and not it.text.startswith("--- "):
            return shorten(it.text.strip(), _LINE_CHARACTERS)
    return ""
