"""Signals that ask a run to end: the first in good order, the second at once."""

from __future__ import annotations

import signal

import trio

from ktstr_tui.backend.outcome import RunEnd


async def watch_signals(ending: RunEnd) -> None:
    """End the run on SIGINT, SIGTERM or SIGHUP; a second one cancels whatever still holds it up."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async for number in signals:
            if ending.outcome is not None:
                raise KeyboardInterrupt
            ending.set(f"ended by {signal.Signals(number).name}")
