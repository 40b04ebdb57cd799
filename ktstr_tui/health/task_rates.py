"""Follows the kernel's trace, its list of tasks and the scheduler's variables while the guest runs, once a second.

Reading and counting take their time in a thread of their own, as much as there are events. A frozen guest writes none,
so its trace is not looked at; its tasks and variables are, once, so that what is shown is the moment of the freeze.
When a look takes longer than its period, the next one simply comes later and covers more.

In a run with a seed a second is one of the guest's, and the machine is held until the look is done: so nothing that is
read is torn, and two runs of a seed read the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from ktstr_tui.guest.guest_time import sleep_or
from ktstr_tui.model.events import Event, TasksMeasured, TraceRead
from ktstr_tui.model.rates import TaskRates
from ktstr_tui.model.trace_block import TraceBlock

PERIOD_S: Final = 1.0


class TaskRatesLoop:
    """Looks until it is stopped or cancelled.

    Args:
        look: Reads what is new of the trace; called in a thread. None where there is no trace.
        emit: Takes events, on the trio thread.
        frozen: Whether the guest is frozen.
        lists: What else is read, each of it called in a thread; None when there is nothing new.
        block: Returns what the newest look has read.
        sleep: Waits, in seconds of the run's time.
    """

    def __init__(
        self,
        look: Callable[[], TaskRates] | None,
        emit: Callable[[Event], object],
        frozen: Callable[[], object],
        lists: Sequence[Callable[[], Event | None]] = (),
        block: Callable[[], TraceBlock | None] | None = None,
        sleep: Callable[[float], Awaitable[None]] = trio.sleep,
    ) -> None:
        self._sleep = sleep
        self._look, self._emit, self._frozen, self._lists, self._block = look, emit, frozen, lists, block
        self._stopped = trio.Event()
        self._quiet = self._seen_frozen = False
        self._left_out = 0

    def stop(self) -> None:
        """Look no more: the guest is ended."""
        self._stopped.set()

    async def run(self) -> None:
        """Look once a second."""
        while not self._stopped.is_set():
            await sleep_or(self._stopped, self._sleep, PERIOD_S)
            if self._stopped.is_set():
                return
            frozen = bool(self._frozen())
            if not frozen and self._look is not None:
                await self._measure(self._look)
            for read in () if frozen and self._seen_frozen else self._lists:
                listed = await trio.to_thread.run_sync(read)
                if listed is not None and not self._stopped.is_set():
                    self._emit(listed)
            self._seen_frozen = frozen

    async def _measure(self, look: Callable[[], TaskRates]) -> None:
        rates = await trio.to_thread.run_sync(look)
        # Nothing is said once, not again and again.
        empty = rates.unavailable is not None or not (rates.events or rates.tasks)
        if not (empty and self._quiet) and not self._stopped.is_set():
            self._emit(TasksMeasured(rates=rates))
        self._quiet = empty
        block = None if self._block is None else self._block()
        if block is not None and (block.events or block.lost) and not self._stopped.is_set():
            self._left_out += block.left_out
            self._emit(TraceRead(block=block))

    def drops(self) -> dict[str, int]:
        """Return the events of the trace that were read and were too many for a block."""
        return {"events-left-out": self._left_out}
