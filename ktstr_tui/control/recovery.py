"""Recovery handlers: what is put right on a tick before the loop decides, so that it decides on what is right already.

A handler reports what it did as values, which go the way of a probe's: into the state, onto the stream, into a
recording. One that raises or hangs is skipped and said, like a probe.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from ktstr_tui.control.probes import Values, read_one
from ktstr_tui.model import events as ev

Handler: TypeAlias = Callable[[], Awaitable[Values | None]]
"""Puts something right; None when there was nothing to do."""
ANSWER_S = 0.05


class Recovery:
    """The handlers, in the order of registration.

    Args:
        answer_s: How long one may take.
    """

    def __init__(self, answer_s: float = ANSWER_S) -> None:
        self._answer_s = answer_s
        self._handlers: dict[str, Handler] = {}
        self._failed = 0

    def register(self, name: str, handler: Handler) -> None:
        """Run one more at every tick; the same name replaces the handler of that name."""
        self._handlers[name] = handler

    def remove(self, name: str) -> None:
        """Run it no longer."""
        self._handlers.pop(name, None)

    def drops(self) -> dict[str, int]:
        """Return the handlers' failures."""
        return {"recoveries-failed": self._failed}

    async def run(self, tick: int) -> list[ev.ProbeRead | ev.ProbeFailed]:
        """Run all of them."""
        found: list[ev.ProbeRead | ev.ProbeFailed] = []
        for name, handler in tuple(self._handlers.items()):
            idle = False

            async def read(handler: Handler = handler) -> Values:
                nonlocal idle
                values = await handler()
                idle = values is None
                return values or {}

            event = await read_one(f"recovery: {name}", read, tick, self._answer_s)
            self._failed += isinstance(event, ev.ProbeFailed)
            if not idle:
                found.append(event)
        return found
