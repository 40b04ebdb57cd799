"""Slots that no user holds, lent to watches of sub-schedulers.

A user's watch always comes first: it takes a lent slot back. What finds no slot is polled, at every sample; a row of
its own, behind the slots, says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from ktstr_tui.capture.stop.rendezvous import Rendezvous
from ktstr_tui.capture.watch.slots import WatchTarget
from ktstr_tui.capture.watch.watch_spec import SLOTS
from ktstr_tui.capture.watch.watch_table import WatchTable
from ktstr_tui.guest.engine import Stop
from ktstr_tui.model.errors import KtstrError
from ktstr_tui.model.events import Event, WatchpointChanged
from ktstr_tui.model.kinds import WatchState
from ktstr_tui.model.text import counted

POLLED_SLOT = SLOTS.stop
"""Number of the row for what has no slot."""
NO_SLOT = "no slot is free: memory is read at every sample instead"
_REMEMBERED = 16


class LentSlots:
    """Watches sub-schedulers through free slots. Everything here needs a stopped guest.

    Args:
        rendezvous: Reaches the engine.
        table: The users' watches.
        say: Takes events; they are announced when the guest runs again.
    """

    def __init__(self, rendezvous: Rendezvous, table: WatchTable, say: Callable[[Event], object]) -> None:
        self._rendezvous = rendezvous
        self._table = table
        self._say = say
        self._armed: dict[int, WatchTarget] = {}
        self._left: deque[int] = deque(maxlen=_REMEMBERED)
        self._refused = ""
        self._polled: tuple[str, str] | None = None

    def find(self, stop: Stop) -> tuple[int, WatchTarget] | None:
        """Return the slot and the target that made a stop; None when none of these did."""
        return next((it for it in self._armed.items() if it[1].address == stop.watch_address), None)

    def claims(self, stop: Stop) -> bool:
        """Whether one of these made that stop, one that is armed or was until a moment ago."""
        return stop.watch_address is not None and (
            self.find(stop) is not None or stop.watch_address in self._left
        )

    @property
    def all_armed(self) -> bool:
        """Whether nothing is polled."""
        return self._polled is None

    @property
    def could_arm(self) -> bool:
        """Whether something is polled although a slot is free."""
        free = sum(self._table.is_free(slot) for slot in SLOTS)
        return self._polled is not None and not self._refused and free > len(self._armed)

    async def want(self, targets: Sequence[WatchTarget], why_not: str = "") -> None:
        """Watch these, as far as there are slots.

        Args:
            targets: The most important first.
            why_not: Why all are to be polled for now; empty when they are not.
        """
        why_not = why_not or self._refused
        free = [slot for slot in reversed(SLOTS) if self._table.is_free(slot)]
        wanted = [] if why_not else list(targets[: len(free)])
        for slot, target in list(self._armed.items()):
            if target not in wanted or slot not in free:
                await self.vacate(slot)
        for target in wanted:
            if not self._refused and target not in self._armed.values():
                await self._arm(next(slot for slot in free if slot not in self._armed), target)
        armed = self._armed.values()
        self._tell_polled([it for it in targets if it not in armed], why_not or self._refused or NO_SLOT)

    async def vacate(self, slot: int) -> None:
        """Take what was lent a slot out of it."""
        target = self._armed.pop(slot, None)
        if target is None:
            return
        self._left.append(target.address)
        if self._table.is_free(slot):
            self._say(WatchpointChanged(slot=slot, expression=target.expression, state="removed"))
        try:
            await self._rendezvous.disarm_watch(target.address, target.length_bytes)
        except KtstrError as error:
            self._refused = error.message

    async def _arm(self, slot: int, target: WatchTarget) -> None:
        try:
            await self._rendezvous.arm_watch(target.address, target.length_bytes)
        except KtstrError as error:
            # KVM on some hosts has no debug registers to give, and never will.
            self._refused = f"{error.message}: memory is read at every sample instead"
            return
        self._armed[slot] = target
        self._say(
            WatchpointChanged(
                slot=slot,
                expression=target.expression,
                address=target.address,
                length_bytes=target.length_bytes,
                detail="lent to sub-schedulers until you need it",
            )
        )

    def _tell_polled(self, targets: Sequence[WatchTarget], why: str) -> None:
        now = None
        if targets:
            more = (
                f" and {counted(len(targets) - 1, 'more watch', 'more watches')}" if len(targets) > 1 else ""
            )
            now = (f"{targets[0].expression}{more}", why)
        if now == self._polled:
            return
        expression, detail = now or self._polled or ("", "")
        self._polled = now
        state: WatchState = "removed" if now is None else "polled"
        self._say(
            WatchpointChanged(
                slot=POLLED_SLOT, expression=expression, state=state, detail=detail if now else ""
            )
        )
