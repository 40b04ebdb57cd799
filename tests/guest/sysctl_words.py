"""Words of a booted guest's kernel that a sysctl writes to, for the rules of engines."""

from __future__ import annotations

import os
import signal

import trio

from ktstr_tui.guest.hold import HoldEngine
from ktstr_tui.kernel.memory import GuestRam
from ktstr_tui.kernel.view import KernelView
from tests.guest.conftest import Guest
from tests.guest.waiting import BOOT_DEADLINE_S

SYSCTLS = (("panic_timeout", "panic"), ("panic_on_oops", "panic_on_oops"))
"""Words of the kernel that change only when somebody writes to ``/proc/sys/kernel``."""
MANY = 10_000


class SysctlGuest:
    """A booted guest whose words are sysctls; what depends on its engine is in its subclasses."""

    def __init__(self, guest: Guest, addresses: list[int]) -> None:
        self.nr_vcpus = guest.machine.spec.topology.cpus
        self._guest = guest
        self._addresses = addresses

    def address(self, word: int) -> int:
        return self._addresses[word]

    async def write(self, word: int, value: int) -> None:
        await self._guest.tell(f"write /proc/sys/kernel/{SYSCTLS[word][1]} {value}")

    async def written(self) -> None:
        assert await self._guest.answer() == "ok"

    def recover(self) -> None:
        os.kill(self._guest.machine.pid, signal.SIGCONT)

    def kill(self) -> None:
        os.kill(self._guest.machine.pid, signal.SIGKILL)


async def hit_one_of_many(guest: Guest) -> HoldEngine:
    """Watch a word and `MANY` others that nobody writes to, write to it, and be stopped for that one."""
    engine = guest.machine.engine
    assert isinstance(engine, HoldEngine)
    symbols = KernelView.open(GuestRam.from_fds(guest.machine.ram_parts())).symbols
    constants, address = symbols.find("linux_banner"), symbols.find("panic_timeout")
    assert constants is not None
    assert address is not None
    await engine.stop()
    await engine.arm_watch(address)
    engine.watch_besides((constants + 16 * number, 8) for number in range(MANY))
    await engine.resume()
    await guest.tell("write /proc/sys/kernel/panic 77")
    with trio.fail_after(BOOT_DEADLINE_S):
        stop = await engine.wait_stop()
    assert (stop.reason, stop.watch_address) == ("watch", address)
    return engine
