"""A freeze that nobody looks after: says so, and lets the guest run again when it lasts too long.

Whoever froze the guest may be gone: the terminal was closed, the connection broke. Frozen time counts towards no
deadline of a run, so such a run would never end. Any viewer that may control the run can thaw it, whoever froze it;
but somebody has to know. So a freeze of more than `ALERT_S` is an alert that names the command, and after the run's
limit without a viewer attached the guest is thawed.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import trio

from ktstr_tui.model.events import AlertCleared, AlertRaised, Event
from ktstr_tui.model.text import counted

LOOK_EVERY_S = 1.0
"""Seconds between two looks."""
ALERT_S = 60.0
"""How long a freeze may last before it is an alert."""
ALERT_KEY = "frozen"


async def watch_freeze(
    frozen_reason: Callable[[], str | None],
    viewers: Callable[[], int],
    thaw: Callable[[str], Awaitable[object]],
    emit: Callable[[Event], object],
    *,
    name: str,
    limit_s: float,
) -> None:
    """Look at the freeze until cancelled.

    Args:
        frozen_reason: Who or what froze the guest; None when it runs.
        viewers: How many viewers are attached.
        thaw: Lets the guest run again; its argument is the reason.
        emit: Takes the alert, and the word that it is over.
        name: Of the run.
        limit_s: How long a freeze may last while no viewer is attached; infinity for no limit.
    """
    since = attended = trio.current_time()
    reason, alerted = None, False
    while True:
        await trio.sleep(LOOK_EVERY_S)
        now = trio.current_time()
        current = frozen_reason()
        if current is None or current != reason:
            reason, since, attended = current, now, now
        if viewers():
            attended = now
        if reason is not None and now - attended >= limit_s:
            await thaw(f"frozen by {reason}, and no viewer was attached for {limit_s:g} s")
            continue
        wanted = reason is not None and now - since >= ALERT_S
        if wanted and not alerted:
            emit(_alert(name, str(reason), viewers(), limit_s))
        elif alerted and not wanted:
            emit(AlertCleared(key=ALERT_KEY, kind="frozen"))
        alerted = wanted


def _alert(name: str, reason: str, viewers: int, limit_s: float) -> AlertRaised:
    text = f"frozen by {reason} for more than {ALERT_S:g} s"
    if math.isfinite(limit_s):
        text += f"; thawed after {limit_s:g} s without a viewer ({counted(viewers, 'viewer')} now)"
    return AlertRaised(
        key=ALERT_KEY,
        kind="frozen",
        severity="warning",
        text=f"{text}; any viewer may: ktstr-tui thaw {name}",
    )
