"""The part of a run in which there is a machine: everything that looks at it, connected.

What each part does is in its own file; here is only who asks whom. All parts are made in one order, each with what it
needs, and run in the nursery of `open_live_guest`. What two parts need of each other is an object of its own that is
made before both: the scenario's step and time (`Now`), the frames for the guest (`Outbox`), the frozen time.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from functools import partial

import trio

from ktstr_tui.backend.apply_change import apply_change
from ktstr_tui.backend.boots import pass_saved_boot, show_console
from ktstr_tui.backend.closer import look_closer
from ktstr_tui.backend.conclusion import conclude
from ktstr_tui.backend.counting import Audience, Counting
from ktstr_tui.backend.debugging import make_door, serve_past
from ktstr_tui.backend.guest_asks import GuestAsks
from ktstr_tui.backend.guestwatch import watch_boot, watch_exit, watch_silence, watch_stuck
from ktstr_tui.backend.lazily import loader_of
from ktstr_tui.backend.opening import Opening, Sampling, Watchers
from ktstr_tui.backend.outcome import RunEnd
from ktstr_tui.backend.probes import Numbers, capture_backlog, host_probes
from ktstr_tui.backend.restoring import FROZEN, Restoring, restore_again
from ktstr_tui.backend.seeded import open_seeded
from ktstr_tui.backend.setup import Held, Setup
from ktstr_tui.backend.snapshots import GuestFacts, MemoryCaptures, MemoryShots
from ktstr_tui.capture.accessor import AccessorState, WorkerState
from ktstr_tui.capture.bridge import SnapshotBridge
from ktstr_tui.capture.bridge_news import BridgeNews
from ktstr_tui.capture.coordinator import Coordinator, Copiers, Keeping
from ktstr_tui.capture.periodic import PeriodicCaptures
from ktstr_tui.capture.report.collect import collect, warm_up
from ktstr_tui.capture.report.dual import EarlyCapture, EarlySamples
from ktstr_tui.capture.report.store import CaptureStore
from ktstr_tui.capture.stamp import Beside
from ktstr_tui.capture.stop.rendezvous import FrozenLog
from ktstr_tui.capture.watch.scenario_watches import ScenarioWatches
from ktstr_tui.guest.engine import Engine
from ktstr_tui.guest.guest_time import GuestTime, sleep_or
from ktstr_tui.guest.machine import Machine
from ktstr_tui.health.alarm_captures import AlarmCaptures
from ktstr_tui.health.beats import RunBeats
from ktstr_tui.health.host_load import HostProcess
from ktstr_tui.health.sampler import Sampler
from ktstr_tui.health.standstill import Standstill, Unobservable
from ktstr_tui.heartbeat.intake import open_intake
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.link.stream import Stream
from ktstr_tui.model.errors import GuestError
from ktstr_tui.model.events import Event, SchedulerChanged
from ktstr_tui.model.plan import available_ms
from ktstr_tui.ops.audit import AuditTrail
from ktstr_tui.ops.guest_ops import GuestKernelOps
from ktstr_tui.ops.kernel_ops import KernelOps
from ktstr_tui.ops.writable import WritableRam
from ktstr_tui.port.claims import KernelClaims
from ktstr_tui.port.guest_requests import GuestRequests
from ktstr_tui.port.handler import ActionHandler, Servers
from ktstr_tui.port.now import Now
from ktstr_tui.port.outbox import Outbox
from ktstr_tui.port.port import GuestPort
from ktstr_tui.port.replacing import SchedulerReplacer
from ktstr_tui.port.scenario_clock import ScenarioClock
from ktstr_tui.port.scheduler_log import SchedulerLog
from ktstr_tui.port.stats_port import StatsPort
from ktstr_tui.port.swaps import SwapWatch
from ktstr_tui.wire.messages import MsgType

__all__ = ["Audience", "LiveGuest", "Setup", "open_live_guest"]

EXIT_INFO_S = 0.5
"""The guest's time that its kernel may take to write why it ejected a scheduler, and its dump."""
ORDERLY_END_S = 3.0
"""How long a guest that is asked to end may take before QEMU is asked to quit."""


