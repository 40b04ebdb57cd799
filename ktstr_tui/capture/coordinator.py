"""The freeze coordinator: what others may ask of the one owner of the engine.

Every method that stops the guest makes a request of it, puts it in the owner's queue, and waits for the answer; so
nothing here touches the stub, and whoever asks may be cancelled at any time. A freeze whose requester went away is
undone, a capture is finished all the same.

Each part is a file of its own:

* `owner`: the task that serves hits and requests, one after the other,
* `standing`: the stop and the go around a piece of work, and the events that wait for the go,
* `taking`: one capture of the standing guest,
* `looks`: what every stop is used for, whatever it was for: watches, and the end of schedulers,
* `finisher`: what becomes of a capture after the guest runs again,
* `degraded`: what is left of one when the guest did not stop in time or went away,
* `pairs`: the early and the late capture of a scheduler's end in one file.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import trio

from ktstr_tui.capture.bridge import SnapshotBridge
from ktstr_tui.capture.finisher import Finisher, FinisherStatistics
from ktstr_tui.capture.job import Answer, Job, Label
from ktstr_tui.capture.stamp import NO_SCENARIO, EarlyRecord, Moment, Stamp
from ktstr_tui.capture.stop.follow import SchedulerWatch
from ktstr_tui.capture.stop.guest_stop import GuestStop
from ktstr_tui.capture.stop.inspector import FreezeState, StopInspector
from ktstr_tui.capture.stop.owner import Owner
from ktstr_tui.capture.stop.rendezvous import (
    DEFAULT_TIMEOUT_S,
    FrozenInterval,
    FrozenLog,
    Rendezvous,
    RendezvousTimeoutError,
    Stopwatch,
)
from ktstr_tui.capture.stop.requests import Request, RequestQueue
from ktstr_tui.capture.stop.seams import Collect, SchedulerMemory, Store
from ktstr_tui.capture.taker import CaptureTaker
from ktstr_tui.capture.watch.watch_spec import CopyWriter
from ktstr_tui.capture.watch.watches import UserWatches, WatchPort
from ktstr_tui.capture.watch.writer import copy_writer as copy_live_writer
from ktstr_tui.guest.engine import Engine
from ktstr_tui.model.errors import GuestError, InternalError
from ktstr_tui.model.events import Event
from ktstr_tui.model.kinds import Trigger
from ktstr_tui.model.report import CaptureReport, Pause

__all__ = ["Coordinator", "CoordinatorStatistics", "FreezeState"]


POLL_S = 0.01
"""How often memory is looked at in place of slot 0 while it is not armed; one look takes some microseconds."""


class CoordinatorStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of the coordinator since its start."""

    stops: int
    """Times the guest stood, for whatever reason."""
    hits: int
    """Watchpoint stops."""
    repeat_hits: int
    """Writes to ``exit_kind`` after the one that was captured."""
    none_hits: int
    """Writes that changed nothing, such as a failing cmpxchg."""
    late_finds: int
    """Changes that were found by polling and not by a hit."""
    unexpected_stops: int
    """Stops that no caller was waiting for any more."""
    watch_pauses: int
    captures: int
    timeouts: int
    refused: int
    """Requests turned away because too many were waiting."""
    abandoned: int
    """Requests whose requester was gone before their turn."""
    read_failures: int
    """Looks at slot 0 that could not read memory."""
    frozen_total_ns: int
    finisher: FinisherStatistics


