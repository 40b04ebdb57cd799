"""From a guest that has just come up to one that is watched: the order of it is the hard thing.

guest is up ─▶ memory typed ─▶ slot 0 armed ─▶ scenario may begin ─▶ sampler

The guest waits for a word of the host (``AccessorReady``) before it begins its scenario, so that no scheduler comes or
goes unseen: everything that watches schedulers has to be in place before that word. But it does not wait for ever, and
then begins unwatched. So a slot that is not armed in time is reported, and the scenario begins without it.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import trio

from ktstr_tui.backend.guest_clock import Executed, FrozenByHand
from ktstr_tui.backend.lazily import readable
from ktstr_tui.capture.accessor import AccessorState
from ktstr_tui.capture.coordinator import Coordinator
from ktstr_tui.capture.report.dual import EarlyCapture
from ktstr_tui.guest.guest_time import GuestTime, RunTime
from ktstr_tui.guest.hold import HoldEngine
from ktstr_tui.guest.machine import Machine
from ktstr_tui.health.alarm_captures import AlarmCaptures
from ktstr_tui.health.beats import RunBeats
from ktstr_tui.health.monitor import Monitor
from ktstr_tui.health.sampler import Sampler
from ktstr_tui.health.standstill import Standstill, Unobservable
from ktstr_tui.health.task_rates import TaskRatesLoop
from ktstr_tui.health.vcpu_times import VcpuTimes, WithSharedTime
from ktstr_tui.history.live import LiveTrace
from ktstr_tui.kernel.btf import BtfError
from ktstr_tui.kernel.memory import GuestRam
from ktstr_tui.kernel.sampler import SampleReader
from ktstr_tui.kernel.scheduler_values import SchedulerValuesReader
from ktstr_tui.kernel.task_list import TaskListReader
from ktstr_tui.kernel.trace.reader import TraceReader
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.alarms import AlarmLimits
from ktstr_tui.model.errors import GuestError
from ktstr_tui.model.events import Event, GuestReady, KernelTyped, Logged, Sampled
from ktstr_tui.ops.kernel_ops import KernelOps
from ktstr_tui.port.claims import KernelClaims
from ktstr_tui.port.outbox import Outbox
from ktstr_tui.wire.messages import MsgType

ARM_S = 2.0
"""How long the scenario may be kept waiting for slot 0."""


class Followed(Protocol):
    """Reads something of the kernel again and again."""

    def look(self) -> Event | None:
        """Return what there is; None when there is nothing new."""
        raise NotImplementedError


_FOLLOWED: Final[Mapping[Callable[[KernelView], Followed], str]] = {
    TaskListReader: "tasks",
    SchedulerValuesReader: "variables and programs of the scheduler",
}


@dataclass(frozen=True, slots=True)
class RestoredGuest:
    """A guest that starts from a snapshot, frozen.

    Args:
        begin: Lets it run, once slot 0 is armed.
        view: Waits for its memory by type, where that is read while the machine starts; gives None for it to be read.
    """

    begin: Callable[[], Awaitable[None]]
    view: Callable[[], KernelView | None]


@dataclass(frozen=True, slots=True)
class Watchers:
    """Who waits for the guest's memory to be readable by type.

    Args:
        coordinator: Arms slot 0.
        host: Looks at the host from the moment at which the scenario may begin.
        kernel_ops: Reads and writes by type.
        beats: Looks for the cause of silences in the kernel.
        early: Looks at every sample.
        accessor: Is told when memory is readable by type, and when it never will be.
        claims: What the guest says of its kernel's place.
        restored: What is known of a guest that was restored; None for one that waits for `AccessorReady`.
    """

    coordinator: Coordinator
    host: Standstill
    kernel_ops: KernelOps
    beats: RunBeats
    early: EarlyCapture
    alarms: AlarmCaptures
    limits: AlarmLimits
    """When something is an early alarm."""
    accessor: AccessorState
    claims: KernelClaims
    restored: RestoredGuest | None = None


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a guest is looked at.

    Args:
        hz: Samples a second; 0 for none, and then tasks are not followed either.
        later: Whether samples begin with `Opening.begin_sampling`, and not with the scenario.
    """

    hz: float
    later: bool = False


