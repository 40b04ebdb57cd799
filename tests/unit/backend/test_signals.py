"""Signals that end a run: in order, without waiting, at once."""

from __future__ import annotations

import os
import signal

import pytest
import trio
import trio.testing

from ktstr_tui.backend.outcome import RunEnd
from ktstr_tui.backend.signals import watch_signals


async def test_a_second_signal_hurries_and_only_the_third_raises() -> None:
    ending = RunEnd()
    with pytest.RaisesGroup(KeyboardInterrupt):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch_signals, ending)
            await trio.testing.wait_all_tasks_blocked()
            os.kill(os.getpid(), signal.SIGINT)
            outcome = await ending.wait()
            assert (outcome.reason, outcome.error) == ("ended by SIGINT", None)
            assert not ending.hurry.is_set()
            os.kill(os.getpid(), signal.SIGTERM)
            await ending.hurry.wait()
            os.kill(os.getpid(), signal.SIGINT)
