"""A coordinator whose fake view knows expressions, and a guest that writes to what they name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from ktstr_tui.guest.engine import Stop
from ktstr_tui.kernel.expressions import ExpressionError, Location
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.model.events import WatchpointChanged, WatchpointHit
from ktstr_tui.model.report import RunningTask, Stack, StackFrame
from tests.unit.capture.fakes import EXIT_OFFSET, ROOT_SLOT, SCHED_A, FakeView
from tests.unit.capture.rig import Rig

COUNTER = 0xFFFF_FFFF_8000_2000
POINTER = 0xFFFF_FFFF_8000_3000
ODD = 0xFFFF_FFFF_8000_4001
NAMES = {
    "counter": Location("counter", COUNTER, size_bytes=4),
    "wide": Location("wide", COUNTER + 0x100, size_bytes=8),
    "raw": Location("raw", COUNTER + 0x200),
    "odd": Location("odd", ODD),
    "user": Location("user", 0x1000),
    "unmapped": Location("unmapped", 0xFFFF_C900_0000_0000),
    "ptr->member": Location("ptr->member", POINTER, ((0, "ptr"),), 8, 4),
    "scx_root": Location("scx_root", ROOT_SLOT, size_bytes=8),
    "scx_root->exit_kind": Location("scx_root->exit_kind", ROOT_SLOT, ((0, "scx_root"),), EXIT_OFFSET, 4),
}


class Words:
    """Memory of 8-byte words at known addresses; the rest is not mapped."""

    def __init__(self, view: WatchedView) -> None:
        self._view = view

    def read(self, address: int, n: int) -> bytes:
        if address == ROOT_SLOT:
            return (self._view.root or 0).to_bytes(8, "little")[:n]
        sched = address - EXIT_OFFSET
        if sched in self._view.exit_kinds:
            return self._view.exit_kinds[sched].to_bytes(8, "little")[:n]
        if address not in self._view.words:
            raise MemoryReadError(f"{address:#x} is not mapped", address)
        return self._view.words[address].to_bytes(8, "little")[:n]

    def u64(self, address: int) -> int:
        return int.from_bytes(self.read(address, 8), "little")


class WatchedView(FakeView):
    """Knows the expressions in `NAMES`; it is the compiler of them, too."""

    def __init__(self) -> None:
        super().__init__()
        self.words: dict[int, int] = {COUNTER: 1, COUNTER + 0x100: 1, COUNTER + 0x200: 1, ODD: 0, POINTER: 0}
        self.compiled: list[tuple[str, bool]] = []

    @property
    def expressions(self) -> WatchedView:
        return self

    def fresh_space(self) -> Words:
        return Words(self)

    def compile(self, text: str, *, suggest: bool = True) -> Location:
        self.compiled.append((text, suggest))
        if text not in NAMES:
            raise ExpressionError(f"this kernel has no symbol {text!r}", "did you mean counter?")
        return NAMES[text]


@dataclass
class FakeWriter:
    """A writer that is known by its CPU."""

    cpu: int
    registers: Mapping[str, int]
    broken: bool = False

    def render(self, view: object) -> tuple[RunningTask, Stack]:
        if self.broken:
            raise ValueError("torn")
        task = RunningTask(cpu=self.cpu, pid=100 + self.cpu, comm="writer", sched_class="ext")
        return task, Stack((StackFrame(self.registers["rip"], "store+0x4"),), "user")


class WatchRig(Rig):
    """A rig whose view knows expressions."""

    def __init__(self) -> None:
        self.broken_writer = False
        view = WatchedView()
        super().__init__(
            view=view, writer=lambda view, cpu, registers: FakeWriter(cpu, registers, self.broken_writer)
        )
        self.view: WatchedView = view

    def write(self, address: int, value: int, vcpu: int = 0) -> None:
        """The guest writes a word."""
        self.view.words[address] = value
        self.engine.hit(address, vcpu)

    def stop_otherwise(self) -> None:
        """The guest stops for something else."""
        self.engine.arrive(Stop("other"))

    def states(self, slot: int) -> list[tuple[str, int | None]]:
        """What became of a slot."""
        return [(it.state, it.address) for it in self.of(WatchpointChanged) if it.slot == slot]

    def hits(self) -> list[WatchpointHit]:
        """Hits of the user's watches."""
        return [hit for hit in self.of(WatchpointHit) if hit.slot]

    def load(self) -> None:
        """A scheduler is there before anybody looks."""
        self.view.root = SCHED_A


@asynccontextmanager
async def watching(*, typed: bool = True) -> AsyncIterator[WatchRig]:
    """Run a coordinator, by default with a view."""
    rig = WatchRig()
    async with trio.open_nursery() as nursery:
        await nursery.start(rig.coordinator.run)
        if typed:
            await rig.attach()
        yield rig
        nursery.cancel_scope.cancel()
    assert rig.runs()
    assert not rig.coordinator.frozen
