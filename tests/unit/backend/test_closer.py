"""What a run that is had again is looked at for: at instants of the guest's, whoever freezes it meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import trio
from trio.testing import MockClock

from ktstr_tui.backend.closer import look_closer
from ktstr_tui.backend.config import RunConfig
from ktstr_tui.capture.stop.rendezvous import FrozenLog
from ktstr_tui.guest.guest_time import START_NS, GuestTime, come_to_rest
from ktstr_tui.model.control import ArmWatch

if TYPE_CHECKING:
    from ktstr_tui.capture.coordinator import Coordinator

SECOND_NS = 1_000_000_000


class Captures:
    """What the closer asks of a coordinator."""

    def __init__(self, time: GuestTime) -> None:
        self._log = FrozenLog(time.now_ns)
        self.freeze, self.thaw, self.frozen_total_ns = self._log.begin, self._log.end, self._log.total_ns
        self.taken = 0

    @property
    def stands(self) -> bool:
        return self._log.since_ns is not None

    async def capture(self, trigger: str, detail: str) -> None:
        await trio.lowlevel.checkpoint()
        self.taken += 1


async def test_an_instant_is_the_guests_also_after_a_freeze(autojump_clock: MockClock) -> None:
    time = GuestTime()
    captures = Captures(time)
    config = RunConfig(captures_at_ns=(START_NS + 3 * SECOND_NS,))

    async def arm(watch: ArmWatch) -> None:
        raise AssertionError(watch)

    async def guest_at(second: float) -> None:
        time.note(START_NS + round(second * SECOND_NS))
        await time.wake(come_to_rest)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(time.go_with_host, lambda: captures.stands)
        nursery.start_soon(look_closer, config, cast("Coordinator", captures), arm, time, lambda _: None)
        await come_to_rest()
        await guest_at(1)
        captures.freeze()
        await trio.sleep(60)
        captures.thaw()
        await guest_at(2.9)
        assert captures.taken == 0
        await guest_at(3)
        assert captures.taken == 1
        nursery.cancel_scope.cancel()
