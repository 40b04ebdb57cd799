"""The rules of engines, kept by QEMU's gdb stub and a real kernel."""

from __future__ import annotations

import os
import signal

import pytest
import trio

from ktstr_tui.guest.machine import MachineSpec
from tests.contracts.engine import CHECKS, ENDINGS, Check
from tests.guest.conftest import BootGuest, Guest
from tests.guest.sysctl_words import SYSCTLS, SysctlGuest
from tests.guest.test_machine import symbol_address
from tests.guest.waiting import BOOT_DEADLINE_S
from tests.oracles.gdb_memory import read_memory

pytestmark = pytest.mark.guest


class RealGuest(SysctlGuest):
    """A booted guest with QEMU's gdb stub."""

    def __init__(self, guest: Guest, addresses: list[int]) -> None:
        super().__init__(guest, addresses)
        self.engine = guest.machine.gdb

    async def read(self, word: int) -> int:
        return int.from_bytes(await read_memory(self.engine, self._addresses[word], 4), "little")

    async def hang(self) -> None:
        await trio.lowlevel.checkpoint()
        os.kill(self._guest.machine.pid, signal.SIGSTOP)


async def test_all_rules_but_those_of_the_end(machine_spec: MachineSpec, boot_guest: BootGuest) -> None:
    async with boot_guest(machine_spec) as guest:
        real = RealGuest(guest, [await symbol_address(guest, name) for name, _ in SYSCTLS])
        for check in CHECKS:
            with trio.fail_after(BOOT_DEADLINE_S):
                await check(real)


@pytest.mark.parametrize("check", ENDINGS, ids=lambda check: check.__name__)
async def test_the_end_of_the_guest(check: Check, machine_spec: MachineSpec, boot_guest: BootGuest) -> None:
    async with boot_guest(machine_spec) as guest:
        with trio.fail_after(BOOT_DEADLINE_S):
            await check(RealGuest(guest, [0, 0]))
        await guest.machine.wait_exit()