class Opening:
    """Opens the kernel of one guest, and keeps what came of it. Single use.

    Args:
        machine: The machine.
        emit: Takes events.
        watchers: Who waits for the guest's memory.
        outbox: Takes the frame that lets the scenario begin.
        sampling: How often the guest is looked at, and from when on.
        started_ns: Host monotonic time at which the machine was started.
        time: The run's.
    """

    def __init__(
        self,
        machine: Machine,
        emit: Callable[[Event], object],
        watchers: Watchers,
        outbox: Outbox,
        *,
        sampling: Sampling,
        started_ns: int,
        time: RunTime,
    ) -> None:
        self._time = time
        self.ready_ns: int | None = None
        """The run's time at which the guest was up."""
        self.view: KernelView | None = None
        """The guest's memory by type, once it can be read."""
        self.sampler: Sampler | None = None
        self.following: TaskRatesLoop | None = None
        """Who follows the kernel's trace and its tasks, once that has begun."""
        self.typed = trio.Event()
        """Set when `view` is there, slot 0 is armed and the sampler, if asked for, is about to start."""
        self._machine = machine
        self._emit = emit
        self._watchers = watchers
        self._outbox = outbox
        self._sampling = sampling
        self._to_sample = trio.Event()
        self._started_ns = started_ns

    def up_ms(self) -> float | None:
        """For how long the guest has been up; None while it is not."""
        return None if self.ready_ns is None else (self._time.now_ns() - self.ready_ns) / 1e6

    async def run(self, system_ready: trio.Event, nursery: trio.Nursery) -> None:
        """Wait until the guest is up, open its kernel, let the scenario begin.

        Args:
            system_ready: Set when the guest is up.
            nursery: Where the sampler runs.
        """
        await system_ready.wait()
        self.ready_ns, up_ns = self._time.now_ns(), time.monotonic_ns()
        boot_ms = (up_ns - self._started_ns) / 1e6
        self._emit(GuestReady(boot_ms=boot_ms, from_saved_boot=self._machine.origin is not None))
        try:
            view = self.view = await self._type_memory(up_ns)
        except Exception as error:
            self._watchers.accessor.fail(str(error))
            raise
        self._watchers.claims.found(view.symbols.find("_text"), view.space)
        self._watchers.accessor.publish()
        self._watchers.coordinator.memory_typed(view)
        with trio.move_on_after(ARM_S) as late:
            await self._watchers.coordinator.armed.wait()
        if late.cancelled_caught:
            text = "slot 0 was not armed in time"
            self._emit(Logged(severity="warning", source="coordinator", text=text))
        if self._watchers.restored is not None:
            await self._watchers.restored.begin()
        vcpu_times = await self._vcpu_times()
        self._watchers.beats.explain_with(view, vcpu_times)
        if not isinstance(self._time, GuestTime):
            nursery.start_soon(self._watchers.host.run)
        self._outbox.reply(MsgType.AccessorReady)
        if self._sampling.hz > 0:
            self.sampler = self._make_sampler(view, vcpu_times)
            if self._watchers.restored is not None and self._watchers.coordinator.frozen:
                self.sampler.look()  # of a guest that stays frozen nothing else would be seen
            nursery.start_soon(self._sample_when_asked if self._sampling.later else self.sampler.run)
            self.following = self._follow_tasks(view)
            nursery.start_soon(self._follow, self.following)
        self.typed.set()
        await self._machine.wait_exit()
        self.stop_watching()

    def begin_sampling(self) -> None:
        """Take a sample, also of a guest that is frozen, and go on from there; where that was asked for, and once."""
        self._to_sample.set()

    async def _sample_when_asked(self) -> None:
        await self._to_sample.wait()
        if self.sampler is not None and self.sampler.hz:
            self.sampler.look()
            await self.sampler.run()

    async def _follow(self, following: TaskRatesLoop) -> None:
        if self._sampling.later:
            await self._to_sample.wait()
        await following.run()

    def _follow_tasks(self, view: KernelView) -> TaskRatesLoop:
        trace, reader = None, view.trace
        if isinstance(reader, TraceReader):
            trace = LiveTrace(reader, view.fresh_space(), view.nr_cpus, view.trace_now_ns, self._time.now_ns)
        readers = [self._reader(kind, view) for kind in _FOLLOWED]
        return TaskRatesLoop(
            None if trace is None else trace.look,
            self._emit,
            lambda: self._watchers.coordinator.frozen,
            [it.look for it in readers if it is not None],
            None if trace is None else lambda: trace.block,
            self._time.sleep,
        )

    def _reader(self, kind: Callable[[KernelView], Followed], view: KernelView) -> Followed | None:
        try:
            return kind(view)
        except BtfError as problem:
            text = f"{_FOLLOWED[kind]} are not followed: {problem.message}"
            self._emit(Logged(severity="warning", source="sampler", text=text))
            return None

    async def _vcpu_times(self) -> VcpuTimes | Executed:
        engine, determinism = self._machine.engine, self._machine.spec.determinism
        if isinstance(self._time, GuestTime) and isinstance(engine, HoldEngine) and determinism is not None:
            return Executed(engine, determinism.instruction_ns)
        threads = await self._machine.vcpu_threads()
        return VcpuTimes(self._machine.pid, [threads[cpu] for cpu in sorted(threads)])

    def stop_watching(self) -> None:
        """Take no more samples: from here on the guest is ended, or its memory is all that is left of it."""
        if self.sampler is not None:
            self.sampler.set_hz(0)
        if self.following is not None:
            self.following.stop()
        self._watchers.host.finish()

    async def _type_memory(self, ready_ns: int) -> KernelView:
        restored = self._watchers.restored
        try:
            view = None if restored is None else await trio.to_thread.run_sync(restored.view)
            if view is None:
                ram = GuestRam.from_fds(self._machine.ram_parts())
                view = await trio.to_thread.run_sync(
                    KernelView.open, *readable(ram, self._machine.spec.restored)
                )
        except (LookupError, TypeError, ValueError, ArithmeticError, struct.error) as error:
            # Memory belongs to the guest, which may have overwritten its own types.
            raise GuestError(
                f"the kernel's types in the guest's memory are damaged: {type(error).__name__}: {error}",
                "boot it again; if it fails every time, the kernel's BTF is not usable",
            ) from error
        self._emit(
            KernelTyped(
                release=view.release,
                hz=view.hz,
                cpus=view.nr_cpus,
                btf_types=len(view.btf),
                typed_ms=(time.monotonic_ns() - ready_ns) / 1e6,
            )
        )
        return view

    def _make_sampler(self, view: KernelView, vcpu_times: VcpuTimes | Executed) -> Sampler:
        return Sampler(
            WithSharedTime(SampleReader(view), vcpu_times.shared_ns),
            self._on_sampler,
            vcpu_times=vcpu_times,
            freezer=(
                FrozenByHand(self._watchers.coordinator)
                if isinstance(self._time, GuestTime)
                else Unobservable(self._watchers.coordinator, self._watchers.host)
            ),
            monitor=Monitor(view.hz, alarms=self._watchers.limits),
            hz=self._sampling.hz,
            time=self._time,
        )

    def _on_sampler(self, event: Event) -> None:
        self._emit(event)
        if isinstance(event, Sampled):
            self._watchers.early.observe(event.sample)
        else:
            self._watchers.alarms.observe(event)
