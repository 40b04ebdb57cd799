"""The part of a run in which there is a machine: everything that looks at it, connected.

What each part does is in its own file; here is only who asks whom. The parts form two rings, which are closed late:
the coordinator stamps captures with the step that the action handler knows, and the handler, like the guest's port,
is there only while the machine is looked after.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress

import trio

from ktstr_tui.backend.actions import ActionHandler
from ktstr_tui.backend.beats import RunBeats
from ktstr_tui.backend.bridge_news import BridgeNews
from ktstr_tui.backend.conclusion import conclude
from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.counting import Audience, Counting
from ktstr_tui.backend.deadlines import available_ms, watch_duration
from ktstr_tui.backend.guest_requests import GuestRequests, ScenarioWatches
from ktstr_tui.backend.guestwatch import watch_boot, watch_exit, watch_silence
from ktstr_tui.backend.kernel_ops import GuestKernelOps
from ktstr_tui.backend.opening import Opening
from ktstr_tui.backend.outcome import RunEnd
from ktstr_tui.backend.prepare import Prepared
from ktstr_tui.backend.run_dirs import RunDirs
from ktstr_tui.backend.swaps import SwapWatch
from ktstr_tui.capture.accessor import AccessorState, WorkerState
from ktstr_tui.capture.active import set_task_local
from ktstr_tui.capture.bridge import SnapshotBridge
from ktstr_tui.capture.coordinator import Coordinator
from ktstr_tui.capture.periodic import PeriodicCaptures
from ktstr_tui.capture.report.collect import collect, warm_up
from ktstr_tui.capture.report.dual import EarlyCapture
from ktstr_tui.capture.report.store import CaptureStore
from ktstr_tui.capture.stamp import EarlyRecord
from ktstr_tui.guest.machine import Machine
from ktstr_tui.health.sampler import Sampler
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.link.stream import Stream
from ktstr_tui.model.errors import GuestError, UsageError
from ktstr_tui.model.events import Event, SchedulerChanged
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.ops.audit import AuditTrail
from ktstr_tui.ops.kernel_ops import KernelOps
from ktstr_tui.ops.writable import WritableRam
from ktstr_tui.port.claims import KernelClaims
from ktstr_tui.port.port import GuestPort
from ktstr_tui.port.scenario_clock import ScenarioClock
from ktstr_tui.port.stats_port import StatsPort
from ktstr_tui.wire.messages import MsgType

__all__ = ["Audience", "LiveGuest"]

ORDERLY_END_S = 3.0
"""How long a guest that is asked to end may take before QEMU is told to quit."""


def _why_no_early(config: RunConfig) -> str | None:
    if not config.early_capture:
        return "early captures were turned off"
    return "the sampler is off" if config.sample_hz == 0 else None


class LiveGuest:
    """A machine that runs, and all that looks at it. Single use.

    Args:
        machine: The machine.
        stream: Takes the events.
        config: What was asked for.
        prepared: What was looked up.
        place: Where captures are saved.
        audience: Who takes the stream.
        started_ns: Host monotonic time at which the machine was started.
        beats_socket: Where programs of this host beat to, if they may.
    """

    def __init__(
        self,
        machine: Machine,
        stream: Stream,
        config: RunConfig,
        prepared: Prepared,
        place: RunDirs,
        audience: Audience,
        started_ns: int,
        beats_socket: socket.socket | None = None,
    ) -> None:
        self._machine = machine
        self._stream = stream
        self._config = config
        self._scenario = prepared.scenario
        self._audience = audience
        self._handler: ActionHandler | None = None
        self._data_dir = place.data_dir
        self._accessor = AccessorState()
        self._bridge_news = BridgeNews(stream.emit)
        self.bridge = SnapshotBridge(self._capture_for_guest, on_event=self._bridge_news.tell)
        self.bridge.with_accessor_state(self._accessor)
        self._store = CaptureStore(place.data_dir / "captures", stream.emit)
        self.coordinator = coordinator = self._make_coordinator()
        self.clock = ScenarioClock(time.monotonic_ns, coordinator.frozen_total_ns)
        self.stats = StatsPort(machine.stats, lambda: coordinator.frozen)
        self.early = EarlyCapture(
            coordinator.capture, lambda: coordinator.freeze_state, stream.emit, off=_why_no_early(config)
        )
        self._watches = ScenarioWatches(coordinator.watches)
        self._watches.install(self.bridge)
        self._audit = AuditTrail(place.data_dir / "kernel-ops.jsonl")
        self._writable = WritableRam(machine.ram_parts()) if config.allow_writes else None
        self.kernel_ops = KernelOps(coordinator, stream.emit, self._audit, self._writable)
        """Reads and, if the run allows it, writes of the guest's kernel memory."""
        self._guest_ops = GuestKernelOps(self.kernel_ops, self._reply, time.monotonic_ns)
        self.bridge.with_kernel_op(self._guest_ops.carry_out)
        self._claims = KernelClaims(stream.emit)
        self.beats = RunBeats(
            config.beats,
            stream.emit,
            coordinator,
            place.socket_dir,
            machine.bulk.socket.fileno(),
            beats_socket,
        )
        self._opening = Opening(
            machine,
            stream.emit,
            coordinator,
            self.kernel_ops,
            self.beats,
            self.early,
            self._accessor,
            self._claims,
            config.sample_hz,
            started_ns,
        )
        self.periodic = self._make_periodic()

    def _make_coordinator(self) -> Coordinator:
        return Coordinator(
            self._machine.gdb,
            self._on_coordinator,
            collect=collect,
            warm_up=warm_up,
            store=self._store,
            bridge=self.bridge,
            step=lambda: self._handler.step if self._handler else None,
            step_index=lambda: self._handler.step_index if self._handler else None,
            elapsed_ms=self._elapsed_ms,
            early=self._record_early,
        )

    # The coordinator is there before what these two ask.
    def _elapsed_ms(self) -> float | None:
        return self.clock.elapsed_ms()

    def _record_early(self, tag: str | None) -> EarlyRecord:
        return self.early.record(tag)

    def _on_coordinator(self, event: Event) -> None:
        self._stream.emit(event)
        if isinstance(event, SchedulerChanged) and event.change == "attached":
            self._accessor.publish()

    def _make_periodic(self) -> PeriodicCaptures:
        config, scenario, opening = self._config, self._scenario, self._opening
        return PeriodicCaptures(
            config.captures,
            clock=self.clock,
            avail_ms=lambda: available_ms(scenario.duration_ms, config.duration_s, opening.ready_ns),
            ready=opening.typed,
            capture=self.coordinator.capture,
            stats=self.stats,
            emit=self._stream.emit,
        )

    @property
    def typed(self) -> trio.Event:
        """Set when `view` is there, slot 0 is armed and the sampler, if asked for, is about to start."""
        return self._opening.typed

    @property
    def view(self) -> KernelView | None:
        """The guest's memory by type, once it can be read."""
        return self._opening.view

    @property
    def sampler(self) -> Sampler | None:
        """Looks at the running guest; None before that, or when nobody asked for samples."""
        return self._opening.sampler

    async def run(self, ending: RunEnd) -> None:
        """Look after the machine until the run is to end; then end the guest in good order."""
        try:
            with set_task_local(self.bridge):
                await self._look_after(ending)
        finally:
            self._audit.close()
            if self._writable is not None:
                self._writable.close()

    async def _look_after(self, ending: RunEnd) -> None:
        async with trio.open_nursery() as nursery:
            handler = self._handler = self._make_handler(nursery, ending)
            self.port = port = GuestPort(
                self._machine.bulk, self.beats.tap(handler.handle), time.monotonic_ns
            )
            counting = self._make_counting(port)
            await nursery.start(self.coordinator.run)
            await nursery.start(self.beats.run)
            nursery.start_soon(port.run)
            nursery.start_soon(self._opening.run, handler.system_ready, self._reply, nursery)
            nursery.start_soon(self.early.run)
            if self._config.captures:
                nursery.start_soon(self.periodic.run)
            nursery.start_soon(counting.run)
            self._watch_for_the_end(nursery, handler, ending)
            await ending.wait()
            self.stats.close()
            await self._end_guest(port)
            await conclude(
                self._data_dir,
                self.bridge,
                port.dispatcher,
                self._stream,
                periodic=self.periodic.statistics(),
                early=self.early.statistics(),
            )
            counting.count()
            nursery.cancel_scope.cancel()

    def _make_handler(self, nursery: trio.Nursery, ending: RunEnd) -> ActionHandler:
        swaps = SwapWatch(self._stream.emit)
        return ActionHandler(
            self._stream.emit,
            self._scenario.steps,
            self._reply,
            GuestRequests(self._reply, self._watches.watch, swaps, self._must_wait),
            swaps,
            self._guest_ops,
            self._claims,
            self.clock,
            nursery,
            ending.set,
        )

    def _make_counting(self, port: GuestPort) -> Counting:
        return Counting(
            stream=self._stream,
            audience=self._audience,
            machine=self._machine,
            port=port,
            coordinator=self.coordinator,
            store=self._store,
            opening=self._opening,
            beats=self.beats,
            kernel_ops=self.kernel_ops,
            guest_ops=self._guest_ops,
            bridge=self.bridge,
            bridge_news=self._bridge_news,
            stats=self.stats,
        )

    def _watch_for_the_end(self, nursery: trio.Nursery, handler: ActionHandler, ending: RunEnd) -> None:
        machine, config, up = self._machine, self._config, handler.system_ready
        nursery.start_soon(
            watch_exit, machine, ending, lambda: handler.exit_code is not None, self.port.ended
        )
        nursery.start_soon(watch_boot, up, machine, ending, config.boot_deadline_s)
        nursery.start_soon(self._watch_silence_after, up, ending)
        if config.duration_s is not None:
            frozen_ns = self.coordinator.frozen_total_ns
            nursery.start_soon(watch_duration, up, frozen_ns, ending, config.duration_s)

    def _reply(self, kind: MsgType, payload: bytes) -> None:
        self.port.reply(kind, payload)

    def _must_wait(self) -> bool:
        return self.coordinator.busy or self._accessor.state is WorkerState.TRYING

    async def _capture_for_guest(self, tag: str) -> CaptureReport:
        """The bridge's capture callback: not in the place of a report that somebody else asked for."""
        kept = (entry.report for entry in self._stream.state.captures)
        if any(report.tag == tag and report.trigger != "guest" for report in kept):
            raise UsageError(
                f"there is a capture {tag} already, which is not the guest's", "choose another tag"
            )
        return await self.coordinator.capture("guest", "asked for by the scenario", tag, keep=False)

    async def _watch_silence_after(self, system_ready: trio.Event, ending: RunEnd) -> None:
        await system_ready.wait()
        await watch_silence(
            lambda: self.port.last_frame_ns,
            self.coordinator.frozen_between_ns,
            time.monotonic_ns,
            self._machine,
            ending,
            self._config.silence_s,
        )

    async def _end_guest(self, port: GuestPort) -> None:
        if self._machine.exit is None:
            with trio.move_on_after(ORDERLY_END_S), suppress(GuestError):
                await self.coordinator.thaw("the run ends")
                port.reply(MsgType.Shutdown)
                await self._machine.wait_exit()
                await port.ended.wait()
        await self.coordinator.wait_captures_finished()
