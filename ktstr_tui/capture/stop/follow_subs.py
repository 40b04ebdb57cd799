"""Follows sub-schedulers: reads their tree at every stop, lends their watches free slots, and says what happened.

`sub_table` decides; this does it, as `follow` does for the loaded scheduler. After a storm of hits all are polled for a
while.
"""

from __future__ import annotations

from collections.abc import Callable

from ktstr_tui.capture.stop.follow import REARM_AFTER_NS
from ktstr_tui.capture.stop.seams import SchedulerMemory
from ktstr_tui.capture.watch.leaving import sub_was_asked_for
from ktstr_tui.capture.watch.lent_slots import LentSlots
from ktstr_tui.capture.watch.slots import EXIT_DONE
from ktstr_tui.capture.watch.sub_table import LIST_EXPRESSION, SubChange, SubLook, SubTable
from ktstr_tui.guest.engine import Stop
from ktstr_tui.kernel.scx import ExitText
from ktstr_tui.model.budget import HitBudget
from ktstr_tui.model.events import Event, SchedulerChanged, WatchpointHit

HITS_PER_S = 40
"""Hits per second above which everything is polled for `REARM_AFTER_NS`."""
_TOO_OFTEN = f"more than {HITS_PER_S} hits in a second: memory is read at every sample for a while"


class SubWatch:
    """Follows the schedulers below the loaded one. Everything but `differs` needs a stopped guest.

    Args:
        lent: Slots for their watches.
        say: Takes events; they are announced when the guest runs again.
        clock: Host monotonic clock, in nanoseconds.
    """

    def __init__(self, lent: LentSlots, say: Callable[[Event], object], clock: Callable[[], int]) -> None:
        self.lent = lent
        """Slots for their watches."""
        self.hits = self.late_finds = self.pauses = self.read_failures = 0
        self._say = say
        self._clock = clock
        self._table = SubTable()
        self._root: int | None = None
        self._budget = HitBudget(HITS_PER_S)
        self._rest_since_ns: int | None = None

    def differs(self, view: SchedulerMemory) -> bool:
        """Whether memory of the running guest shows a change, or something polled could be watched again."""
        try:
            root = view.scx_root() or None
            found, cut = _read(view, root, frozen=False)
        except Exception:
            # Torn, most likely; the next sample may read it. What stays broken is found broken at the next stop.
            return False
        if self.lent.could_arm and (self._rest_since_ns is None or self._rested()):
            return True
        return root == self._root and self._table.differs(found, cut=cut)

    def look(self, view: SchedulerMemory, stop: Stop) -> list[SubChange]:
        """Compare the tree with what is known; returns what happened."""
        hit = self.lent.find(stop) is not None
        self.hits += hit
        try:
            root = view.scx_root() or None
            found, cut = _read(view, root, frozen=True)
        except Exception:
            self.read_failures += 1
            return []
        changes: list[SubChange] = []
        if root != self._root:
            changes = self._table.look((), lambda gone: _last_words(view, gone)[0])
        self._root = root
        changes += self._table.look(found, lambda gone: _last_words(view, gone)[0], cut=cut)
        self.late_finds += bool(changes) and not hit
        return changes

    def is_ejection(self, view: SchedulerMemory, change: SubChange) -> bool:
        """Whether a sub-scheduler left without having been asked to."""
        if change.kind != "left":
            return False
        return not sub_was_asked_for(view.exit_kind_name(change.sub.exit_kind), view.init_comm())

    def lives(self, cgroup: str) -> bool:
        """Whether the sub-scheduler of a cgroup has not left yet."""
        return self._table.lives(cgroup)

    def unseen_ejections(self, view: SchedulerMemory) -> list[SubLook]:
        """Return those that memory of the running guest shows to be ejected, and no stop has shown yet."""
        try:
            root = view.scx_root() or None
            found, _cut = _read(view, root, frozen=False)
        except Exception:
            self.read_failures += 1
            return []
        unseen = self._table.unseen_exits(found) if root == self._root else []
        return [it for it in unseen if self.is_ejection(view, SubChange("left", it))]

    def tell(
        self,
        view: SchedulerMemory,
        change: SubChange,
        stop: Stop,
        *,
        ejected: bool,
        detail: str,
        capture: str | None,
    ) -> None:
        """Say what happened to a sub-scheduler, and that a watch saw it."""
        sub, left = change.sub, change.kind == "left"
        kind, info = _last_words(view, sub) if change.kind == "detached" else (0, None)
        if kind != sub.exit_kind:
            info = None
        if change.kind == "detached" and not sub.exit_kind:
            detail = "no stop caught the reason"
        self._say(
            SchedulerChanged(
                change="ejected" if ejected else "exiting" if change.kind == "left" else change.kind,
                name=sub.name,
                cgroup=sub.cgroup,
                exit_kind=sub.exit_kind if left else None,
                exit_kind_name=view.exit_kind_name(sub.exit_kind) if left else "",
                exit_code=info.exit_code if info else None,
                message=(info.message or info.reason) if info else None,
                detail=detail,
            )
        )
        made = self.lent.find(stop)
        if made is None:
            return
        slot, target = made
        of_list = target.expression == LIST_EXPRESSION
        if (of_list and change.kind == "attached") or target.address == view.exit_kind_address(sub.address):
            self._say(
                WatchpointHit(
                    slot=slot,
                    expression=target.expression,
                    vcpu=stop.vcpu,
                    value=sub.address if of_list else sub.exit_kind,
                    old=None if of_list else 0,
                    capture=capture,
                )
            )

    async def settle(self, view: SchedulerMemory, stop: Stop, *, exited: bool) -> None:
        """Lend free slots to what is to be watched now.

        Args:
            view: The guest's memory.
            stop: What the guest was stopped for.
            exited: Whether the scheduler above them is leaving, and they with it.
        """
        if self.lent.find(stop) is not None and not self._budget.spend(self._clock()):
            self.pauses += 1
            self._rest_since_ns = self._clock()
        if self._rested():
            self._rest_since_ns = None
            self._budget.refill()
        root = self._root
        over = root is None or exited
        slot = None if over or root is None else view.newest_sub_slot(root)
        targets = [] if over else self._table.targets(slot, view.exit_kind_address)
        await self.lent.want(targets, _TOO_OFTEN if self._rest_since_ns is not None else "")

    def _rested(self) -> bool:
        return self._rest_since_ns is not None and self._clock() - self._rest_since_ns >= REARM_AFTER_NS


def _last_words(view: SchedulerMemory, gone: SubLook) -> tuple[int, ExitText | None]:
    """Read the exit kind and texts of one that is no longer in the tree; 0 and None when its memory is another's."""
    if view.read_scheduler_name(gone.address) != gone.name:
        return 0, None
    info = view.exit_info(gone.address)
    return (0, None) if info is None else (info.kind, info)


def _read(view: SchedulerMemory, root: int | None, *, frozen: bool) -> tuple[list[SubLook], bool]:
    subs = view.subs(root, frozen=frozen)
    found = []
    for sub in subs.found:
        kind, address = sub.state.exit_kind, sub.state.address
        if kind == EXIT_DONE:
            info = view.exit_info(address)
            kind = (info.kind if info else 0) or EXIT_DONE
        found.append(SubLook(address, sub.state.name, sub.cgroup, kind))
    return found, subs.cut
