"""What a screen needs of the control loop: a small, bounded part of the state of a run."""

from __future__ import annotations

import msgspec

from ktstr_tui.model.control import BackoffState, ControlPhase, HoldState, Outcome

MAX_NAMES = 16
"""Probes and schedulers that are known by name."""
MAX_KEPT = 32
"""Of the newest decisions and failures."""
MAX_OPEN = 64
"""Actions without an end that are named; those beyond are only counted."""


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """One decision of the authority, for the list."""

    mono_ns: int
    command_seq: int
    operator: str
    request: str
    outcome: Outcome
    reason: str = ""
    chain_pending: bool = False


class ActionFailed(msgspec.Struct, frozen=True, kw_only=True):
    """An action that failed or was given up, for the list."""

    mono_ns: int
    id: int
    kind: str
    disposition: str
    reason: str


class ControlState(msgspec.Struct, frozen=True, kw_only=True):
    """The control loop as it is shown. Replaced as a whole by the fold."""

    run_epoch_id: int | None = None
    """None before the loop began."""
    ticks: int = 0
    tick_ns: int = 0
    """The newest tick's time."""
    events_lost: int = 0
    """Events that the loop's full queue refused."""
    phase: ControlPhase = "active"
    phase_reason: str = ""
    hold: HoldState | None = None
    backoffs: dict[str, BackoffState] = {}
    backpressure: bool = False
    counts: dict[str, int] = {}
    """Actions by what became of them; ``deferred`` counts each time."""
    open: dict[int, str] = {}
    """Kind of each action without an end, by its number."""
    probes: dict[str, dict[str, float | None]] = {}
    broken_probes: dict[str, str] = {}
    failures: tuple[ActionFailed, ...] = ()
    decisions: tuple[Decided, ...] = ()
    refused: int = 0
    """Commands that were refused."""
