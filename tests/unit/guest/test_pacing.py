"""A guest is held back to the host's time, and does not make up for what the host was slow."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from ktstr_tui.guest.pacing import BEHIND_NS, Pacer

S = 1_000_000_000


async def test_a_guest_that_is_idle_lives_no_faster_than_the_host(autojump_clock: MockClock) -> None:
    pacer, begun_s = Pacer(), trio.current_time()
    for second in (5, 6, 66):
        await pacer.keep(second * S)
    assert trio.current_time() - begun_s == 61


async def test_a_guest_that_is_slow_waits_for_nothing_and_catches_up_on_a_moment_only(
    autojump_clock: MockClock,
) -> None:
    pacer, begun_s = Pacer(), trio.current_time()
    await pacer.keep(0)
    await trio.sleep(BEHIND_NS / 1e9 / 2)
    await pacer.keep(0)
    await pacer.keep(BEHIND_NS // 2)
    assert trio.current_time() - begun_s == BEHIND_NS / 1e9 / 2, "a moment is caught up on"
    await trio.sleep(60)
    await pacer.keep(1 * S)
    slow_s = trio.current_time()
    await pacer.keep(3 * S)
    assert trio.current_time() - slow_s == 2, "a minute of a busy host has gone by"
