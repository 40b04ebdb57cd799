"""Kernel operations on a machine of the test's own."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from ktstr_tui.capture.coordinator import Coordinator, Copiers
from ktstr_tui.capture.memory import TypedMemory
from ktstr_tui.capture.report.collect import collect
from ktstr_tui.capture.stop.rendezvous import FrozenLog
from ktstr_tui.guest.machine import Machine
from ktstr_tui.kernel.memory import GuestRam
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.events import Event, KernelOpDone
from ktstr_tui.ops.audit import AuditTrail
from ktstr_tui.ops.kernel_ops import KernelOps, OpResult
from ktstr_tui.ops.writable import WritableRam
from ktstr_tui.wire.kernel_ops import (
    Entry,
    KernelOp,
    Target,
    Value,
)
from tests.oracles.gdb_memory import read_memory

pytestmark = pytest.mark.guest


class Operating:
    """Kernel operations on a machine."""

    def __init__(self, machine: Machine, view: KernelView, directory: Path, *, allow: bool) -> None:
        self.machine = machine
        self.view = view
        self.events: list[Event] = []
        self.coordinator = Coordinator(
            machine.gdb, self.events.append, Copiers(collect), FrozenLog(time.monotonic_ns)
        )
        self.trail = AuditTrail(directory / "kernel-ops.jsonl")
        self.writable = WritableRam(machine.ram_parts()) if allow else None
        memory = TypedMemory(view)
        self.ops = KernelOps(self.coordinator, self.events.append, self.trail, self.writable, memory)

    async def ask(self, direction: str, target: Target, value: Value | None, *, cold: bool) -> OpResult:
        op = KernelOp("cold" if cold else "hot", direction, (Entry(target, value),))  # type: ignore[arg-type]
        return await self.ops.run(op, "test")

    async def write(self, target: Target, value: Value, *, cold: bool = False) -> OpResult:
        return await self.ask("write", target, value, cold=cold)

    async def read(self, target: Target, value: Value | None = None, *, cold: bool = False) -> int:
        """The value read, as a number."""
        result = await self.ask("read", target, value, cold=cold)
        assert result.reason == ""
        return int.from_bytes(result.places[0].before or b"", "little")

    async def stub(self, address: int, length: int = 4) -> int:
        """What the gdb stub reads from the guest while it stands."""
        await self.coordinator.freeze("the stub looks")
        data = await read_memory(self.machine.gdb, address, length)
        await self.coordinator.thaw("the stub has looked")
        return int.from_bytes(data, "little")

    def told(self) -> list[KernelOpDone]:
        return [event for event in self.events if isinstance(event, KernelOpDone)]


@asynccontextmanager
async def operating(machine: Machine, directory: Path, *, allow: bool = True) -> AsyncIterator[Operating]:
    ram = GuestRam.from_fds(machine.ram_parts())
    view = await trio.to_thread.run_sync(KernelView.open, ram)
    ops = Operating(machine, view, directory, allow=allow)
    async with trio.open_nursery() as nursery:
        await nursery.start(ops.coordinator.run)
        yield ops
        nursery.cancel_scope.cancel()
    ops.trail.close()
    if ops.writable is not None:
        ops.writable.close()
    ram.close()