@asynccontextmanager
async def open_live_guest(
    machine: Machine, stream: Stream, setup: Setup, ending: RunEnd
) -> AsyncIterator[LiveGuest]:
    """Connect everything that looks at a machine; all of it is stopped and closed when the context ends."""
    with ExitStack() as stack:
        audit = stack.enter_context(closing(AuditTrail(setup.place.data_dir / "kernel-ops.jsonl")))
        writable = None
        if setup.config.allow_writes:
            ram = WritableRam(machine.ram_parts(), loader_of(machine.spec.restored))
            writable = stack.enter_context(closing(ram))
        frozen = FrozenLog(setup.time.now_ns)
        process = HostProcess(machine.pid, sorted((await machine.vcpu_threads()).values()))
        host = Standstill(process, stream.emit, time.monotonic_ns)

        def without_cpu_ns(start_ns: int, end_ns: int) -> int:
            return frozen.between_ns(start_ns, end_ns) + host.between_ns(start_ns, end_ns)

        intake = stack.enter_context(
            open_intake(
                setup.config.beats,
                setup.beats_socket,
                stream.emit,
                without_cpu_ns,
                guest_clock=setup.time.now_ns if machine.stations else None,
                guest_sleep=setup.time.sleep if machine.stations else None,
            )
        )
        log = stack.enter_context(closing(SchedulerLog(setup.place.data_dir / "scheduler.log")))
        place = (setup.place.data_dir, setup.reboots.boot)
        kept = open_seeded(*place, stream.emit, setup.config, ending, observed=machine.stations is not None)
        held = Held(audit, writable, intake, frozen, log, host, stack.enter_context(kept))
        async with trio.open_nursery() as nursery:
            yield LiveGuest(machine, stream, setup, ending, nursery, held)
            nursery.cancel_scope.cancel()


