"""The freeze coordinator: what others may ask of the one owner of the engine.

Every method that stops the guest makes a request of it, puts it in the owner's queue, and waits for the answer; so
nothing here touches the engine, and whoever asks may be cancelled at any time. A freeze whose requester went away is
undone, a capture is finished all the same.

Each part is a file of its own, and what each needs is made before it (the picture is in `guest_stop`):

* `owner`: the task that serves hits and requests, one after the other,
* `guest_stop`: the stop and the resume around a piece of work, and the events that wait for the resume,
* `taker`: one capture of the stopped guest,
* `inspector`: what every stop is used for, whatever it was for: watches, and the end of schedulers,
* `poller`: the stops that are asked for because memory shows a change,
* `finisher`: what becomes of a capture after the guest runs again,
* `degraded`: what is left of one when the guest did not stop in time or went away,
* `pairs`: the early and the late capture of a scheduler's end in one file.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import trio

from ktstr_tui.capture.bridge import SnapshotBridge
from ktstr_tui.capture.coordinator_statistics import CoordinatorStatistics
from ktstr_tui.capture.debug_access import DebugAccess
from ktstr_tui.capture.ejection import Ejection, FreezeState
from ktstr_tui.capture.finisher import Finisher
from ktstr_tui.capture.job import Answer, Job, Label, SavedCapture
from ktstr_tui.capture.memory import TypedMemory
from ktstr_tui.capture.stamp import NOTHING_BESIDE, Beside, Stamp
from ktstr_tui.capture.stop.follow import SchedulerWatch
from ktstr_tui.capture.stop.follow_subs import SubWatch
from ktstr_tui.capture.stop.guest_stop import GuestStop
from ktstr_tui.capture.stop.inspector import Followed, StopInspector
from ktstr_tui.capture.stop.outbox import StopEvents
from ktstr_tui.capture.stop.owner import Owner
from ktstr_tui.capture.stop.poller import Poller
from ktstr_tui.capture.stop.rendezvous import (
    DEFAULT_TIMEOUT_S,
    FrozenLog,
    Rendezvous,
    RendezvousTimeoutError,
    Stopwatch,
)
from ktstr_tui.capture.stop.requests import Request, RequestQueue
from ktstr_tui.capture.stop.seams import Also, Collect, Store
from ktstr_tui.capture.stop.sub_inspector import SubInspector
from ktstr_tui.capture.taker import CaptureTaker
from ktstr_tui.capture.used_tags import UsedTags
from ktstr_tui.capture.watch.lent_slots import LentSlots
from ktstr_tui.capture.watch.watch_spec import CopyWriter
from ktstr_tui.capture.watch.watch_stops import WatchStops
from ktstr_tui.capture.watch.watch_table import WatchTable
from ktstr_tui.capture.watch.watches import UserWatches
from ktstr_tui.capture.watch.writer import copy_writer as copy_live_writer
from ktstr_tui.guest.engine import Engine
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.errors import GuestError, InternalError
from ktstr_tui.model.events import Event
from ktstr_tui.model.kinds import Trigger
from ktstr_tui.model.report import CaptureReport, Pause

__all__ = ["Coordinator", "CoordinatorStatistics", "Copiers", "FreezeState", "Keeping"]


@dataclass(frozen=True, slots=True)
class Copiers:
    """What copies from the stopped guest."""

    collect: Collect
    """Copies the state of the stopped guest."""
    warm_up: Callable[[KernelView], object] = lambda view: None
    """Called before a running guest is stopped for that."""
    writer: CopyWriter = copy_live_writer
    """Copies who hit a watchpoint of the user's."""
    exit_info: Callable[[], Awaitable[None]] | None = None
    """Waits until the kernel will have written why it ejected a scheduler; None when rendering waits for it."""
    at_ejection: Also | None = None
    """Told the tag of the capture of each ejection while the guest is still stopped."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where captures go."""

    store: Store | None = None
    """Saves reports; None saves nothing."""
    bridge: SnapshotBridge | None = None
    """Keeps reports by tag; None keeps nothing."""
    names: UsedTags = field(default_factory=UsedTags)
    """Gives captures their names and numbers, over all boots of a run."""


