"""Kernel operations over a hand-made kernel and a coordinator with a fake stub."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ktstr_tui.capture.memory import TypedMemory
from ktstr_tui.model.events import KernelOpDone
from ktstr_tui.ops.audit import AuditTrail
from ktstr_tui.ops.kernel_ops import KernelOps, OpResult
from ktstr_tui.ops.writable import WritableRam
from ktstr_tui.wire.kernel_ops import (
    Entry,
    KernelOp,
    Symbol,
    Target,
    Value,
)
from tests.unit.capture.rig import Rig, running
from tests.unit.ops.ops_kernel import OpsKernel

KNOB = Symbol("knob")


class Ops:
    """Kernel operations over a kernel and a coordinator with a fake stub."""

    def __init__(
        self,
        rig: Rig,
        kernel: OpsKernel,
        trail: AuditTrail,
        writable: WritableRam | None,
        *,
        typed: bool = True,
    ) -> None:
        self.rig = rig
        self.kernel = kernel
        self.trail = trail
        self.now_ns = 1
        memory = TypedMemory(kernel.view if typed else None)
        self.ops = KernelOps(rig.coordinator, rig.emit, trail, writable, memory, lambda: self.now_ns)

    async def ask(self, direction: str, *entries: Entry, cold: bool = False) -> OpResult:
        op = KernelOp("cold" if cold else "hot", direction, entries, tag="test")  # type: ignore[arg-type]
        return await self.ops.run(op, "alice")

    async def write(self, target: Target, value: Value, *, cold: bool = False) -> OpResult:
        return await self.ask("write", Entry(target, value), cold=cold)

    async def read(self, target: Target, value: Value | None = None, *, cold: bool = False) -> OpResult:
        return await self.ask("read", Entry(target, value), cold=cold)

    def told(self) -> list[KernelOpDone]:
        return self.rig.of(KernelOpDone)

    def lines(self) -> list[dict[str, Any]]:
        """What became of writes, and of the wish for them."""
        return [line for line in self.trail_lines() if line["what"] != "intent"]

    def trail_lines(self) -> list[dict[str, Any]]:
        text = self.trail.path.read_bytes() if self.trail.path.exists() else b""
        return [msgspec.json.decode(line) for line in text.splitlines()]


@pytest.fixture
def ops_kernel() -> Iterator[OpsKernel]:
    """A kernel that can be written to."""
    kernel = OpsKernel()
    yield kernel
    kernel.close()


OpenOps = Callable[..., Any]


@pytest.fixture
def open_ops(ops_kernel: OpsKernel, tmp_path: Path) -> OpenOps:
    """Opens operations as a context; writes are allowed unless told otherwise."""

    @asynccontextmanager
    async def opened(
        *,
        allow: bool = True,
        typed: bool = True,
        max_bytes: int = 1 << 20,
        ram: type[WritableRam] = WritableRam,
    ) -> AsyncIterator[Ops]:
        writable = ram(ops_kernel.parts) if allow else None
        trail = AuditTrail(tmp_path / "kernel-ops.jsonl", max_bytes)
        async with running() as rig:
            yield Ops(rig, ops_kernel, trail, writable, typed=typed)
        trail.close()
        if writable is not None:
            writable.close()

    return opened
