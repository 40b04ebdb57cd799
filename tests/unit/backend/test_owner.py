"""The screen that started a run is gone: the run ends, or says that nobody looks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import trio
import trio.testing
from trio.testing import MockClock

from ktstr_tui.backend.config import OnExit
from ktstr_tui.backend.outcome import RunEnd
from ktstr_tui.backend.owner import RunOwner, watch_owner
from ktstr_tui.backend.screen_signals import SCREEN_LEFT
from ktstr_tui.model.events import AlertCleared, AlertRaised, Event

# Whoever runs the tests may ignore SIGHUP, and a child inherits that.
_SCREEN = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL); print(flush=True); input()"


async def watched(on_exit: OnExit, killed_by: signal.Signals | None) -> tuple[RunEnd, list[Event]]:
    """What comes of it when a screen is killed, or leaves when there is no signal."""
    ending, told, heard = RunEnd(), list[Event](), trio.Event()

    def tell(event: Event) -> None:
        told.append(event)
        heard.set()

    screen = subprocess.Popen([sys.executable, "-c", _SCREEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: ASYNC220 - takes no time
    assert screen.stdout is not None
    screen.stdout.readline()
    try:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(
                    watch_owner, RunOwner(screen.pid, on_exit, "tour"), ending, lambda: 0, tell
                )
                await trio.testing.wait_all_tasks_blocked()
                assert not told
                if killed_by is None:
                    os.kill(os.getpid(), SCREEN_LEFT)
                else:
                    screen.send_signal(killed_by)
                    await (ending.wait() if on_exit == "end" else heard.wait())
                    nursery.cancel_scope.cancel()
    finally:
        screen.kill()
        screen.communicate()
    return ending, told


async def test_a_run_is_kept_and_says_that_nobody_looks() -> None:
    for number in (signal.SIGHUP, signal.SIGKILL):
        ending, told = await watched("keep", number)
        assert ending.outcome is None
        (alert,) = told
        assert isinstance(alert, AlertRaised)
        assert alert.text.startswith("the screen that started this run is gone, and the run continues")
        assert "ktstr-tui end tour" in alert.text


async def test_a_run_is_ended_when_that_was_asked_for() -> None:
    ending, told = await watched("end", signal.SIGKILL)
    assert ending.outcome is not None
    assert (ending.outcome.reason, told) == ("ended because its screen is gone", [])


async def test_a_screen_that_was_left_on_purpose_is_not_missed() -> None:
    for on_exit in ("keep", "end"):
        ending, told = await watched(on_exit, None)
        assert (ending.outcome, told) == (None, [])


async def test_the_alert_is_cleared_while_somebody_is_attached(autojump_clock: MockClock) -> None:
    gone = subprocess.Popen(["true"])  # noqa: ASYNC220 - takes no time
    gone.wait()
    told, viewers = list[Event](), [0]
    async with trio.open_nursery() as nursery:
        owner = RunOwner(gone.pid, "keep", "tour")
        nursery.start_soon(watch_owner, owner, RunEnd(), lambda: viewers[0], told.append)
        await trio.sleep(0.5)
        raised = told[0]
        for count, seconds in ((1, 1.0), (0, 5.0)):  # a command that asks for the state
            viewers[0] = count
            await trio.sleep(seconds)
        assert told == [raised]
        for count in (2, 0):
            viewers[0] = count
            await trio.sleep(3)
        nursery.cancel_scope.cancel()
    assert told == [raised, AlertCleared(key="unseen", kind="unseen"), raised]
