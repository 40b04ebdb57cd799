"""What is done at every stop: let the user's watches look, follow the scheduler, capture the one thrown out.

``freeze_state`` belongs to the error capture alone: idle until a scheduler is thrown out (or an early capture was
taken), done afterwards; a new scheduler starts it over. Captures on demand neither move it nor ask for it.

A hit may belong to slot 0, to a watch of the user's, or to both, when they share an address; and a change of the
scheduler may be found at a stop that was for something else. So slot 0 is compared with memory at each stop,
whatever it was for (see `slots`), but a hit counts as its own only if it made that stop or no user's watch claims it.

A change that no stop tells is found by `StopInspector.poll` in the running guest, which then asks for a stop.
When that stop does not come, or the guest is gone, what is left of an ejection that memory tells of is a
degraded report. The whole capture is still taken if the guest stops after all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import Enum

from ktstr_tui.capture.finisher import EJECTED_ALERT, Finisher
from ktstr_tui.capture.job import Job, Label
from ktstr_tui.capture.report.pairs import Departure
from ktstr_tui.capture.stamp import EarlyRecord, Stamp
from ktstr_tui.capture.stop.follow import SchedulerWatch
from ktstr_tui.capture.stop.guest_stop import GuestStop
from ktstr_tui.capture.stop.rendezvous import Stopwatch
from ktstr_tui.capture.stop.requests import Request, RequestQueue
from ktstr_tui.capture.taker import CaptureTaker
from ktstr_tui.capture.watch.slots import Change
from ktstr_tui.capture.watch.watches import UserWatches
from ktstr_tui.guest.engine import Stop
from ktstr_tui.model.errors import GuestError
from ktstr_tui.model.events import AlertCleared
from ktstr_tui.model.report import exit_kind_name


class FreezeState(Enum):
    """How far the capturing of the loaded scheduler's end has come."""

    IDLE = "idle"
    TOOK_EARLY = "took-early"
    DONE = "done"


_ASKED = Stop("other")
"""The stop of a guest that was stopped already."""


