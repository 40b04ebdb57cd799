"""The screen that started a run: what happens when it is gone and its user did not choose.

A closed terminal or a killed screen leaves a guest that works for hours and that nobody sees. The run is either ended
then, or goes on with an alert that everybody sees who looks next. A process descriptor says when the screen ends,
however that comes about.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec
import trio

from ktstr_tui.backend.config import OnExit
from ktstr_tui.backend.outcome import RunEnd
from ktstr_tui.backend.signals import SCREEN_LEFT
from ktstr_tui.model.events import AlertRaised, Event

ALERT_KEY = "unseen"


class Owner(msgspec.Struct, frozen=True):
    """Who started a run, and what becomes of it."""

    pid: int
    on_exit: OnExit
    run_name: str


async def watch_owner(owner: Owner, ending: RunEnd, emit: Callable[[Event], object]) -> None:
    """Wait until the screen is gone, then end the run or raise an alert; return when its user leaves the run."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_wait_left, nursery.cancel_scope)
        await _wait_gone(owner.pid)
        nursery.cancel_scope.cancel()
        if owner.on_exit == "end":
            ending.set("ended because its screen is gone")
            return
        text = (
            f"the screen that started this run is gone, and the run continues: ktstr-tui attach {owner.run_name} "
            f"to see it, ktstr-tui end {owner.run_name} to end it"
        )
        emit(AlertRaised(key=ALERT_KEY, kind="unseen", severity="warning", text=text))


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
