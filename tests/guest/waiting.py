"""Waiting for a guest: bounded, and a guest that is gone fails the test with its last words."""

from __future__ import annotations

import pytest
import trio

from ktstr_tui.guest.machine import Machine

BOOT_DEADLINE_S = 240.0
"""For whatever a guest is waited for; generous, because it only matters when something is broken."""
DRAIN_S = 5.0
"""For what a guest had said before its end to be read."""


async def wait_said(machine: Machine, said: trio.Event) -> None:
    """Wait until the guest has said something; fails with its last words when it is gone or does not say it."""
    with trio.move_on_after(BOOT_DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_fail_at_exit, machine, said)
            await said.wait()
            nursery.cancel_scope.cancel()
        return
    pytest.fail(f"the guest says nothing; its console ends: {machine.console.tail(30)}")


async def _fail_at_exit(machine: Machine, said: trio.Event) -> None:
    ended = await machine.wait_exit()
    with trio.move_on_after(DRAIN_S):
        await said.wait()
        return
    pytest.fail(f"the guest is gone: {ended}")