class StopInspector:
    """Looks at the guest at every stop, and asks for a stop when one is due.

    Args:
        standing: Makes the guest stand.
        requests: The coordinator's queue.
        taker: Takes captures, and knows the guest's memory.
        finisher: Says when it has too much to do.
        watches: The user's watchpoints.
        scheduler: Slot 0.
        early: Tells what there is of an early capture, given its tag, when its scheduler goes.
        clock: Host monotonic clock, in nanoseconds.
    """

    def __init__(
        self,
        standing: GuestStop,
        requests: RequestQueue,
        taker: CaptureTaker,
        finisher: Finisher,
        watches: UserWatches,
        scheduler: SchedulerWatch,
        early: Callable[[str | None], EarlyRecord | None],
        clock: Callable[[], int],
    ) -> None:
        self.freeze_state = FreezeState.IDLE
        self._standing = standing
        self._requests = requests
        self._taker = taker
        self._finisher = finisher
        self._watches = watches
        self._scheduler = scheduler
        self._early = early
        self._clock = clock
        self._early_tag: str | None = None
        self._left = ""
        self._missed_one = False
        self._ejection_shown = False
        self._pending = False
        self._suspected = False

    def submit(self) -> None:
        """Ask for a stop and a look."""
        self._pending = True
        self._requests.submit(self._do_look)

    def poll(self) -> None:
        """Ask for a look when memory of the running guest tells something new."""
        view = self._taker.view
        if view is None or self._pending or self._requests.closed:
            return
        differs = self._scheduler.differs(view)
        # While slot 0 is armed the hit is on its way, and a stop asked for now would only race with it.
        self._suspected = differs and not self._suspected and self._scheduler.is_armed
        if (differs and not self._suspected) or self._watches.poll():
            self.submit()

    def took_early(self, label: Label) -> None:
        """An early capture was taken; it goes with the end of the scheduler that was loaded at its stop."""
        if label.life != self._taker.life:
            why = "another scheduler was attached during the early capture"
            self._finisher.departed(Departure(label.tag, why, self._early(label.tag)))
        elif self.freeze_state is FreezeState.IDLE:
            self.freeze_state = FreezeState.TOOK_EARLY
            self._early_tag = label.tag

    async def look(self, stop: Stop, watch: Stopwatch) -> list[Job]:
        """Find out what happened, and set the watches accordingly. Wants a standing guest.

        Returns:
            Captures taken on the way.
        """
        view = self._taker.view
        if view is None:
            return []
        jobs: list[Job] = []

        async def capture_hit(detail: str, tag: str | None) -> str | None:
            if self._finisher.crowded:
                return None
            label = replace(
                self._taker.label("watch", detail, tag), watchpoint_hit=stop.watch_address is not None
            )
            jobs.append(await self._taker.take(label, watch))
            return jobs[-1].label.tag

        await self._watches.look(stop, capture_hit)
        if self._watches.claims(stop) and not self._scheduler.made(stop):
            stop = Stop("other", stop.vcpu)
        for change in self._scheduler.look(view, stop):
            job = None
            if change.kind == "attached":
                self._begin_scheduler()
            elif change.kind == "detached":
                self._depart(self._left or "the scheduler went away, and no stop caught the reason")
            elif change.kind == "ejected" and self.freeze_state is not FreezeState.DONE:
                job = await self._take_ejection(change, stop, watch)
                jobs.append(job)
            elif change.kind == "exiting":
                self._left = f"the scheduler was not ejected: it left with {_kind(change.exit_kind)}"
            self._scheduler.tell(change, stop, job.label.tag if job else None)
        await self._scheduler.settle(view, stop)
        return jobs

    async def _do_look(self, request: Request) -> None:
        self._pending = False
        watch, asked_ns = Stopwatch(), self._clock()
        try:
            async with self._standing.block(watch) as jobs:
                if self._standing.held is not None:
                    # The guest stood already, so that no stop brings a look with it.
                    jobs.extend(await self.look(_ASKED, watch))
        except GuestError as error:
            self._missed(error, asked_ns)
            raise

    async def _take_ejection(self, change: Change, stop: Stop, watch: Stopwatch) -> Job:
        label = replace(
            self._taker.label("error", _error_detail(change, stop), None),
            stamp=self._taker.stamped(Stamp(early=self._early(self._early_tag))),
            scheduler=self._scheduler.name,
            exit_kind=change.exit_kind,
            watchpoint_hit=stop.watch_address is not None,
        )
        job = await self._taker.take(label, watch)
        self.freeze_state = FreezeState.DONE
        self._ejection_shown = True
        return job

    def end(self, lost: GuestError | None) -> None:
        """No stop will come any more.

        Args:
            lost: The loss of the guest, if that is why.
        """
        if lost is None or not self._missed(lost, self._clock()):
            self._depart("the run ended before an ejection")

    def _missed(self, error: GuestError, since_ns: int) -> bool:
        """Make a degraded capture of an ejection that no stop tells, once for each scheduler."""
        view = self._taker.view
        if view is None or self.freeze_state is FreezeState.DONE:
            return False
        exit_kind = self._scheduler.unseen_ejection(view)
        if exit_kind is None:
            return False
        if not self._missed_one:
            self._missed_one = self._ejection_shown = True
            detail = f"{_kind(exit_kind)}, seen in memory: the guest could not be stopped"
            label = replace(
                self._taker.label("error", detail, None),
                stamp=self._taker.stamped(Stamp(early=self._early(self._early_tag))),
                scheduler=self._scheduler.name,
                exit_kind=exit_kind,
            )
            self._finisher.submit(self._taker.failed(label, error, since_ns))
        return True

    def _depart(self, why: str) -> None:
        """The scheduler is gone, and no ejection was captured after its early capture."""
        tag, self._early_tag = self._early_tag, None
        if tag is not None and self.freeze_state is FreezeState.TOOK_EARLY:
            self._finisher.departed(Departure(tag, why, self._early(tag)))

    def _begin_scheduler(self) -> None:
        self._depart(self._left or "another scheduler was attached before an ejection")
        self.freeze_state = FreezeState.IDLE
        self._taker.life += 1
        self._left = ""
        self._missed_one = False
        if self._ejection_shown:
            self._ejection_shown = False
            self._standing.tell_later(AlertCleared(key=EJECTED_ALERT))


def _error_detail(change: Change, stop: Stop) -> str:
    if stop.watch_address is None:
        return f"{_kind(change.exit_kind)}, late: noticed after the write"
    return f"{_kind(change.exit_kind)}, at the write by vCPU {stop.vcpu}"


def _kind(exit_kind: int | None) -> str:
    return f"exit_kind {exit_kind} ({exit_kind_name(exit_kind)})"