class Coordinator:
    """Freezes, captures and thaws the guest, and follows schedulers by watchpoint.

    Args:
        engine: Stops the guest; nobody else may use it.
        emit: Takes events, on the trio thread.
        clock: Host monotonic clock, in nanoseconds.
        collect: Copies the state of the standing guest.
        warm_up: Called before a running guest is stopped for that.
        store: Saves reports; None saves nothing.
        bridge: Keeps reports by tag; None keeps nothing.
        now: Where the scenario is, for stamping captures.
        frozen: Keeps when the guest stood; one of its own when None.
        early: Tells what there is of an early capture, given its tag, when its scheduler is ejected.
        timeout_s: Deadline of every wait for the stub; keep it well under the scheduler watchdog.
        copy_writer: Copies who hit a watchpoint of the user's.
    """

    def __init__(
        self,
        engine: Engine,
        emit: Callable[[Event], object],
        clock: Callable[[], int] = time.monotonic_ns,
        *,
        collect: Collect,
        warm_up: Callable[[Any], object] = lambda view: None,
        store: Store | None = None,
        bridge: SnapshotBridge | None = None,
        now: Moment = NO_SCENARIO,
        frozen: FrozenLog | None = None,
        early: Callable[[str | None], EarlyRecord | None] = lambda tag: None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        copy_writer: CopyWriter = copy_live_writer,
    ) -> None:
        self._clock = clock
        self._warm_up = warm_up
        self._rendezvous = Rendezvous(engine, frozen or FrozenLog(clock), timeout_s)
        self._finisher = finisher = Finisher(emit, store=store, bridge=bridge)
        self._requests = requests = RequestQueue()
        self._standing = standing = GuestStop(self._rendezvous, finisher, emit)
        self._taker = CaptureTaker(self._rendezvous, clock, collect, now)
        self._watch = SchedulerWatch(self._rendezvous, standing.tell_later, clock)
        hooks = WatchPort(standing.say, standing.run, copy_writer, clock)
        self.watches = UserWatches(self._rendezvous, requests, hooks)
        """The user's watchpoints."""
        self._looks = StopInspector(
            standing, requests, self._taker, finisher, self.watches, self._watch, early, clock
        )
        standing.attach(self._looks.look, self.watches.drain)
        self._owner = Owner(engine, self._rendezvous, requests, standing, finisher, emit, self._looks.end)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the stub until cancelled or until the guest is gone. A guest that stands then is let go."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._poll_in_place_of_slot_0)
            await self._owner.run(task_status=task_status)
            nursery.cancel_scope.cancel()

    # -- what is known without asking ------------------------------------------------------------------

    @property
    def freeze_state(self) -> FreezeState:
        """How far the capturing of the loaded scheduler's end has come."""
        return self._looks.freeze_state

    @property
    def armed(self) -> trio.Event:
        """Set when slot 0 is armed for the first time, or the host refused it for good."""
        return self._watch.armed

    @property
    def frozen(self) -> bool:
        """Whether the guest stands, on a user's word or for the moment of a capture."""
        return self._rendezvous.standing

    @property
    def busy(self) -> bool:
        """Whether a capture asked for now has to wait for something else first."""
        return self._owner.serving or len(self._requests) > 0 or not self._finisher.idle

    @property
    def frozen_reason(self) -> str | None:
        """Why a user froze the guest; None when none did."""
        return self._standing.held

    @property
    def frozen_intervals(self) -> tuple[FrozenInterval, ...]:
        """When the guest stood, the newest stretches, oldest first."""
        return self._rendezvous.log.intervals

    def frozen_total_ns(self) -> int:
        """How long the guest has stood so far."""
        return self._rendezvous.log.total_ns()

    def frozen_between_ns(self, start_ns: int, end_ns: int) -> int:
        """How long the guest stood within a stretch of host monotonic time."""
        return self._rendezvous.log.between_ns(start_ns, end_ns)

    def attach_view(self, view: SchedulerMemory) -> None:
        """Memory is readable by type from now on: look for a scheduler and arm slot 0."""
        self._taker.view = view
        self.watches.attach(view)
        self._looks.submit()

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
        """Capture the guest, standing or running; it goes on as it was. Returns when the report is saved.

        Args:
            trigger: Why.
            detail: Who asked and why.
            tag: The report's name; made from the trigger when None.
            stamp: What else belongs to the report; step and time are filled in at the stop.
            keep: Whether the report goes onto the bridge; not for a bridge that asks, which stores it itself.
                A placeholder goes there in any case.

        Raises:
            CaptureFailedError: No capture could be made; a placeholder says why. `CaptureTimedOutError` when
                the guest did not stop.
            GuestError: The guest is gone.
        """
        answer = Answer(trio.Event())

        async def work(request: Request) -> None:
            label = replace(self._taker.label(trigger, detail, tag), keep=keep)
            await self._do_capture(answer, label, stamp or Stamp())

        await self._requests.call(work)
        await answer.done.wait()
        if answer.error is not None:
            raise answer.error
        if answer.report is None:
            raise InternalError("a capture ended without a report")
        return answer.report

    async def freeze(self, reason: str) -> bool:
        """Stop the guest until `thaw`. False when it was frozen already.

        When the caller is cancelled the guest does not stay frozen.

        Raises:
            RendezvousTimeoutError: The guest did not stop in time.
        """

        async def work(request: Request) -> None:
            await self._standing.hold(request, reason)

        async def undo(request: Request) -> None:
            await self._standing.release(request, "the freeze was cancelled")

        return await self._requests.call(work, undo)

    async def bare_pause(self) -> Pause:
        """Stop the guest and let it go at once: the floor under the pause of every capture.

        Raises:
            UsageError: The guest stands on a user's word.
            RendezvousTimeoutError: It did not stop in time.
        """
        pauses: list[Pause] = []

        async def work(request: Request) -> None:
            pause, stop = await self._standing.blink()
            pauses.append(pause)
            if stop.watch_address is not None:
                self._looks.submit()

        await self._requests.call(work)
        return pauses[0]

    async def while_standing(self, work: Callable[[], None]) -> Pause:
        """Run something in the coordinator's own task while the guest stands; it goes on as it was.

        Args:
            work: Must be quick and must not raise. It may run although the caller was cancelled meanwhile.

        Raises:
            RendezvousTimeoutError: The guest did not stop in time; nothing was run.
            GuestError: The guest is gone.
        """
        watch = Stopwatch()

        async def serve(request: Request) -> None:
            async with self._standing.block(watch):
                with watch.part("memory"):
                    work()

        await self._requests.call(serve)
        return watch.pause()

    async def thaw(self, reason: str) -> bool:
        """Let a frozen guest run on. False when it was not frozen."""

        async def work(request: Request) -> None:
            await self._standing.release(request, reason)

        return await self._requests.call(work)

    def poll(self) -> None:
        """Compare the watches with memory of the running guest; a change that no hit told is handled soon.

        Cheap (a few reads); the sampler calls it at every tick. It catches what a paused watch misses, too late
        to see the guest at the write.
        """
        if not self.frozen:
            self._looks.poll()

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
            **self._finisher.drops(),
            **{f"watches-{reason}": count for reason, count in self.watches.drops().items()},
        }

    def statistics(self) -> CoordinatorStatistics:
        """Counters so far."""
        watch = self._watch
        return CoordinatorStatistics(
            stops=self._standing.stops,
            hits=watch.hits,
            repeat_hits=watch.repeat_hits,
            none_hits=watch.none_hits,
            late_finds=watch.late_finds,
            unexpected_stops=self._owner.unexpected,
            watch_pauses=watch.pauses,
            captures=self._taker.captures,
            timeouts=self._rendezvous.timeouts,
            refused=self._requests.refused,
            abandoned=self._owner.abandoned,
            read_failures=watch.read_failures,
            frozen_total_ns=self.frozen_total_ns(),
            finisher=self._finisher.statistics(),
        )

    async def _poll_in_place_of_slot_0(self) -> None:
        # From the write of exit_kind to the end of a scheduler it may be less than a sample.
        while True:
            await self._watch.unarmed.wait()
            self.poll()
            await trio.sleep(POLL_S)

    async def _do_capture(self, answer: Answer, label: Label, stamp: Stamp) -> None:
        taker = self._taker
        if taker.view is not None and not self._rendezvous.standing:
            self._warm_up(taker.view)
        watch = Stopwatch()
        label = replace(label, stamp=taker.stamped(stamp))
        asked_ns = self._clock()
        job: Job | None = None
        try:
            nr_cpus = 0 if taker.view is None else taker.view.nr_cpus
            async with self._standing.block(watch, registers_of=nr_cpus) as jobs:
                label = replace(label, mono_ns=self._clock(), stamp=taker.stamped(stamp), life=taker.life)
                job = await taker.take(label, watch)
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
            self._looks.took_early(job.label)
