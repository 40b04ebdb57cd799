"""The screen that started a run: what happens when it is gone and its user did not choose.

A closed terminal or a killed screen leaves a guest that works for hours and that nobody sees. The run is either ended
then, or goes on with an alert that everybody sees who looks next, and that `ktstr-tui run` mentions. A process
descriptor says when the screen ends, however that comes about. The alert is cleared while a viewer is attached; a
command that only asks for the state is gone before the second look and changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec
import trio

from ktstr_tui.backend.config import OnExit
from ktstr_tui.backend.outcome import RunEnd
from ktstr_tui.backend.screen_signals import SCREEN_LEFT
from ktstr_tui.model.end_words import SCREEN_GONE
from ktstr_tui.model.events import AlertCleared, AlertRaised, Event

ALERT_KEY = "unseen"
LOOK_EVERY_S = 1.0
"""Seconds between two looks at the number of viewers."""
LOOKS = 2
"""Looks in a row that have to find the same before it counts."""


class RunOwner(msgspec.Struct, frozen=True):
    """Who started a run, and what becomes of it."""

    pid: int
    on_exit: OnExit
    run_name: str


async def watch_owner(
    owner: RunOwner, ending: RunEnd, viewers: Callable[[], int], emit: Callable[[Event], object]
) -> None:
    """Wait until the screen is gone, then end the run, or raise an alert for as long as nobody is attached.

    Returns when the screen's user leaves the run on purpose; else it runs until cancelled.

    Args:
        owner: Who started the run.
        ending: Ends it.
        viewers: How many viewers are attached.
        emit: Takes the alert, and the word that it is over.
    """
    gone = False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_wait_left, nursery.cancel_scope)
        await _wait_gone(owner.pid)
        gone = True
        nursery.cancel_scope.cancel()
    if gone and owner.on_exit == "end":
        ending.stop(SCREEN_GONE)
    elif gone:
        await _watch_unseen(owner.run_name, viewers, emit)


async def _watch_unseen(run_name: str, viewers: Callable[[], int], emit: Callable[[Event], object]) -> None:
    text = (
        f"the screen that started this run is gone, and the run continues: ktstr-tui attach {run_name} "
        f"to see it, ktstr-tui end {run_name} to end it"
    )
    raised = AlertRaised(key=ALERT_KEY, kind="unseen", severity="warning", text=text)
    emit(raised)
    seen, looks = False, 0
    while True:
        await trio.sleep(LOOK_EVERY_S)
        looks = looks + 1 if bool(viewers()) is not seen else 0
        if looks >= LOOKS:
            seen, looks = not seen, 0
            emit(AlertCleared(key=ALERT_KEY, kind="unseen") if seen else raised)


async def _wait_left(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(SCREEN_LEFT) as signals:
        async for _ in signals:
            scope.cancel()


async def _wait_gone(pid: int) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await trio.lowlevel.wait_readable(handle)
    finally:
        os.close(handle)
