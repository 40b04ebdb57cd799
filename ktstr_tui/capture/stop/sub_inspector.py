"""Captures sub-schedulers that are ejected, at the same stops at which the loaded scheduler is followed.

The end of the loaded scheduler is captured once (`ejection`); of those below it each may be ejected while it stays, so
each has a capture of its own, as long as the finisher keeps up. Those that leave with ``SCX_EXIT_PARENT`` have none: it
is the end of their parent that is captured.
"""

from __future__ import annotations

from dataclasses import replace

from msgspec.structs import replace as replace_fields

from ktstr_tui.capture.ejection import Ejection, FreezeState
from ktstr_tui.capture.finisher import STALL, Finisher, ejected_alert
from ktstr_tui.capture.job import Job, Label
from ktstr_tui.capture.report.pairs import Departure
from ktstr_tui.capture.stamp import EarlyRecord, EarlyRecords, Stamp
from ktstr_tui.capture.stop.follow_subs import SubWatch
from ktstr_tui.capture.stop.outbox import StopEvents
from ktstr_tui.capture.stop.rendezvous import Stopwatch
from ktstr_tui.capture.stop.seams import SchedulerMemory
from ktstr_tui.capture.taker import CaptureTaker
from ktstr_tui.capture.watch.sub_table import SubChange, SubLook
from ktstr_tui.guest.engine import Stop
from ktstr_tui.model.errors import GuestError
from ktstr_tui.model.events import AlertCleared


class SubInspector:
    """Looks at the sub-schedulers at every stop.

    Args:
        taker: Takes captures.
        finisher: Says when it has too much to do.
        watch: Follows the sub-schedulers.
        ejection: How far the capturing of the loaded scheduler's end has come; an early capture goes with the end of
            a sub-scheduler whose task waited.
        early: What is known of early captures.
        outbox: Keeps events until the guest runs again.
    """

    def __init__(
        self,
        taker: CaptureTaker,
        finisher: Finisher,
        watch: SubWatch,
        ejection: Ejection,
        early: EarlyRecords,
        outbox: StopEvents,
    ) -> None:
        self.watch = watch
        """Follows the sub-schedulers."""
        self.captures_skipped = 0
        """Ejections without a capture, because too many captures waited to be finished."""
        self._taker = taker
        self._finisher = finisher
        self._ejection = ejection
        self._early = early
        self._outbox = outbox
        self._shown: set[str] = set()
        self._missed: set[int] = set()
        """Addresses of those of whose ejection there is a degraded report."""

    async def look(self, view: SchedulerMemory, stop: Stop, timer: Stopwatch) -> list[Job]:
        """Find out what happened to sub-schedulers; returns captures taken on the way."""
        jobs: list[Job] = []
        for change in self.watch.look(view, stop):
            ejected = self.watch.is_ejection(view, change)
            self._missed.discard(change.sub.address)
            if change.kind == "attached":
                self._clear({change.sub.cgroup})
            job = await self._take(view, change, stop, timer) if ejected else None
            jobs += [job] if job else []
            detail = f"capture {job.label.tag}" if job else "no capture: too many wait" if ejected else ""
            tag = job.label.tag if job else None
            self.watch.tell(view, change, stop, ejected=ejected, detail=detail, capture=tag)
        self._release()
        return jobs

    def missed(self, view: SchedulerMemory, error: GuestError, since_ns: int) -> bool:
        """Make a degraded capture of each ejection that no stop reports; whether there is any.

        Args:
            view: Memory of the guest, which runs or is gone.
            error: Why the guest could not be stopped.
            since_ns: When it was asked to, on the host's monotonic clock.
        """
        unseen = self.watch.unseen_ejections(view)
        for sub in unseen:
            if sub.address in self._missed:
                continue
            self._missed.add(sub.address)
            self._shown.add(sub.cgroup)
            label = self._label(view, sub, "seen in memory: the guest could not be stopped")
            self._finisher.submit(self._taker.failed(label, error, since_ns))
        return bool(unseen)

    def root_attached(self) -> None:
        """Clear the alerts of the sub-schedulers of the scheduler that was attached before."""
        self._clear(set(self._shown))

    def drops(self) -> dict[str, int]:
        """Return what was lost so far, by reason."""
        return {
            "captures-skipped": self.captures_skipped,
            "pauses": self.watch.pauses,
            "unreadable": self.watch.read_failures,
        }

    def _clear(self, cgroups: set[str]) -> None:
        for cgroup in sorted(cgroups & self._shown):
            self._outbox.add(AlertCleared(key=ejected_alert(cgroup), kind="ejected"))
        self._shown -= cgroups

    async def _take(
        self, view: SchedulerMemory, change: SubChange, stop: Stop, timer: Stopwatch
    ) -> Job | None:
        if self._finisher.crowded:
            self.captures_skipped += 1
            return None
        sub = change.sub
        made = self.watch.lent.find(stop)
        at_write = made is not None and made[1].address == view.exit_kind_address(sub.address)
        when = f"at the write by vCPU {stop.vcpu}" if at_write else "late: noticed after the write"
        label = self._label(view, sub, when)
        early = self._early_record(sub.cgroup) if label.exit_kind_name == STALL else None
        label = replace(label, stamp=self._taker.stamped(Stamp(early=early)), watchpoint_hit=at_write)
        self._shown.add(sub.cgroup)
        return await self._taker.take(label, timer)

    def _label(self, view: SchedulerMemory, sub: SubLook, when: str) -> Label:
        word = view.exit_kind_name(sub.exit_kind)
        detail = f"exit_kind {sub.exit_kind} ({word}) of {sub.cgroup}, {when}"
        return replace(
            self._taker.label("error", detail, None),
            scheduler=sub.name,
            cgroup=sub.cgroup,
            about=sub.address,
            exit_kind=sub.exit_kind,
            exit_kind_name=word,
        )

    def _early_record(self, cgroup: str) -> EarlyRecord | None:
        """The early capture of a stall: that of a task of this sub-scheduler, and of no other."""
        tag = self._ejection.early_tag
        of = self._early.cgroup_of(tag)
        if tag is not None and of != cgroup:
            record = self._early.record(None)
            why = f"{tag} was taken early for a task of {of or 'the loaded scheduler'}"
            return None if record is None else replace_fields(record, skipped_reason=why)
        record = self._early.record(tag)
        if self._ejection.take_early() is not None:
            self._ejection.state = FreezeState.IDLE
        return record

    def _release(self) -> None:
        """Make way for the next early capture when the sub-scheduler that there is one of left without a stall."""
        tag = self._ejection.early_tag
        cgroup = self._early.cgroup_of(tag)
        if cgroup is None or self._ejection.state is not FreezeState.TOOK_EARLY or self.watch.lives(cgroup):
            return
        if self._ejection.take_early() is not None and tag is not None:
            self._ejection.state = FreezeState.IDLE
            why = f"the sub-scheduler of {cgroup} left, and not for a stall"
            self._finisher.departed(Departure(tag, why, self._early.record(tag)))
