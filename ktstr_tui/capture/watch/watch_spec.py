"""What a user's watchpoint is: what was asked for, what became of it, and what it needs from the rooms around."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import msgspec

from ktstr_tui.capture.bridge import MAX_WATCH_SNAPSHOTS
from ktstr_tui.capture.stop.requests import Request
from ktstr_tui.guest.engine import CALLS_HINT, WatchLimits
from ktstr_tui.kernel.expressions import Location, check_address
from ktstr_tui.kernel.functions import Function
from ktstr_tui.kernel.memory import MemoryReadError
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.model.budget import HitBudget
from ktstr_tui.model.commands import HITS_PER_S
from ktstr_tui.model.errors import KtstrError, UsageError
from ktstr_tui.model.events import WatchpointChanged, WatchpointHit
from ktstr_tui.model.report import RunningTask, Stack

SLOTS = range(1, 1 + MAX_WATCH_SNAPSHOTS)
MORE_SLOTS = range(SLOTS.stop + 1, 1001)
"""Those of an engine without a limit; the one between is the row of what has no slot."""
MAX_HITS_PER_S = 1000
LENGTHS_BYTES = (4, 8)
MAX_LENGTH_BYTES = 4096
"""Of a watch of an engine without a limit."""
VALUE_BYTES = 8
"""How much of a longer range a hit shows."""
CALL = "call:"
"""What a function's name is preceded by when its calls are watched."""
NOT_TYPED = "the kernel's BTF is not loaded yet"

State: TypeAlias = Literal["pending", "armed", "paused", "failed", "removed"]
CaptureHit: TypeAlias = Callable[[str, str | None], Awaitable[str | None]]
"""Captures the stopped guest (detail, tag); returns the tag, or None when too many captures wait."""


class WatchSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asks for."""

    expression: str
    length_bytes: int = 4
    once: bool = False
    """Remove the watch after its first hit."""
    capture: bool = False
    """Make a capture at each hit."""
    tag: str | None = None
    """Name of those captures; made up when None."""
    budget_per_s: int = HITS_PER_S

    @property
    def function(self) -> str | None:
        """The function whose calls are to be watched; None for writes to memory."""
        return self.expression.removeprefix(CALL).strip() if self.expression.startswith(CALL) else None

    def check(self, limits: WatchLimits) -> None:
        """Refuse what no watch can have.

        Args:
            limits: Of the engine.

        Raises:
            UsageError: A length or a budget that no watch can have, or calls, which this engine does not see.
        """
        if self.function is not None and not limits.unlimited:
            raise UsageError("calls of functions cannot be watched in this run", CALLS_HINT)
        if limits.unlimited:
            if not 1 <= self.length_bytes <= MAX_LENGTH_BYTES:
                raise UsageError(f"a watch covers 1 to {MAX_LENGTH_BYTES} bytes, not {self.length_bytes}")
        elif self.length_bytes not in LENGTHS_BYTES:
            raise UsageError(
                f"a watch covers 4 or 8 bytes, not {self.length_bytes}", "any in a run with a seed"
            )
        if not 1 <= self.budget_per_s <= MAX_HITS_PER_S:
            raise UsageError(f"a budget of {self.budget_per_s} hits a second", f"use 1 to {MAX_HITS_PER_S}")


class WatchesStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of the user's watches since the start."""

    slots_taken: int
    armed: int
    hits: int
    unchanged: int
    """Hits that wrote what was there before."""
    swallowed: int
    """Writes found at a stop that was made for something else; they are hits too."""
    pauses: int
    moves: int
    """Times a watch followed its pointers to another address."""
    refused: int
    """Watches that could not be set."""
    read_failures: int
    """Values or registers that could not be read at a hit."""
    calls_untold: int
    """Calls of watched functions that came too often to be told."""
    captures_skipped: int
    """Captures left out because too many waited to be finished."""


class Writer(Protocol):
    """What was copied of who wrote."""

    def render(self, view: KernelView) -> tuple[RunningTask | None, Stack | None]:
        """Task and stack; called when the guest runs again."""
        ...


