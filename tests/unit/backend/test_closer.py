"""What a run that is had again is looked at for: at instants of the guest's, whoever freezes it meanwhile."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
import trio
from trio.testing import MockClock

from ktstr_tui.backend.closer import look_closer
from ktstr_tui.backend.config import RunConfig
from ktstr_tui.capture.stop.rendezvous import FrozenLog
from ktstr_tui.guest.guest_time import START_NS, GuestTime, come_to_rest
from ktstr_tui.model.control import ArmWatch
from ktstr_tui.model.errors import GuestError
from ktstr_tui.model.events import Event

if TYPE_CHECKING:
    from ktstr_tui.capture.coordinator import Coordinator

SECOND_NS = 1_000_000_000


class Captures:
    """What the closer asks of a coordinator."""

    def __init__(self, time: GuestTime) -> None:
        self._log = FrozenLog(time.now_ns)
        self.freeze, self.thaw, self.frozen_total_ns = self._log.begin, self._log.end, self._log.total_ns
        self.taken = 0
        self.told: list[str] = []
        self.fails = False

    @property
    def stands(self) -> bool:
        return self._log.since_ns is not None

    async def freeze_for(self, reason: str) -> None:
        await trio.lowlevel.checkpoint()
        self.told.append(reason)
        if self.fails:
            raise GuestError("the guest did not stop")

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


@pytest.mark.parametrize("restores", [False, True])
@pytest.mark.parametrize("fails", [False, True])
async def test_whoever_waits_for_the_instant_hears_of_it_once_the_guest_is_frozen(
    fails: bool, restores: bool, autojump_clock: MockClock
) -> None:
    time = GuestTime()
    captures = Captures(time)
    captures.fails = fails
    coordinator = SimpleNamespace(freeze=captures.freeze_for, frozen_total_ns=captures.frozen_total_ns)
    said: list[Event] = []

    async def arm(watch: ArmWatch) -> None:
        raise AssertionError(watch)

    def held() -> None:
        captures.told.append("held")

    async def restore() -> None:
        await trio.lowlevel.checkpoint()
        captures.told.append("restored")

    async with trio.open_nursery() as nursery:
        config = RunConfig(freeze_at_ns=START_NS + SECOND_NS, restores_again=restores)
        nursery.start_soon(
            look_closer, config, cast("Coordinator", coordinator), arm, time, said.append, held, restore
        )
        await come_to_rest()
        assert captures.told == []
        time.note(START_NS + SECOND_NS)
        await time.wake(come_to_rest)
        # A guest that could not be frozen has run past the instant: it is not restored.
        restored = ["restored"] if restores and not fails else []
        assert captures.told == ["the run was to be held at 1.000 s", "held", *restored]
        nursery.cancel_scope.cancel()
    assert len(said) == fails
