"""What a screen or a command needs of a run, whether the run is live, far away or recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias

import msgspec

from ktstr_tui.model.commands import Reply, Request
from ktstr_tui.model.events import Event
from ktstr_tui.model.state import RunState

Connection: TypeAlias = Literal["connecting", "live", "gone", "replay", "ended", "still"]
OnEvents: TypeAlias = Callable[[list[Event]], None]
"""Called with each batch of events after it was folded, and with an empty list when the state was replaced or
the connection changed."""


class Source(Protocol):
    """One run to look at, under asyncio."""

    @property
    def state(self) -> RunState:
        """The state so far. Read it afresh each time: it is another object after a snapshot."""

    @property
    def connection(self) -> Connection:
        """How the run is seen right now."""

    @property
    def connection_reason(self) -> str:
        """Why, in words; empty when there is nothing to say."""

    @property
    def lag_ms(self) -> float | None:
        """How far what is seen lies behind the best it has been; None when unknown."""

    @property
    def controllable(self) -> bool:
        """Whether `command` can do anything."""

    @property
    def why_read_only(self) -> str:
        """Why it cannot; empty when it can."""

    async def run(self, on_events: OnEvents) -> None:
        """Follow the run until it has ended or this is cancelled."""

    async def command(self, request: Request) -> Reply:
        """Make a request; whatever goes wrong is in the reply."""

    def want_trace(self) -> None:
        """Have the blocks of the kernel's trace in the state from now on; a recording has them in any case."""

    def statistics(self) -> msgspec.Struct:
        """Counts so far, a frozen record."""
