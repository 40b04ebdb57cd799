"""Keeps watch slot 0 where it belongs, and its hits within bounds.

`slots` decides; this does it: reads memory at a stop, moves the watchpoint in the stub, and says in events
what happened. A storm of hits (the struct's memory may be reused by something busy) would stop the guest
over and over, so past a budget the watch is taken away for a while and the coordinator's poll has to do.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from ktstr_tui.capture.stop.rendezvous import Rendezvous
from ktstr_tui.capture.stop.seams import SchedulerMemory
from ktstr_tui.capture.watch.leaving import was_asked_for
from ktstr_tui.capture.watch.slots import EXIT_DONE, EXIT_EXPRESSION, Change, SlotZero, WatchTarget
from ktstr_tui.guest.engine import Stop
from ktstr_tui.kernel.scx import ExitText
from ktstr_tui.model.budget import HitBudget
from ktstr_tui.model.errors import KtstrError
from ktstr_tui.model.events import Event, Logged, SchedulerChanged, WatchpointChanged, WatchpointHit
from ktstr_tui.model.kinds import WatchState

HITS_PER_S = 20
"""Hits per second above which the watch is paused."""
REARM_AFTER_NS = 5_000_000_000
"""How long a paused watch rests before it is set again."""


class SchedulerWatch:
    """Follows schedulers through slot 0. Everything but `differs` needs a stopped guest.

    Args:
        rendezvous: Reaches the stub.
        say: Takes events; they are announced when the guest runs again.
        clock: Host monotonic clock, in nanoseconds.
    """

    def __init__(
        self, rendezvous: Rendezvous, say: Callable[[Event], object], clock: Callable[[], int]
    ) -> None:
        self.armed = trio.Event()
        """Set when the watch was armed for the first time, or was refused."""
        self.unarmed = trio.Event()
        """Set while memory must be polled in place of the watch; another event once it is armed again."""
        self.name: str | None = None
        """Name of the scheduler that was attached last."""
        self.hits = self.repeat_hits = self.none_hits = self.late_finds = self.pauses = self.read_failures = 0
        self._rendezvous = rendezvous
        self._say = say
        self._clock = clock
        self._slot = SlotZero()
        self._watched: WatchTarget | None = None
        self._budget = HitBudget(HITS_PER_S)
        self._rest_since_ns: int | None = None
        self._gave_up = False
        self._unread = False
        self._left_with: int | None = None

    @property
    def is_armed(self) -> bool:
        """Whether the watch is set now."""
        return self._watched is not None

    @property
    def exited(self) -> bool:
        """Whether the loaded scheduler is leaving."""
        return self._slot.exited

    def made(self, stop: Stop) -> bool:
        """Whether the watch that is set now made that stop."""
        return self._watched is not None and stop.watch_address == self._watched.address

    def differs(self, view: SchedulerMemory) -> bool:
        """Whether memory of the running guest shows a change, or a resting watch is due."""
        try:
            root, exit_kind = _read(view)
        except Exception:
            self.read_failures += 1
            return False
        return self._slot.differs(root, exit_kind) or self._wants_arming()

    def unseen_ejection(self, view: SchedulerMemory) -> int | None:
        """The exit kind, if memory shows that the loaded scheduler is ejected and no stop has shown it yet."""
        try:
            root, exit_kind = _read(view)
        except Exception:
            self.read_failures += 1
            return None
        if root is None or root != self._slot.scheduler or self._slot.exited:
            return None
        return exit_kind if exit_kind and not _asked(view, exit_kind) else None

    def look(self, view: SchedulerMemory, stop: Stop) -> list[Change]:
        """Compare memory with what is known; returns what happened."""
        hit = stop.watch_address is not None
        self.hits += hit
        try:
            root, exit_kind = _read(view)
        except Exception as error:
            if not self._unread:
                self._unread = True
                text = f"slot 0 cannot be read: {type(error).__name__}: {error}"
                self._say(Logged(severity="error", source="coordinator", text=text))
            self.read_failures += 1
            return []
        self._unread = False
        changes = self._slot.look(root, exit_kind, asked=exit_kind is not None and _asked(view, exit_kind))
        if hit and not changes:
            if self._slot.exited:
                self.repeat_hits += 1
            else:
                self.none_hits += 1
        self.late_finds += bool(changes) and not hit and self.armed.is_set()
        for change in changes:
            if change.kind == "attached":
                self.name = view.read_scheduler_name(change.scheduler)
        return changes

    def tell(
        self, view: SchedulerMemory, change: Change, stop: Stop, capture: str | None, words: ExitText | None
    ) -> None:
        """Say what happened to the scheduler, and that a watch saw it.

        Args:
            view: The guest's memory.
            change: What happened.
            stop: The stop at which it was found.
            capture: Tag of the capture that was taken of it.
            words: What `last_words` returned.
        """
        kind = change.exit_kind
        if kind is not None:
            self._left_with = kind
        self._say(
            SchedulerChanged(
                change=change.kind,
                name=self.name,
                exit_kind=kind,
                exit_kind_name="" if kind is None else view.exit_kind_name(kind),
                exit_code=words.exit_code if words else None,
                message=(words.message or words.reason) if words else None,
                detail=f"capture {capture}" if capture else "",
            )
        )
        watched = self._watched
        if stop.watch_address is None or watched is None:
            return
        at_exit = watched.expression == EXIT_EXPRESSION
        gone = change.kind == "detached"
        self._say(
            WatchpointHit(
                slot=0,
                expression=watched.expression,
                vcpu=stop.vcpu,
                value=change.exit_kind if at_exit else 0 if gone else change.scheduler,
                old=change.scheduler if gone and not at_exit else 0,
                capture=capture,
            )
        )

    def last_words(self, view: SchedulerMemory, change: Change) -> ExitText | None:
        """Return what the kernel kept of the end of a scheduler that is detached; None for all other changes."""
        if change.kind != "detached":
            return None
        # At the write of scx_root the old struct is whole. Who looks late may find other things in its memory.
        kind, self._left_with = self._left_with, None
        info = None if kind is None else view.exit_info(change.scheduler)
        return info if info is not None and info.kind == kind else None

    async def settle(self, view: SchedulerMemory, stop: Stop) -> None:
        """Put the watch where it belongs now, or away when it was hit too often."""
        if self._unread:
            return
        if stop.watch_address is not None and not self._budget.spend(self._clock()):
            await self._rest(view)
        elif self._watched is not None or self._wants_arming():
            await self._arm(view)

    async def remove(self) -> None:
        """Take the watch away."""
        watched, self._watched = self._watched, None
        if watched is not None:
            await self._rendezvous.disarm_watch(watched.address, watched.length_bytes)

    def _wants_arming(self) -> bool:
        if self._gave_up or self._watched is not None:
            return False
        return self._rest_since_ns is None or self._clock() - self._rest_since_ns >= REARM_AFTER_NS

    async def _rest(self, view: SchedulerMemory) -> None:
        self.pauses += 1
        self._rest_since_ns = self._clock()
        self.unarmed.set()
        detail = f"more than {self._budget.limit} hits in a second; polling for {REARM_AFTER_NS // 10**9} s instead"
        self._change(self._target(view), "paused", detail)
        try:
            await self.remove()
        except KtstrError as error:
            self._fail(self._target(view), error)

    async def _arm(self, view: SchedulerMemory) -> None:
        target = self._target(view)
        if target == self._watched:
            return
        try:
            await self.remove()
            await self._rendezvous.arm_watch(target.address, target.length_bytes)
        except KtstrError as error:
            self._fail(target, error)
            return
        if self._rest_since_ns is not None:
            self._rest_since_ns = None
            self._budget.refill()
        self._watched = target
        self.unarmed = trio.Event()
        self._change(target, "armed", "")
        self.armed.set()

    def _fail(self, target: WatchTarget, error: KtstrError) -> None:
        # KVM on some hosts has no debug registers to give, and never will.
        self._gave_up = True
        self.unarmed.set()
        self._change(target, "failed", f"{error.message}; polling instead")
        self.armed.set()

    def _target(self, view: SchedulerMemory) -> WatchTarget:
        return self._slot.target(view.scx_root_slot(), view.exit_kind_address)

    def _change(self, target: WatchTarget, state: WatchState, detail: str) -> None:
        self._say(
            WatchpointChanged(
                slot=0,
                expression=target.expression,
                address=target.address,
                state=state,
                detail=detail,
            )
        )


def _asked(view: SchedulerMemory, exit_kind: int) -> bool:
    return was_asked_for(view.exit_kind_name(exit_kind), view.init_comm())


def _read(view: SchedulerMemory) -> tuple[int | None, int | None]:
    root = view.scx_root() or None
    if root is None:
        return None, None
    exit_kind = view.exit_kind(root)
    if exit_kind == EXIT_DONE:
        info = view.exit_info(root)
        exit_kind = (info.kind if info else 0) or EXIT_DONE
    return root, exit_kind
