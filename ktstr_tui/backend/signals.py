"""Signals that ask a run to end: the first in good order, the second at once."""

from __future__ import annotations

import signal

import trio

from ktstr_tui.backend.outcome import RunEnd

SCREEN_END = signal.SIGUSR1
"""Sent by the screen that started the run when its user chose to end it."""


async def watch_signals(ending: RunEnd) -> None:
    """End the run on SIGINT, SIGTERM, SIGHUP or `SCREEN_END`; a second one cancels whatever still delays it."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, SCREEN_END) as signals:
        async for number in signals:
            if ending.outcome is not None:
                raise KeyboardInterrupt
            by = "from the screen" if number == SCREEN_END else f"by {signal.Signals(number).name}"
            ending.set(f"ended {by}")
