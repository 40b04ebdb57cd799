"""A freeze whose owner is gone does not hold a run for ever."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing

from ktstr_tui.backend.frozen_watch import ALERT_S, watch_freeze
from ktstr_tui.model.events import AlertCleared, AlertRaised, Event


class Guest:
    """A guest that may be frozen, and who looks at it."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.viewers = 0
        self.events: list[Event] = []
        self.thawed: list[tuple[float, str]] = []

    async def thaw(self, reason: str) -> None:
        await trio.lowlevel.checkpoint()
        self.reason = None
        self.thawed.append((trio.current_time(), reason))

    async def watch(self, limit_s: float) -> None:
        await watch_freeze(
            lambda: self.reason,
            lambda: self.viewers,
            self.thaw,
            self.events.append,
            name="mine",
            limit_s=limit_s,
        )


async def test_a_freeze_that_lasts_is_an_alert_that_names_the_command(
    autojump_clock: trio.testing.MockClock,
) -> None:
    guest = Guest()
    guest.viewers = 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(guest.watch, 300)
        await trio.sleep(5.5)
        guest.reason = "alice@desk"
        await trio.sleep(ALERT_S - 1)
        assert guest.events == []
        await trio.sleep(2)
        (alert,) = guest.events
        assert isinstance(alert, AlertRaised)
        assert "frozen by alice@desk" in alert.text
        assert "ktstr-tui thaw mine" in alert.text
        # As long as somebody is attached it stays frozen.
        await trio.sleep(3000)
        assert (guest.thawed, len(guest.events)) == ([], 1)
        guest.reason = None
        await trio.sleep(1)
        assert guest.events[1:] == [AlertCleared(key="frozen", kind="frozen")]
        nursery.cancel_scope.cancel()


async def test_without_a_viewer_it_is_thawed_in_the_end(autojump_clock: trio.testing.MockClock) -> None:
    guest = Guest()
    guest.reason, guest.viewers = "alice@desk", 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(guest.watch, 300)
        await trio.sleep(100.5)
        guest.viewers = 0
        left_s = trio.current_time()
        await trio.sleep(299)
        assert guest.thawed == []
        await trio.sleep(2)
        ((thawed_s, reason),) = guest.thawed
        assert 298 <= thawed_s - left_s <= 301
        assert reason == "frozen by alice@desk, and no viewer was attached for 300 s"
        await trio.sleep(2)
        assert isinstance(guest.events[-1], AlertCleared)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("limit_s", [math.inf, 1e9])
async def test_a_run_may_stay_frozen_without_a_limit(
    autojump_clock: trio.testing.MockClock, limit_s: float
) -> None:
    guest = Guest()
    guest.reason = "a script"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(guest.watch, limit_s)
        await trio.sleep(10_000)
        assert guest.thawed == []
        nursery.cancel_scope.cancel()