class Coordinator:
    """Freezes, captures and thaws the guest, and follows schedulers by watchpoint.

    Args:
        engine: Stops the guest; nobody else may use it.
        emit: Takes events, on the trio thread.
        copiers: What copies from the stopped guest.
        frozen: Keeps when the guest was stopped; its clock is the coordinator's.
        keeping: Where captures go.
        beside: What belongs to captures besides the guest's memory.
    """

    def __init__(
        self,
        engine: Engine,
        emit: Callable[[Event], object],
        copiers: Copiers,
        frozen: FrozenLog,
        *,
        keeping: Keeping | None = None,
        beside: Beside = NOTHING_BESIDE,
    ) -> None:
        self._clock = clock = frozen.now_ns
        self._copiers = copiers
        self.memory = memory = TypedMemory()
        """The guest's memory, once it is readable by type."""
        ejection, requests = self._ejection, self._requests = Ejection(), RequestQueue()
        outbox, table = StopEvents(), WatchTable(engine.watch_limits)
        self._rendezvous = rendezvous = Rendezvous(engine, frozen, DEFAULT_TIMEOUT_S)
        keeping = Keeping() if keeping is None else keeping
        self._finisher = finisher = Finisher(
            emit, store=keeping.store, bridge=keeping.bridge, host=beside.host, exit_info=copiers.exit_info
        )
        self._names = keeping.names
        self._taker = taker = CaptureTaker(
            rendezvous, copiers.collect, memory, beside.now, ejection, keeping.names, copiers.at_ejection
        )
        self._scheduler = SchedulerWatch(rendezvous, outbox.add, clock)
        lent = LentSlots(rendezvous, table, outbox.add)
        stops = WatchStops(rendezvous, table, copiers.writer, memory, lent)
        sub_watch = SubWatch(lent, outbox.add, clock)
        self._subs = subs = SubInspector(taker, finisher, sub_watch, ejection, beside.early, outbox)
        self._inspector = inspector = StopInspector(
            taker, finisher, stops, Followed(self._scheduler, subs), ejection, beside, outbox
        )
        self._guest_stop = guest_stop = GuestStop(rendezvous, inspector, finisher, outbox, emit)
        self._poller = Poller(guest_stop, requests, inspector, clock)
        self._owner = Owner(rendezvous, requests, guest_stop, inspector, finisher, emit)
        self.armed = self._scheduler.armed
        """Set when slot 0 is armed for the first time, or the host refused it for good."""
        self.watches = UserWatches(table, stops, memory, requests, guest_stop)
        """The user's watchpoints."""
        self.debug = DebugAccess(rendezvous, requests, guest_stop, table, lent)
        """The guest as a debugger has it."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the engine until cancelled or until the guest is gone. A guest that is stopped then is resumed."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._poller.run, self._scheduler, self.poll)
            await self._owner.run(task_status=task_status)
            nursery.cancel_scope.cancel()

    # -- what is known without asking ------------------------------------------------------------------

    @property
    def freeze_state(self) -> FreezeState:
        """How far the capturing of the loaded scheduler's end has come."""
        return self._ejection.state

    @property
    def frozen(self) -> bool:
        """Whether the guest is stopped, frozen by a user or for the moment of a capture."""
        return self._rendezvous.stopped

    @property
    def busy(self) -> bool:
        """Whether a capture asked for now has to wait for something else first."""
        return self._owner.serving or len(self._requests) > 0 or not self._finisher.idle

    @property
    def frozen_reason(self) -> str | None:
        """Why a user froze the guest; None when none did."""
        return self._guest_stop.held

    def frozen_total_ns(self) -> int:
        """How long the guest was stopped so far."""
        return self._rendezvous.log.total_ns()

    def frozen_between_ns(self, start_ns: int, end_ns: int) -> int:
        """How long the guest was stopped within a stretch of host monotonic time."""
        return self._rendezvous.log.between_ns(start_ns, end_ns)

    def memory_typed(self, view: KernelView) -> None:
        """Look for a scheduler and arm slot 0, now that memory is readable by type."""
        self.memory.publish(view)
        self.watches.memory_typed(view)
        self._poller.submit()

    # -- requests --------------------------------------------------------------------------------------

    async def capture(
        self,
        trigger: Trigger,
        detail: str = "",
        tag: str | None = None,
        stamp: Stamp | None = None,
        *,
        keep: bool = True,
    ) -> CaptureReport:
        """Capture the guest as `capture_and_save` does, and return the report alone."""
        return (await self.capture_and_save(trigger, detail, tag, stamp, keep=keep)).report

    async def capture_and_save(
        self,
        trigger: Trigger,
        detail: str = "",
        tag: str | None = None,
        stamp: Stamp | None = None,
        *,
        keep: bool = True,
        also: Also | None = None,
    ) -> SavedCapture:
        """Capture the guest, stopped or running, and leave it as it was; returns when the report is saved.

        Args:
            trigger: Why.
            detail: Who asked and why.
            tag: The report's name; made from the trigger when None.
            stamp: What else belongs to the report; step and time are filled in at the stop.
            keep: Whether the report goes onto the bridge; a placeholder does in any case.
            also: What else to do while the guest is stopped, told the report's tag; must not raise.

        Raises:
            CaptureFailedError: No capture could be made; a placeholder says why. `CaptureTimedOutError` when
                the guest did not stop.
            GuestError: The guest is gone.
        """
        answer = Answer(trio.Event())

        async def work(request: Request) -> None:
            label = replace(self._taker.label(trigger, detail, tag), keep=keep)
            await self._do_capture(answer, label, stamp or Stamp(), also)

        await self._requests.call(work)
        await answer.done.wait()
        if answer.error is not None:
            raise answer.error
        if answer.capture is None:
            raise InternalError("a capture ended without a report")
        return answer.capture

    async def freeze(self, reason: str, viewer: str = "") -> bool:
        """Stop the guest until `thaw`. False when it was frozen already.

        When the caller is cancelled the guest does not stay frozen.

        Args:
            reason: Who froze it, and for what.
            viewer: Topic of the viewer without whom it is to be thawed, for the event.

        Raises:
            RendezvousTimeoutError: The guest did not stop in time.
        """

        async def work(request: Request) -> None:
            await self._guest_stop.hold(request, reason, viewer)

        async def undo(request: Request) -> None:
            await self._guest_stop.release(request, "the freeze was cancelled")

        return await self._requests.call(work, undo)

    def begin_frozen(self, reason: str) -> None:
        """Take a machine that was started stopped as frozen until `thaw`; before `run`."""
        self._guest_stop.begin_held(reason)

    async def bare_pause(self) -> Pause:
        """Stop the guest and let it go at once: the floor under the pause of every capture.

        Raises:
            UsageError: A user froze the guest.
            RendezvousTimeoutError: It did not stop in time.
        """
        pauses: list[Pause] = []

        async def work(request: Request) -> None:
            pause, stop = await self._guest_stop.blink()
            pauses.append(pause)
            if stop.watch_address is not None:
                self._poller.submit()

        await self._requests.call(work)
        return pauses[0]

    async def while_stopped(self, work: Callable[[], None]) -> Pause:
        """Run something in the coordinator's own task while the guest is stopped, and leave it as it was.

        Args:
            work: Must be quick and must not raise. It may run although the caller was cancelled meanwhile.

        Raises:
            RendezvousTimeoutError: The guest did not stop in time; nothing was run.
            GuestError: The guest is gone.
        """
        timer = Stopwatch()

        async def serve(request: Request) -> None:
            async with self._guest_stop.block(timer):
                with timer.part("memory"):
                    work()

        await self._requests.call(serve)
        return timer.pause()

    async def thaw(self, reason: str) -> bool:
        """Let a frozen guest run on. False when it was not frozen."""

        async def work(request: Request) -> None:
            await self._guest_stop.release(request, reason)

        return await self._requests.call(work)

    def poll(self) -> None:
        """Compare the watches with memory of the running guest; a change that no hit reported is handled soon.

        Cheap (a few reads); the sampler calls it at every tick. It catches what a paused watch misses, too late
        to see the guest at the write.
        """
        if not self.frozen:
            self._poller.poll()

    async def wait_captures_finished(self) -> None:
        """Wait until every capture taken so far is rendered and saved."""
        await self._finisher.wait_idle()

    def drops(self) -> dict[str, int]:
        """Return what was lost so far, by reason."""
        counts = self.statistics()
        return {
            "requests-refused": counts.refused,
            "requests-abandoned": counts.abandoned,
            "stops-timed-out": counts.timeouts,
            "stops-unexpected": counts.unexpected_stops,
            "slot-0-pauses": counts.watch_pauses,
            "slot-0-unreadable": counts.read_failures,
            "watches-restored": self._rendezvous.watches_restored,
            **self._finisher.drops(),
            **{f"sub-{reason}": count for reason, count in self._subs.drops().items()},
            **{f"watches-{reason}": count for reason, count in self.watches.drops().items()},
        }

    def statistics(self) -> CoordinatorStatistics:
        """Counters so far."""
        watch = self._scheduler
        return CoordinatorStatistics(
            stops=self._guest_stop.stops,
            hits=watch.hits,
            repeat_hits=watch.repeat_hits,
            none_hits=watch.none_hits,
            late_finds=watch.late_finds,
            unexpected_stops=self._owner.unexpected,
            watch_pauses=watch.pauses,
            captures=self._names.captures,
            timeouts=self._rendezvous.timeouts,
            refused=self._requests.refused,
            abandoned=self._owner.abandoned,
            read_failures=watch.read_failures,
            frozen_total_ns=self.frozen_total_ns(),
            finisher=self._finisher.statistics(),
        )

    async def _do_capture(self, answer: Answer, label: Label, stamp: Stamp, also: Also | None) -> None:
        taker, view = self._taker, self.memory.view
        if view is not None and not self._rendezvous.stopped:
            self._copiers.warm_up(view)
        timer = Stopwatch()
        label = replace(label, stamp=taker.stamped(stamp))
        asked_ns = self._clock()
        job: Job | None = None
        try:
            nr_cpus = 0 if view is None else view.nr_cpus
            async with self._guest_stop.block(timer, registers_of=nr_cpus) as jobs:
                label = replace(
                    label, mono_ns=self._clock(), stamp=taker.stamped(stamp), life=self._ejection.life
                )
                job = await taker.take(label, timer, also)
                job.answer = answer
                jobs.append(job)
        except GuestError as error:
            if job is not None:
                # It is on its way; what failed came after it.
                self._took(job)
                raise
            failed = taker.failed(label, error, asked_ns)
            failed.answer = answer
            self._finisher.submit(failed)
            if not isinstance(error, RendezvousTimeoutError):
                raise
            return
        self._took(job)

    def _took(self, job: Job) -> None:
        if job.label.trigger == "early" and not job.failure:
            self._inspector.took_early(job.label)
