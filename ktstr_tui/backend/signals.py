"""Signals that ask a run to end: the first in order, the second without waiting for the guest, the third at once."""

from __future__ import annotations

import signal

import trio

from ktstr_tui.backend.outcome import RunEnd
from ktstr_tui.backend.screen_signals import SCREEN_END
from ktstr_tui.model.end_words import ended_by_signal


async def watch_signals(ending: RunEnd) -> None:
    """End the run on SIGINT, SIGTERM, SIGHUP or `SCREEN_END`.

    A second one ends it without waiting for the guest to leave; the last event, the recording and the summary are
    written all the same. A third one raises.

    Raises:
        KeyboardInterrupt: At the third.
    """
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, SCREEN_END) as signals:
        async for number in signals:
            if ending.hurry.is_set():
                raise KeyboardInterrupt
            if ending.outcome is not None and not ending.outcome.restart:
                ending.hurry.set()
                continue
            ending.stop(ended_by_signal("" if number == SCREEN_END else signal.Signals(number).name))