class CopyWriter(Protocol):
    """Copies the task and the stack of a vCPU of the stopped guest."""

    def __call__(self, view: KernelView, cpu: int, registers: Mapping[str, int]) -> Writer:
        """Copy; the result says what could not be read."""
        ...


@dataclass(eq=False, slots=True)
class Watch:
    """One slot's watch."""

    slot: int
    spec: WatchSpec
    budget: HitBudget
    released: Callable[[], None] | None = None
    """Called when the slot is given back."""
    state: State = "pending"
    detail: str = NOT_TYPED
    location: Location | None = None
    """Where the expression points; None until it is compiled."""
    function: Function | None = None
    """Whose calls are watched; None until it is found, and for writes."""
    any_place: bool = False
    """Whether the address may be any, aligned or not."""
    untold: int = 0
    """Calls since the last hit that came too often to be told."""
    address: int | None = None
    """Where the stub has it; None while it is not armed."""
    value: int | None = None
    """What was there the last time; None when that could not be read."""
    settled: Request | None = None
    """The request that arms it first."""
    error: KtstrError | None = None
    """Why it failed."""
    stops_ns: deque[int] = field(default_factory=lambda: deque(maxlen=MAX_HITS_PER_S))
    """When the stops of its newest hits began."""

    def release(self) -> None:
        """Give the slot back to whoever reserved it, once."""
        released, self.released = self.released, None
        if released is not None:
            released()

    def refill(self) -> None:
        """Forget all hits: the budget is whole again."""
        self.budget.refill()
        self.stops_ns.clear()

    def read(self, view: KernelView) -> int | None:
        """The value now: of the whole object where its type is known, else of the watched bytes."""
        if self.address is None:
            return None
        if self.function is not None:
            return None
        size = min((self.location and self.location.size_bytes) or self.spec.length_bytes, VALUE_BYTES)
        try:
            return int.from_bytes(view.fresh_space().read(self.address, size), "little")
        except MemoryReadError:
            return None

    def locate(self, view: KernelView) -> int:
        """Where the expression points now.

        Raises:
            NullPointer: A pointer on the way is NULL.
            MemoryReadError: A pointer on the way leads nowhere.
            ExpressionError: What is there cannot be watched.
        """
        if self.function is not None:
            return self.function.address
        if self.location is None:
            raise MemoryReadError(NOT_TYPED, 0)
        address = self.location.address(view.fresh_space())
        check_address(address, 1 if self.any_place else self.spec.length_bytes)
        return address

    @property
    def found(self) -> bool:
        """Whether it is known what the expression means."""
        return self.location is not None or self.function is not None

    @property
    def moves(self) -> bool:
        """Whether the place depends on pointers in memory."""
        return self.location is not None and self.location.moves

    def tells(self, now_ns: int) -> bool:
        """Count a call; whether it is to be told, or came too often."""
        tell = self.budget.spend(now_ns)
        self.untold += not tell
        return tell

    def fail(self, error: KtstrError) -> WatchpointChanged:
        """It can never be armed; returns the event that says so."""
        hint = f"; {error.hint}" if error.hint else ""
        self.error = error
        self.state, self.detail = "failed", error.message + hint
        return self.changed()

    def changed(self) -> WatchpointChanged:
        """Return the event that reports its state."""
        return WatchpointChanged(
            slot=self.slot,
            expression=self.spec.expression,
            address=self.address,
            state=self.state,
            detail=self.detail,
            length_bytes=self.spec.length_bytes,
            once=self.spec.once,
            capture=self.spec.capture,
            budget_per_s=self.spec.budget_per_s,
        )


@dataclass(slots=True)
class RawHit:
    """A hit between the stop and its event."""

    event: WatchpointHit
    writer: Writer | None
    view: KernelView

    def render(self) -> WatchpointHit:
        """The event, with the writer's name and stack; call it when the guest runs again."""
        if self.writer is None:
            return self.event
        try:
            task, stack = self.writer.render(self.view)
        except Exception as error:
            stack = Stack((), f"unwinding failed: {type(error).__name__}: {error}")
            return msgspec.structs.replace(self.event, stack=stack)
        return msgspec.structs.replace(self.event, writer=task, stack=stack)
