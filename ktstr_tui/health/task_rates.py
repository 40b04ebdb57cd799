"""Follows the kernel's trace while the guest runs, once a second.

Reading and counting take their time in a thread of their own, as much as there are events. A frozen guest writes none,
so it is not looked at. When a look takes longer than its period, the next one simply comes later and covers more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from ktstr_tui.model.events import Event, TasksMeasured
from ktstr_tui.model.rates import TaskRates

PERIOD_S: Final = 1.0


class TaskRatesLoop:
    """Looks until it is stopped or cancelled.

    Args:
        look: Reads what is new; called in a thread.
        emit: Takes events, on the trio thread.
        frozen: Whether the guest is frozen.
    """

    def __init__(
        self, look: Callable[[], TaskRates], emit: Callable[[Event], object], frozen: Callable[[], object]
    ) -> None:
        self._look, self._emit, self._frozen = look, emit, frozen
        self._stopped = trio.Event()
        self._quiet = False

    def stop(self) -> None:
        """Look no more: the guest is ended."""
        self._stopped.set()

    async def run(self) -> None:
        """Look once a second."""
        while not self._stopped.is_set():
            with trio.move_on_after(PERIOD_S):
                await self._stopped.wait()
            if self._stopped.is_set() or self._frozen():
                continue
            rates = await trio.to_thread.run_sync(self._look)
            # Nothing is said once, not again and again.
            empty = rates.unavailable is not None or not (rates.events or rates.tasks)
            if not (empty and self._quiet) and not self._stopped.is_set():
                self._emit(TasksMeasured(rates=rates))
            self._quiet = empty
