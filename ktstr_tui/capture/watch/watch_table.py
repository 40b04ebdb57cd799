"""Which slot of the user's has which watch."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ktstr_tui.capture.watch.watch_spec import MORE_SLOTS, SLOTS, Watch, WatchSpec
from ktstr_tui.guest.engine import WatchLimits
from ktstr_tui.model.budget import HitBudget
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.events import Event


class WatchTable:
    """Slots 1 to 3, and more where the engine has no limit.

    Args:
        limits: Of the engine.
    """

    def __init__(self, limits: WatchLimits) -> None:
        self._limits = limits
        self._slots = (*SLOTS, *(MORE_SLOTS if limits.unlimited else ()))
        self._watches: dict[int, Watch] = {}
        self._debugger: set[int] = set()

    def __iter__(self) -> Iterator[Watch]:
        """The watches of now, in the order in which they were set."""
        return iter(list(self._watches.values()))

    def __len__(self) -> int:
        return len(self._watches)

    def find(self, slot: int) -> Watch | None:
        """Return the watch of a slot; None when there is none.

        Raises:
            UsageError: That slot is not the user's.
        """
        if slot not in self._slots:
            raise UsageError(
                f"slot {slot} is not a user slot", f"user slots are {SLOTS[0]} to {self._slots[-1]}"
            )
        return self._watches.get(slot)

    def is_free(self, slot: int) -> bool:
        """Whether neither a user's watch nor a debugger has a slot."""
        return slot not in self._watches and slot not in self._debugger

    def count_free(self) -> int:
        """How many slots neither a user's watch nor a debugger has."""
        return sum(map(self.is_free, SLOTS))

    def take_for_debugger(self) -> int:
        """Give a debugger a free slot, the last one first.

        Raises:
            UsageError: There is none.
        """
        slot = next(filter(self.is_free, reversed(SLOTS)), None)
        if slot is None:
            raise UsageError(
                "no watch slot is free for the debugger", "remove a watch: ktstr-tui watch remove"
            )
        self._debugger.add(slot)
        return slot

    def give_back(self, slot: int) -> None:
        """Take a slot back from the debugger."""
        self._debugger.discard(slot)

    def holds(self, watch: Watch) -> bool:
        """Whether a watch has its slot still."""
        return self._watches.get(watch.slot) is watch

    def check(self, spec: WatchSpec) -> WatchSpec:
        """Return what is to be watched, without spaces around it.

        Raises:
            UsageError: It cannot be watched, or is watched already.
        """
        spec = msgspec.structs.replace(spec, expression=spec.expression.strip())
        spec.check(self._limits)
        for watch in self:
            if watch.spec.expression == spec.expression and watch.state != "failed":
                raise UsageError(f"slot {watch.slot} watches {spec.expression} already")
        return spec

    def free_slot(self) -> tuple[int, Watch | None]:
        """Return a slot to use, and the failed watch that has to leave it.

        Raises:
            UsageError: All slots are taken.
        """
        free = next(filter(self.is_free, self._slots), None)
        if free is not None:
            return free, None
        failed = next((it for it in self if it.state == "failed"), None)
        if failed is None:
            raise UsageError(
                f"all {len(self._slots)} watch slots are taken (slot 0 is reserved for exit_kind)",
                "remove a watch first",
            )
        return failed.slot, failed

    def make(self, slot: int, spec: WatchSpec) -> Watch:
        """Return a watch for a slot, which does not have it yet."""
        return Watch(slot, spec, HitBudget(spec.budget_per_s), any_place=self._limits.unlimited)

    def enter(self, watch: Watch) -> None:
        """Give a watch its slot."""
        self._watches[watch.slot] = watch

    def drop(self, watch: Watch, why: str) -> Event:
        """Take a watch out of its slot; returns the event that reports it."""
        del self._watches[watch.slot]
        watch.release()
        watch.state, watch.address, watch.detail = "removed", None, why
        return watch.changed()

    def release_failed(self) -> None:
        """Let those know whose watch has failed; it stays visible in its slot until that is used again."""
        for watch in self:
            if watch.state == "failed":
                watch.release()
