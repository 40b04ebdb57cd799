"""The counters of a run, put on the stream when they moved, and the beat by which viewers know that it lives.

Everything long-lived counts what it lost by reasons of its own. Here they become one table, which is sent as a whole
when anything in it changed: a viewer that joins late, or misses a message, then needs no history to be right. Reasons
that never happened are left out, so an empty table means that nothing was lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import trio

from ktstr_tui.backend.opening import Opening
from ktstr_tui.capture.bridge import SnapshotBridge
from ktstr_tui.capture.bridge_news import BridgeNews
from ktstr_tui.capture.coordinator import Coordinator
from ktstr_tui.capture.report.store import CaptureStore
from ktstr_tui.guest.machine import Machine
from ktstr_tui.health.beats import RunBeats
from ktstr_tui.link.stream import Stream
from ktstr_tui.model.events import BackendBeat, DropsCounted, FramesCounted
from ktstr_tui.ops.guest_ops import GuestKernelOps
from ktstr_tui.ops.kernel_ops import KernelOps
from ktstr_tui.port.port import GuestPort
from ktstr_tui.port.stats_port import StatsPort

BEAT_S = 1.0


class Audience(Protocol):
    """Who takes the stream, for the counters."""

    def viewers(self) -> int:
        """Viewers connected now."""

    def drops(self) -> dict[str, int]:
        """What was lost on the way to them, by reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counting:
    """Asks everything that counts."""

    stream: Stream
    audience: Audience
    machine: Machine
    port: GuestPort
    coordinator: Coordinator
    store: CaptureStore
    opening: Opening
    beats: RunBeats
    kernel_ops: KernelOps
    guest_ops: GuestKernelOps
    bridge: SnapshotBridge
    bridge_news: BridgeNews
    stats: StatsPort

    async def run(self) -> None:
        """Count every second until cancelled."""
        while True:
            await trio.sleep(BEAT_S)
            self.count()

    def count(self) -> None:
        """Put the counters that moved on the stream, and the beat."""
        emit, state = self.stream.emit, self.stream.state
        counters = self.port.counters()
        if counters != state.frames:
            emit(FramesCounted(counters=counters))
        drops = self._drops() | self.port.drops()
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
            )
        )

    def _drops(self) -> dict[str, int]:
        drops = self.audience.drops()
        coordinator = self.coordinator.statistics()
        drops["coordinator: requests refused"] = coordinator.refused
        drops["captures: too many waited"] = coordinator.finisher.overflowed
        drops["captures: too many dual reports waited"] = coordinator.finisher.duals_dropped
        drops |= {f"captures: {reason}": count for reason, count in self.store.statistics().drops.items()}
        drops |= self.beats.drops()
        drops |= self.bridge_news.drops(self.bridge)
        operations = self.kernel_ops.statistics()
        drops["kernel operations: refusals not told"] = operations.refusals_untold + operations.audit.left_out
        drops["kernel operations: too many from the guest"] = self.guest_ops.statistics().over_budget
        stats = self.stats.statistics()
        drops["stats port: late answers"] = stats.discarded_lines
        drops["stats port: bytes of answers that were too long"] = stats.discarded_bytes
        drops["qmp: events"] = self.machine.qmp.statistics().events_dropped
        return {reason: count for reason, count in drops.items() if count}
