"""A guest that runs a scheduler under load, for the tests that look at its kernel.

The guest program runs a scenario; its port is read and thrown away here, so that it never has to wait.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from ktstr_tui.capture.report import collect as collecting
from ktstr_tui.capture.report.collect import Copies, collect
from ktstr_tui.guest.machine import Machine, MachineSpec
from ktstr_tui.guest.scenario import parse_scenario
from ktstr_tui.kernel.memory import GuestRam
from ktstr_tui.kernel.sampler import SampleReader
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.kinds import Trigger
from tests.guest.booting import open_booted, spec_of
from tests.guest.waiting import wait_said

LOAD_DEADLINE_S = 60.0
STEADY = """
name = "steady"
description = "a scheduler under load"
[[workers]]
kind = "spin"
count = 3
[[workers]]
kind = "bursty"
count = 3
[[workers]]
kind = "pipe"
count = 1
[[steps]]
name = "work"
duration_ms = 600000
scheduler = "{scheduler}"
until = "duration"
"""

Wait = Callable[[], object]


class Run:
    """A guest that runs a scenario, and the typed view of its kernel."""

    def __init__(self, machine: Machine, view: KernelView, said: bytearray) -> None:
        self.machine, self.view, self.said = machine, view, said
        self.reader = SampleReader(view)

    async def until(self, condition: Wait) -> None:
        """Wait for something to come true in the guest."""
        with trio.move_on_after(LOAD_DEADLINE_S) as scope:
            while not condition():  # noqa: ASYNC110 - guest memory rings no bell
                await trio.sleep(0.01)
        assert not scope.cancelled_caught, self.said[-4000:].decode("utf-8", "replace")

    async def loaded(self) -> int:
        """Wait for the scheduler to be enabled; its address."""
        await self.until(lambda: self.reader.sample().scheduler.state == "enabled")
        root = self.view.scx_root()
        assert root is not None
        return root

    async def collect(self, trigger: Trigger) -> Copies:
        """Copy the state of the standing guest, with registers from the stub."""
        registers = {}
        for cpu in range(self.view.nr_cpus):
            found = await self.machine.gdb.registers(cpu)
            names = ("rip", "rsp", "rbp", "rax", "rdx", "rdi", "r10", "r13", "cr3")
            registers[cpu] = {name: int(getattr(found, name)) for name in names}
        return collect(self.view, registers, tag=f"{trigger}-001", trigger=trigger)


Running = Callable[[str], Any]


@pytest.fixture
def running(machine_spec: MachineSpec, monkeypatch: pytest.MonkeyPatch) -> Running:
    """Opens a guest that runs a demo scheduler under load.

    What a capture leaves out for want of time depends on the load of the host, and is for the unit tests.
    """
    monkeypatch.setattr(collecting, "MAX_MAPS_S", 60.0)

    @asynccontextmanager
    async def run(scheduler: str) -> AsyncIterator[Run]:
        scenario = parse_scenario(STEADY.format(scheduler=scheduler), "steady.toml")
        spec = spec_of(machine_spec, scenario)
        async with open_booted(spec) as machine, trio.open_nursery() as nursery:
            started, said = trio.Event(), bytearray()
            nursery.start_soon(_drain, machine, started, said)
            await wait_said(machine, started)
            ram = GuestRam.from_fds(machine.ram_parts())
            yield Run(machine, KernelView.open(ram), said)
            nursery.cancel_scope.cancel()
            ram.close()

    return run


async def _drain(machine: Machine, started: trio.Event, said: bytearray) -> None:
    while data := await machine.bulk.receive_some(65536):
        started.set()
        said += data
