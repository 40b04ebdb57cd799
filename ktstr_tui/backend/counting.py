"""The counters of a run, put on the stream when they moved, and the beat by which viewers know that it lives.

Everything long-lived counts what it lost by reasons of its own. Here they become one table, which is sent as a whole
when anything in it changed: a viewer that joins late, or misses a message, then needs no history to be right. Reasons
that never happened are left out, so an empty table means that nothing was lost.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import trio

from ktstr_tui.backend.opening import Opening
from ktstr_tui.backend.seeded import Seeded
from ktstr_tui.capture.bridge import SnapshotBridge
from ktstr_tui.capture.bridge_news import BridgeNews
from ktstr_tui.capture.coordinator import Coordinator
from ktstr_tui.capture.periodic import PeriodicCaptures
from ktstr_tui.capture.report.dual import EarlyCapture
from ktstr_tui.capture.report.store import CaptureStore
from ktstr_tui.debug.door import DebuggerDoor
from ktstr_tui.guest.machine import Machine
from ktstr_tui.health.alarm_captures import AlarmCaptures
from ktstr_tui.health.beats import RunBeats
from ktstr_tui.link.stream import Stream
from ktstr_tui.model.drops import Drops, drop_table
from ktstr_tui.model.events import BackendBeat, DropsCounted, FramesCounted
from ktstr_tui.ops.guest_ops import GuestKernelOps
from ktstr_tui.ops.kernel_ops import KernelOps
from ktstr_tui.port.handler import ActionHandler
from ktstr_tui.port.port import GuestPort
from ktstr_tui.port.stats_port import StatsPort

BEAT_S = 1.0


class Audience(Protocol):
    """Who takes the stream, for the counters."""

    def viewers(self) -> int:
        """Viewers connected now."""

    def is_gone(self, viewer: str) -> bool:
        """Whether the viewer of a topic has been silent for some looks. To be asked at every beat."""

    def sources(self) -> Mapping[str, Drops]:
        """What counts the drops on the way to them, by room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counting:
    """Asks everything that counts."""

    stream: Stream
    audience: Audience
    machine: Machine
    handler: ActionHandler
    port: GuestPort
    coordinator: Coordinator
    store: CaptureStore
    early: EarlyCapture
    alarms: AlarmCaptures
    periodic: PeriodicCaptures
    opening: Opening
    beats: RunBeats
    kernel_ops: KernelOps
    guest_ops: GuestKernelOps
    bridge: SnapshotBridge
    snapshots: Drops
    bridge_news: BridgeNews
    seeded: Seeded
    debugger: DebuggerDoor
    stats: StatsPort
    sleep: Callable[[float], Awaitable[None]] = trio.sleep
    """Waits, in seconds of the run's time."""

    async def run(self) -> None:
        """Count every second until cancelled."""
        while True:
            await self.sleep(BEAT_S)
            self.count()

    def count(self) -> None:
        """Put the counters that moved on the stream, and the beat."""
        emit, state = self.stream.emit, self.stream.state
        counters = self.port.counters()
        if counters != state.frames:
            emit(FramesCounted(counters=counters))
        drops = drop_table(self.sources())
        if drops != state.drops:
            emit(DropsCounted(drops=drops))
        sampled = self.opening.sampler.statistics() if self.opening.sampler else None
        emit(
            BackendBeat(
                samples=state.samples,
                samples_missed=sampled.missed + sampled.skipped_frozen if sampled else 0,
                torn=state.torn,
                frozen_total_ms=self.coordinator.frozen_total_ns() / 1e6,
                viewers=self.audience.viewers(),
                freezer_gone=self.audience.is_gone(state.frozen_for),
            )
        )

    def sources(self) -> dict[str, Drops]:
        """Return everything that counts drops, by the room that it is shown under."""
        sources: dict[str, Drops] = {
            "stream": self.stream,
            "machine": self.machine,
            "guest": self.handler,
            "port": self.port,
            "stats-port": self.stats,
            "coordinator": self.coordinator,
            "captures": self.store,
            "early": self.early,
            "alarms": self.alarms,
            "periodic": self.periodic,
            "bridge": self.bridge,
            "snapshots": self.snapshots,
            "scenario": self.bridge_news,
            "beats": self.beats,
            "kernel-ops": self.kernel_ops,
            "guest-kernel-ops": self.guest_ops,
            "seed": self.seeded,
            "debugger": self.debugger,
            **self.audience.sources(),
        }
        if self.opening.sampler is not None:
            sources["sampler"] = self.opening.sampler
        if self.opening.following is not None:
            sources["trace"] = self.opening.following
        return sources
