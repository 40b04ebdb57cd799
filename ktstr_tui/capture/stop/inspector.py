"""Inspects the guest at every stop: lets the user's watches look, follows the scheduler, captures an ejected one.

A hit may belong to slot 0, to a watch of the user's, or to both, when they share an address; and a change of the
scheduler may be found at a stop that was for something else. So slot 0 is compared with memory at each stop,
whatever it was for (see `slots`), but a hit counts as its own only if it made that stop or no user's watch claims it.

A change that no stop reports is found by `StopInspector.is_due` in the running guest; `poller` then asks for a stop.
When that stop does not come, or the guest is gone, what is left of an ejection that memory shows is a degraded
report. The whole capture is still taken if the guest stops after all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ktstr_tui.capture.ejection import Ejection, FreezeState
from ktstr_tui.capture.finisher import EJECTED_ALERT, Finisher
from ktstr_tui.capture.job import Job, Label
from ktstr_tui.capture.report.pairs import Departure
from ktstr_tui.capture.stamp import Beside, Stamp
from ktstr_tui.capture.stop.follow import SchedulerWatch
from ktstr_tui.capture.stop.outbox import StopEvents
from ktstr_tui.capture.stop.rendezvous import Stopwatch
from ktstr_tui.capture.stop.seams import SchedulerMemory
from ktstr_tui.capture.stop.sub_inspector import SubInspector
from ktstr_tui.capture.taker import CaptureTaker
from ktstr_tui.capture.watch.slots import Change
from ktstr_tui.capture.watch.watch_stops import WatchStops
from ktstr_tui.guest.engine import Stop
from ktstr_tui.model.errors import GuestError
from ktstr_tui.model.events import AlertCleared, Event

NO_STOP = Stop("other")
"""For a look at a guest that was stopped already."""


@dataclass(frozen=True, slots=True)
class Followed:
    """The schedulers that are followed."""

    root: SchedulerWatch
    """The loaded scheduler, in slot 0."""
    subs: SubInspector
    """Those below it."""


class StopInspector:
    """Looks at the guest at every stop.

    Args:
        taker: Takes captures, and knows the guest's memory.
        finisher: Says when it has too much to do.
        watches: The user's watches.
        followed: The schedulers that are followed.
        ejection: How far the capturing of the scheduler's end has come; only this object changes it.
        beside: What is known besides the guest's memory.
        outbox: Keeps events until the guest runs again.
    """

    def __init__(
        self,
        taker: CaptureTaker,
        finisher: Finisher,
        watches: WatchStops,
        followed: Followed,
        ejection: Ejection,
        beside: Beside,
        outbox: StopEvents,
    ) -> None:
        self._taker = taker
        self._finisher = finisher
        self._watches = watches
        self._scheduler = followed.root
        self._subs = followed.subs
        self._ejection = ejection
        self._early = beside.early
        self._outbox = outbox
        self._suspected = self._sub_suspected = False

    def is_due(self) -> bool:
        """Whether memory of the running guest shows something that a stop would handle."""
        view = self._taker.memory.view
        if view is None:
            return False
        differs = self._scheduler.differs(view)
        # While slot 0 is armed the hit is on its way, and a stop asked for now would only race with it.
        self._suspected = differs and not self._suspected and self._scheduler.is_armed
        sub_differs = self._subs.watch.differs(view)
        self._sub_suspected = sub_differs and not self._sub_suspected and self._subs.watch.lent.all_armed
        news = (differs and not self._suspected) or (sub_differs and not self._sub_suspected)
        return news or self._watches.poll()

    def took_early(self, label: Label) -> None:
        """Note an early capture; it goes with the end of the scheduler that was loaded at its stop."""
        if label.life != self._ejection.life:
            why = "another scheduler was attached during the early capture"
            self._finisher.departed(Departure(label.tag, why, self._early.record(label.tag)))
        elif self._ejection.state is FreezeState.IDLE:
            self._ejection.took_early(label.tag)

    async def look(self, stop: Stop, timer: Stopwatch) -> list[Job]:
        """Find out what happened, and set the watches accordingly. Needs a stopped guest.

        Returns:
            Captures taken on the way.
        """
        view = self._taker.memory.view
        if view is None:
            return []
        jobs: list[Job] = []

        async def capture_hit(detail: str, tag: str | None) -> str | None:
            if self._finisher.crowded:
                return None
            label = replace(
                self._taker.label("watch", detail, tag), watchpoint_hit=stop.watch_address is not None
            )
            jobs.append(await self._taker.take(label, timer))
            return jobs[-1].label.tag

        await self._watches.look(stop, capture_hit)
        claimed = self._watches.claims(stop) or self._subs.watch.lent.claims(stop)
        root_stop = Stop("other", stop.vcpu) if claimed and not self._scheduler.made(stop) else stop
        for change in self._scheduler.look(view, root_stop):
            words = self._scheduler.last_words(view, change)
            if words is not None:
                self._finisher.words.keep(self._ejection.life, words)
            job = await self._follow(view, change, root_stop, timer)
            jobs += [job] if job else []
            self._scheduler.tell(view, change, root_stop, job.label.tag if job else None, words)
        jobs += await self._subs.look(view, stop, timer)
        await self._scheduler.settle(view, root_stop)
        await self._subs.watch.settle(view, stop, exited=self._scheduler.exited)
        return jobs

    def drain(self) -> list[Event]:
        """Return what the user's watches saw while the guest was stopped; call it when it runs again."""
        return self._watches.drain()

    def missed(self, error: GuestError, since_ns: int) -> bool:
        """Make a degraded capture of each ejection that no stop reports, once for each scheduler.

        Args:
            error: Why the guest could not be stopped.
            since_ns: When it was asked to, on the host's monotonic clock.

        Returns:
            Whether the loaded scheduler was ejected.
        """
        view = self._taker.memory.view
        if view is None:
            return False
        self._subs.missed(view, error, since_ns)
        return self._missed_root(view, error, since_ns)

    def _missed_root(self, view: SchedulerMemory, error: GuestError, since_ns: int) -> bool:
        ejection = self._ejection
        exit_kind = None if ejection.state is FreezeState.DONE else self._scheduler.unseen_ejection(view)
        if exit_kind is None:
            return False
        if not ejection.missed_one:
            ejection.missed()
            detail = f"{_kind(view, exit_kind)}, seen in memory: the guest could not be stopped"
            label = replace(
                self._error_label(detail), exit_kind=exit_kind, exit_kind_name=view.exit_kind_name(exit_kind)
            )
            self._finisher.submit(self._taker.failed(label, error, since_ns))
        return True

    def end(self, lost: GuestError | None, now_ns: int) -> None:
        """Note that no stop will come any more.

        Args:
            lost: The loss of the guest, if that is why.
            now_ns: Host monotonic time.
        """
        if lost is None or not self.missed(lost, now_ns):
            self._depart("the run ended before an ejection")

    async def _follow(
        self, view: SchedulerMemory, change: Change, stop: Stop, timer: Stopwatch
    ) -> Job | None:
        ejection = self._ejection
        if change.kind == "attached":
            self._depart(ejection.left or "another scheduler was attached before an ejection")
            self._subs.root_attached()
            if ejection.begin():
                self._outbox.add(AlertCleared(key=EJECTED_ALERT, kind="ejected"))
            self._finisher.attached(ejection.life)
        elif change.kind == "detached":
            self._depart(ejection.left or "the scheduler went away, and no stop caught the reason")
        elif change.kind == "ejected" and ejection.state is not FreezeState.DONE:
            return await self._take_ejection(view, change, stop, timer)
        elif change.kind == "exiting":
            ejection.left = f"the scheduler was not ejected: it left with {_kind(view, change.exit_kind)}"
        return None

    async def _take_ejection(
        self, view: SchedulerMemory, change: Change, stop: Stop, timer: Stopwatch
    ) -> Job:
        label = replace(
            self._error_label(_error_detail(view, change, stop)),
            exit_kind=change.exit_kind,
            exit_kind_name="" if change.exit_kind is None else view.exit_kind_name(change.exit_kind),
            watchpoint_hit=stop.watch_address is not None,
        )
        job = await self._taker.take(label, timer)
        self._ejection.captured()
        return job

    def _error_label(self, detail: str) -> Label:
        early = self._early.record(self._ejection.early_tag)
        label = self._taker.label("error", detail, None)
        return replace(label, stamp=self._taker.stamped(Stamp(early=early)), scheduler=self._scheduler.name)

    def _depart(self, why: str) -> None:
        """Report the early capture of a scheduler that is gone without a captured ejection."""
        tag = self._ejection.take_early()
        if tag is not None:
            self._finisher.departed(Departure(tag, why, self._early.record(tag)))


def _error_detail(view: SchedulerMemory, change: Change, stop: Stop) -> str:
    if stop.watch_address is None:
        return f"{_kind(view, change.exit_kind)}, late: noticed after the write"
    return f"{_kind(view, change.exit_kind)}, at the write by vCPU {stop.vcpu}"


def _kind(view: SchedulerMemory, exit_kind: int | None) -> str:
    word = "unknown" if exit_kind is None else view.exit_kind_name(exit_kind)
    return f"exit_kind {exit_kind} ({word})"
