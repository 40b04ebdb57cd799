"""Scheduler swaps of a scenario: is the scheduler that a step names the one that is followed?

The guest attaches a step's scheduler and then says, over its port, that the step begins. The host sees the same swap
a second way: slot 0 stops the guest at the write of ``scx_root``, and the accessor publishes again once the new
scheduler is followed. The two ways are not ordered, so the frame may be read first. Whoever needs the new scheduler
then waits until the publish number has passed what it was when the step before began (see `capture.accessor`).

A replacement of the scheduler within a step is such a swap too; who asked for it hears of it from the guest first.

A swap that the host never sees is reported: what is shown would belong to another scheduler than the scenario says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import trio

from ktstr_tui.guest.guest_files import NO_SCHEDULER
from ktstr_tui.model.errors import KtstrError
from ktstr_tui.model.events import Event, Logged

SWAP_S = 5.0
"""How long after its step began a scheduler may take to be followed. The frame and the stop are milliseconds apart."""
_MEMORY_ONLY = 1
"""The publish number before any scheduler: memory alone."""


class Accessor(Protocol):
    """The snapshot bridge, as far as swaps need it."""

    def accessor_publish_seqno(self) -> int:
        """How often memory, or another scheduler in it, has become readable."""

    async def wait_for_accessor_publish_advance(self, prior: int, deadline: float, label: str) -> int:
        """Wait until that number is past ``prior``; the new number."""


class SwapWatch:
    """Waits for the accessor at each step that brings another scheduler.

    Args:
        emit: Takes events.
        accessor: Counts the schedulers that became readable.
    """

    def __init__(self, emit: Callable[[Event], object], accessor: Accessor) -> None:
        self.unseen = 0
        """Swaps that were not followed in time."""
        self._emit = emit
        self._accessor = accessor
        self._scheduler = NO_SCHEDULER
        self._seqno = _MEMORY_ONLY
        self._done = trio.Event()
        self._done.set()

    def drops(self) -> dict[str, int]:
        """Return the changes of the scheduler that were not followed in time."""
        return {"swaps-not-followed": self.unseen}

    @property
    def pending(self) -> bool:
        """Whether the scheduler of the step is not followed yet."""
        return not self._done.is_set()

    async def settled(self) -> None:
        """Wait until it is, or until nobody waits for it any more."""
        await self._done.wait()

    def step_began(self, step: str, scheduler: str, nursery: trio.Nursery) -> None:
        """A step begins under a scheduler; does not wait. One that begins during the wait for another shares it."""
        changed, self._scheduler = scheduler != self._scheduler, scheduler
        if self.pending:
            return
        if not changed or scheduler == NO_SCHEDULER:
            self._seqno = max(self._seqno, self._accessor.accessor_publish_seqno())
            return
        self._done = done = trio.Event()
        nursery.start_soon(self._follow, f"step {step}, scheduler {scheduler}", done)

    def publish_number(self) -> int:
        """How often a scheduler has become readable so far; for `replaced`."""
        return self._accessor.accessor_publish_seqno()

    def replaced(self, name: str, prior: int, nursery: trio.Nursery) -> None:
        """Another scheduler was attached within the step; does not wait.

        Args:
            name: What it is called.
            prior: What `publish_number` was before.
            nursery: Where it is waited for until the new one is followed.
        """
        self._seqno = max(self._seqno, prior)
        if not self.pending:
            self._done = done = trio.Event()
            nursery.start_soon(self._follow, f"replaced by {name}", done)

    async def _follow(self, label: str, done: trio.Event) -> None:
        deadline = trio.current_time() + SWAP_S
        try:
            self._seqno = await self._accessor.wait_for_accessor_publish_advance(self._seqno, deadline, label)
        except KtstrError as error:
            self.unseen += 1
            self._emit(Logged(severity="warning", source="swap", text=error.message))
        finally:
            done.set()
