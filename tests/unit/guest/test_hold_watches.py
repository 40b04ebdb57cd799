"""Watches of the engine that holds: the observer is told of all of them at once, when the machine goes on."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import closing
from unittest.mock import AsyncMock

import pytest

from ktstr_tui.guest.hold import HoldEngine
from ktstr_tui.guest.observer_page import ObserverPage
from ktstr_tui.guest.stations import stream_of
from ktstr_tui.model.errors import HostError

BEGIN = 0xFFFF_8880_0000_0000
NR = 10_000


class CountedPage(ObserverPage):
    """A page that counts how often the observer is told what to watch."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[int] = []

    def watch(self, ranges: Iterable[tuple[int, int]], probes: Iterable[int] = ()) -> None:
        given = list(ranges)
        self.told.append(len(given))
        super().watch(given, probes)


async def test_ten_thousand_watches_are_told_once_before_the_machine_goes_on() -> None:
    ours, theirs = socket.socketpair()
    with closing(theirs), closing(CountedPage()) as page:
        async with stream_of(ours) as link:
            engine = HoldEngine(page, link, AsyncMock(), AsyncMock(), AsyncMock())
            engine.running = False
            for number in range(NR):
                await engine.arm_watch(BEGIN + 16 * number, 8)
            await engine.arm_watch(BEGIN, 8)
            await engine.disarm_watch(BEGIN, 8)
            for number in range(1, NR, 2):
                await engine.disarm_watch(BEGIN + 16 * number, 8)
            with pytest.raises(HostError, match="there is no watch of 8 bytes"):
                await engine.disarm_watch(BEGIN + 16, 8)
            assert page.told == []
            engine._go()
            engine._go()
            assert page.told == [NR // 2]
            assert theirs.recv(2) == b"gg", "told before the machine went on"