class LiveGuest:
    """A machine that runs, and all that looks at it. Single use; made by `open_live_guest`.

    Args:
        machine: The machine.
        stream: Takes the events.
        setup: What was asked for and looked up.
        ending: How the run ends.
        nursery: Where all parts run.
        held: What is open as long as the guest is.
    """

    def __init__(
        self,
        machine: Machine,
        stream: Stream,
        setup: Setup,
        ending: RunEnd,
        nursery: trio.Nursery,
        held: Held,
    ) -> None:
        config, emit, clock = setup.config, stream.emit, setup.time.now_ns
        self._machine, self._stream, self._setup = machine, stream, setup
        self._ending, self._nursery = ending, nursery
        self.clock = ScenarioClock(clock, held.frozen.total_ns, setup.time.sleep)
        scenario = setup.prepared.scenario
        now = Now(self.clock, scenario.steps, [it.making for it in scenario.cgroups])
        self._outbox = Outbox(pulled=machine.stations is not None)
        self._accessor = AccessorState()
        self._bridge_news, self._asks = BridgeNews(emit), GuestAsks(stream, setup)
        self.bridge = SnapshotBridge(self._asks.capture, on_event=self._bridge_news.tell)
        self.bridge.with_accessor_state(self._accessor)
        swaps = SwapWatch(emit, self.bridge)
        requests = self._make_requests(swaps)
        facts = GuestFacts(now=now, frozen=held.frozen, view=lambda: self.view, waiting=requests.waiting)
        self._shots = MemoryShots(machine, setup, stream, nursery, facts)
        self._store = CaptureStore(setup.place.data_dir / "captures", emit)
        samples = EarlySamples(off=config.why_no_early)
        self.coordinator = coordinator = self._make_coordinator(held, Beside(now, samples, held.host))
        self.snapshots = MemoryCaptures(coordinator, self._shots)
        """Takes captures with the guest's memory."""
        self.scenario_watches = ScenarioWatches(coordinator.watches, self.bridge)
        """Watches that the guest asks for."""
        self._unobservable = Unobservable(coordinator, held.host)
        self.stats = StatsPort(machine.stats, lambda: coordinator.frozen)
        self.early = EarlyCapture(coordinator, samples, emit)
        self.kernel_ops = KernelOps(coordinator, emit, held.audit, held.writable, coordinator.memory, clock)
        self.replacer = SchedulerReplacer(self._outbox, emit, held.frozen.total_ns, clock, swaps, nursery)
        """Attaches, detaches and replaces the scheduler of the running guest."""
        self._guest_ops = GuestKernelOps(self.kernel_ops, self.bridge, self._outbox.reply, clock)
        claims = KernelClaims(emit)
        servers = Servers(requests, self._guest_ops, held.scheduler_log, self.replacer)
        self._handler = ActionHandler(emit, nursery, self._outbox, now, servers, claims, ending.set)
        self.beats = self._make_beats(held)
        handlers = (self._outbox.owe, self.beats.handle, self._handler.handle)
        self.port = GuestPort(machine.bulk, self._outbox, handlers, clock)
        self._seeded = held.seeded
        restoring = Restoring(setup, stream, now, coordinator, self.kernel_ops, nursery)
        restored = restoring.of(machine.spec.restored, requests.settle)
        self.interventions = self._seeded.interventions
        apply = partial(apply_change, self.kernel_ops, self.replacer, nursery, emit)
        self._seeded.serve(machine, self._outbox, self.port, lambda: self._opening.view, setup.time, apply)
        capture = partial(setup.control.desk.capture, "alarm")
        self.alarms = AlarmCaptures(capture, emit, clock, enabled=config.capture_on_alarm)
        parts = (coordinator, held.host, self.kernel_ops, self.beats, self.early, self.alarms)
        watchers = Watchers(*parts, setup.alarm_limits, self._accessor, claims, restored)
        self._opening = self._make_opening(watchers)
        self.periodic = self._make_periodic()
        self.debugger = make_door(machine, coordinator, setup, stream, nursery)

    def _make_opening(self, watchers: Watchers) -> Opening:
        setup, config = self._setup, self._setup.config
        # Up to the instant to which a run is had again nobody looks at it.
        sampling = Sampling(config.sample_hz, later=config.watched_later)
        parts = (self._machine, self._stream.emit, watchers, self._outbox)
        return Opening(*parts, sampling=sampling, started_ns=setup.started_ns, time=setup.time)

    def _make_coordinator(self, held: Held, beside: Beside) -> Coordinator:
        return Coordinator(
            self._machine.engine,
            self._on_coordinator,
            self._make_copiers(),
            held.frozen,
            keeping=Keeping(self._store, self.bridge, self._setup.reboots.names),
            beside=beside,
        )

    def _make_copiers(self) -> Copiers:
        at_ejection = self._shots.at_ejection if self._setup.config.memory_on_ejection else None
        if not isinstance(self._setup.time, GuestTime):
            return Copiers(collect, warm_up, at_ejection=at_ejection)
        held = partial(collect, held=True)
        return Copiers(held, exit_info=self._wait_exit_info, at_ejection=at_ejection)

    async def _wait_exit_info(self) -> None:
        await sleep_or(self.port.ended, self._setup.time.sleep, EXIT_INFO_S)

    def _make_beats(self, held: Held) -> RunBeats:
        return RunBeats(
            self._setup.config.beats,
            self._stream.emit,
            self._nursery,
            self._setup.control.desk,
            held.intake,
            self._setup.place.socket_dir,
            self._machine.bulk.socket.fileno(),
        )

    def _make_requests(self, swaps: SwapWatch) -> GuestRequests:
        busy = partial(self._must_wait, swaps)
        return GuestRequests(self._outbox.reply, self.bridge, self._asks.watch, swaps, busy)

    def _on_coordinator(self, event: Event) -> None:
        self._stream.emit(event)
        self._shots.on_event(event)
        if isinstance(event, SchedulerChanged) and event.change == "attached" and event.cgroup is None:
            self._accessor.publish()

    def _make_periodic(self) -> PeriodicCaptures:
        config, scenario, opening = self._setup.config, self._setup.prepared.scenario, self._opening
        return PeriodicCaptures(
            config.captures,
            clock=self.clock,
            avail_ms=lambda: available_ms(scenario.duration_ms, config.duration_s, opening.up_ms()),
            ready=opening.typed,
            capture=self.coordinator.capture,
            stats=self.stats,
            emit=self._stream.emit,
        )

    @property
    def machine(self) -> Machine:
        """The machine."""
        return self._machine

    @property
    def engine(self) -> Engine:
        """Stops the guest; the coordinator's alone while it runs."""
        return self._machine.engine

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

    async def run(self) -> None:
        """Look after the machine until the run is to end; then end the guest."""
        control, machine = self._setup.control, self._machine
        threads = await machine.vcpu_threads()
        probes = host_probes(machine.pid, threads, self._setup.place.data_dir, time.monotonic_ns)
        control.attach(self, [*probes, Numbers("captures", lambda: capture_backlog(self.coordinator))])
        try:
            await self._look_after()
        finally:
            control.detach()

    async def _look_after(self) -> None:
        nursery, counting = self._nursery, self._make_counting()
        self._watch_for_the_end(nursery)
        await pass_saved_boot(self._machine, self._ending, self._stream.emit)
        if self._machine.spec.restored is not None:
            self.coordinator.begin_frozen(FROZEN)
            self._handler.system_ready.set()
        await nursery.start(self.coordinator.run)
        await nursery.start(self.beats.run)
        nursery.start_soon(self.port.run)
        nursery.start_soon(self._opening.run, self._handler.system_ready, nursery)
        if self._setup.config.captures:
            nursery.start_soon(self.periodic.run)
        nursery.start_soon(self.alarms.run)
        nursery.start_soon(counting.run)
        nursery.start_soon(self._look_closer)
        if self._setup.config.debugger_fd is not None:
            await nursery.start(serve_past, self._setup.config.debugger_fd, self.debugger, self._ending)
        self._seeded.begin()
        await self._ending.wait()
        self._opening.stop_watching()
        self.stats.close()
        await self._end_guest()
        await conclude(
            self._setup.place.data_dir,
            self.bridge,
            self.port.dispatcher,
            self._stream,
            periodic=self.periodic.statistics(),
            early=self.early.statistics(),
            boot=self._setup.reboots.boot,
        )
        self._seeded.finish()
        counting.count()

    async def _look_closer(self) -> None:
        await self.typed.wait()
        arm = partial(self._setup.control.desk.ask, "rerun")
        config, time = self._setup.config, self._setup.time
        restore = partial(restore_again, self._setup, self.coordinator)
        with_others = partial(look_closer, config, self.coordinator, arm, time, self._stream.emit)
        await with_others(self._opening.begin_sampling, restore)

    def _make_counting(self) -> Counting:
        return Counting(
            stream=self._stream,
            audience=self._setup.audience,
            machine=self._machine,
            handler=self._handler,
            port=self.port,
            coordinator=self.coordinator,
            store=self._store,
            early=self.early,
            alarms=self.alarms,
            periodic=self.periodic,
            opening=self._opening,
            beats=self.beats,
            kernel_ops=self.kernel_ops,
            guest_ops=self._guest_ops,
            bridge=self.bridge,
            snapshots=self._shots,
            bridge_news=self._bridge_news,
            seeded=self._seeded,
            debugger=self.debugger,
            stats=self.stats,
            sleep=self._setup.time.sleep,
        )

    def _watch_for_the_end(self, nursery: trio.Nursery) -> None:
        machine, config, ending = self._machine, self._setup.config, self._ending
        handler, up = self._handler, self._handler.system_ready
        nursery.start_soon(
            watch_exit, machine, ending, lambda: handler.exit_code is not None, self.port.ended
        )
        run_time = self._setup.time
        nursery.start_soon(show_console, machine.console, up, self._stream.emit, run_time.sleep)
        nursery.start_soon(watch_boot, up, machine, ending, config.boot_deadline_s, run_time.sleep)
        nursery.start_soon(watch_stuck, machine, ending, self._stream.emit, config.silence_s)
        if isinstance(run_time, GuestTime):
            nursery.start_soon(run_time.go_with_host, lambda: self.coordinator.frozen_reason is not None)
        nursery.start_soon(self._watch_silence_after, up)

    def _must_wait(self, swaps: SwapWatch) -> bool:
        # Whether an answer comes at once depends on the host's speed, of which a run with a seed must know nothing.
        busy = self.coordinator.busy or swaps.pending or self._accessor.state is WorkerState.TRYING
        return busy and self._setup.config.determinism is None

    async def _watch_silence_after(self, system_ready: trio.Event) -> None:
        await system_ready.wait()
        await watch_silence(
            lambda: self.port.last_frame_ns,
            self._unobservable.frozen_between_ns,
            self._setup.time.now_ns,
            self._machine,
            self._ending,
            self._setup.config.silence_s,
            self._setup.time.sleep,
        )

    async def _end_guest(self) -> None:
        if self._machine.exit is None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ending.give_up_when_hurried, nursery.cancel_scope)
                with trio.move_on_after(ORDERLY_END_S), suppress(GuestError):
                    await self.coordinator.thaw("the run ends")
                    self._outbox.reply(MsgType.Shutdown)
                    await self._machine.wait_exit()
                    await self.port.ended.wait()
                nursery.cancel_scope.cancel()
        await self.coordinator.wait_captures_finished()
        await self._shots.wait_idle()
        self._shots.close()
