"""One instant as a `Source`: nothing comes after it, and nothing can be asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec

from ktstr_tui.link.source import Connection, OnEvents
from ktstr_tui.model.commands import Reply, Request, failed_reply
from ktstr_tui.model.errors import UsageError
from ktstr_tui.model.events import Event
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import RunState


class StillStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What was folded."""

    folded: int


class Still:
    """Shows the state after some events.

    Args:
        events: What is known of the instant.
        what: Which instant of what it is, a sentence.
        how_on: What to do to go on from there, for whoever asks for something.
    """

    connection: Connection = "still"
    lag_ms: float | None = None
    controllable = False

    def __init__(self, events: Iterable[Event], what: str, how_on: str) -> None:
        self.connection_reason = what
        self.why_read_only = f"this is one instant, and nothing follows; {how_on}"
        self.state = RunState()
        for event in events:
            fold(self.state, event)

    async def run(self, on_events: OnEvents) -> None:
        """Show it until cancelled."""
        on_events([])
        await asyncio.Event().wait()

    async def command(self, request: Request) -> Reply:
        """Always refused."""
        return failed_reply(0, UsageError(f"{request.name} is not possible: {self.why_read_only}"))

    def want_trace(self) -> None:
        """Do nothing: nothing comes."""

    def statistics(self) -> StillStatistics:
        """Counts."""
        return StillStatistics(folded=self.state.seq)
