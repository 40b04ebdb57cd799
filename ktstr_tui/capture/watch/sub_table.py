"""What is known of the sub-schedulers, advanced by looks at memory; and what is to be watched of them.

As with slot 0 (see `slots`) a hit only means: look now. At every stop the tree in memory is compared with what is
known::

    not known ──it is in the tree──▶ attached ──exit_kind leaves NONE──▶ left ──it is not in the tree──▶ detached

A scheduler that is gone from the tree before its ``exit_kind`` was seen is looked at once more: its memory stays until
the program that attached it lets go. One whose ``exit_kind`` is NONE again after its exit is another one in the same
memory.

Watched are, in this order, as far as there are slots: the ``exit_kind`` of the oldest one; the end of the kernel's list
of all schedulers, so that none comes and goes between two samples; and the other exit kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec

from ktstr_tui.capture.watch.slots import EXIT_LENGTH_BYTES, ROOT_LENGTH_BYTES, WatchTarget

LIST_EXPRESSION = "scx_sched_all.prev"
MAX_KNOWN = 512
"""Sub-schedulers that are followed; of a tree that cannot be read to its end, some may never be seen to go."""


class SubLook(msgspec.Struct, frozen=True):
    """What one look shows of a sub-scheduler."""

    address: int
    name: str
    cgroup: str
    exit_kind: int
    """Also when ``exit_kind`` has moved on to DONE: the one that came before."""


class SubChange(msgspec.Struct, frozen=True):
    """A step in the life of a sub-scheduler."""

    kind: Literal["attached", "left", "detached"]
    """``left``: its exit kind was written."""
    sub: SubLook


@dataclass(slots=True)
class _Known:
    sub: SubLook
    exited: bool = False


class SubTable:
    """The sub-schedulers below the loaded scheduler."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}

    def __len__(self) -> int:
        return len(self._known)

    def differs(self, found: Iterable[SubLook], *, cut: bool) -> bool:
        """Whether `look` would find anything new."""
        seen = {it.address: it for it in found}
        for now in seen.values():
            known = self._known.get(now.address)
            if known is None or known.sub.cgroup != now.cgroup or known.exited != (now.exit_kind != 0):
                return True
        return not cut and len(seen) < len(self._known)

    def unseen_exits(self, found: Iterable[SubLook]) -> list[SubLook]:
        """Return those that have an exit kind which no look has seen yet."""
        known = ((it, self._known.get(it.address)) for it in found if it.exit_kind)
        return [it for it, of in known if of is not None and not of.exited and of.sub.cgroup == it.cgroup]

    def look(
        self, found: Iterable[SubLook], last_kind: Callable[[SubLook], int], *, cut: bool = False
    ) -> list[SubChange]:
        """Compare the tree with what is known, and know it from now on.

        Args:
            found: The schedulers in the tree.
            last_kind: Reads the exit kind of one that is no longer in it; 0 for none.
            cut: Whether the tree has more than those, so that none is taken for gone.

        Returns:
            What happened since the last look.
        """
        seen = {it.address: it for it in found}
        changes: list[SubChange] = []
        for address, known in list(self._known.items()):
            now = seen.get(address)
            if now is None and not (cut and len(self._known) <= MAX_KNOWN):
                changes += self._gone(known, last_kind(known.sub))
            elif now is not None and self._reborn(known, now):
                changes += self._gone(known, 0)
        for now in seen.values():
            entry = self._known.get(now.address)
            if entry is None:
                entry = self._known[now.address] = _Known(now)
                changes.append(SubChange("attached", now))
            if now.exit_kind and not entry.exited:
                entry.sub, entry.exited = now, True
                changes.append(SubChange("left", now))
        return changes

    def lives(self, cgroup: str) -> bool:
        """Whether a sub-scheduler of a cgroup is known that has not left."""
        return any(it.sub.cgroup == cgroup and not it.exited for it in self._known.values())

    def targets(self, list_slot: int | None, exit_kind_address: Callable[[int], int]) -> list[WatchTarget]:
        """Return what is to be watched, the most important first.

        Args:
            list_slot: Address of the end of the list of schedulers; None where nobody can attach below the root.
            exit_kind_address: From a scheduler's address to that of its ``exit_kind``.
        """
        exits = [
            WatchTarget(f"exit_kind of {it.sub.cgroup}", exit_kind_address(address), EXIT_LENGTH_BYTES)
            for address, it in self._known.items()
            if not it.exited
        ]
        ends = [] if list_slot is None else [WatchTarget(LIST_EXPRESSION, list_slot, ROOT_LENGTH_BYTES)]
        return [*exits[:1], *ends, *exits[1:]]

    def _gone(self, known: _Known, kind: int) -> list[SubChange]:
        sub = self._known.pop(known.sub.address).sub
        if known.exited or not kind:
            return [SubChange("detached", sub)]
        sub = msgspec.structs.replace(sub, exit_kind=kind)
        return [SubChange("left", sub), SubChange("detached", sub)]

    def _reborn(self, known: _Known, now: SubLook) -> bool:
        return known.sub.cgroup != now.cgroup or (known.exited and now.exit_kind == 0)
