"""Events of the control loop: its ticks, what its probes read, who asked for what, and what became of each action.

They are on the stream so that a recording holds what the loop decided and why, and so that folding it again decides
the same.
"""

from __future__ import annotations

from ktstr_tui.model.control import Action, ControlPhase, ControlPlan, Disposition, Outcome
from ktstr_tui.model.event_base import RunEvent
from ktstr_tui.model.signing import Proof, Refusal


class LoopStarted(RunEvent, frozen=True, tag="loop-started"):
    """The control loop began."""

    run_epoch_id: int
    """Random per start."""
    plan: ControlPlan


class Ticked(RunEvent, frozen=True, tag="tick"):
    """The control loop is about to decide; what its probes read for this tick stands before it."""

    tick: int
    """From 1."""
    now_ns: int
    """The one reading of the host's monotonic clock for this tick."""
    folded_seq: int
    """The newest event that the loop had taken before."""
    lost: tuple[tuple[int, int], ...] = ()
    """First and last number of the events since the tick before that its full queue refused."""
    frozen_ns: int = 0
    """How long the guest was stopped so far."""
    scenario_ns: int | None = None
    """On the scenario's own clock; None before it began and after its end."""
    state_crc: int = 0
    """CRC-32 of the loop's state before this tick, by which folding a recording again is checked."""


class ProbeRead(RunEvent, frozen=True, tag="probe"):
    """A probe of the control loop read something."""

    probe: str
    tick: int
    values: dict[str, float | None]
    """None for what could not be read."""


class ProbeFailed(RunEvent, frozen=True, tag="probe-failed"):
    """A probe of the control loop raised an error or did not answer in time; it is skipped, the others go on."""

    probe: str
    tick: int
    reason: str


class CommandDecided(RunEvent, frozen=True, tag="command"):
    """Somebody asked for something, and whether it is allowed: one entry of the audit, in short."""

    command_seq: int
    """Number of the entry in the audit."""
    operator: str
    request: str
    outcome: Outcome
    proof: Proof = "claimed"
    """How the operator's name is known."""
    refusal: Refusal | None = None
    """Why it was refused, for programs; None for what was not."""
    reason: str = ""
    chain_pending: bool = False
    """The entry is not in the file of the audit, because writing it failed."""
    wanted: Action | None = None
    """What the loop is to do when it is accepted; None for a request that only reads."""
    affected: str = ""
    """Hash of the dry run that was signed, which is compared once more before it is done; empty without one."""


class ActionAsked(RunEvent, frozen=True, tag="action-asked"):
    """A part of the run itself, such as the guest program, asks for an action."""

    command_seq: int
    """Below 0, so that it is no number of the audit."""
    by: str
    wanted: Action


class ActionChanged(RunEvent, frozen=True, tag="action"):
    """The loop decided on an action, or something became of one."""

    id: int
    action: Action
    disposition: Disposition
    reason: str = ""
    error: str = ""
    """The class of the error that it failed with."""
    command_seq: int | None = None


class HoldChanged(RunEvent, frozen=True, tag="hold"):
    """Automation is held, or is no longer."""

    held: bool
    by: str = ""
    until_ns: int = 0
    """Host monotonic time at which it ends by itself."""
    reason: str = ""


class RunPhaseChanged(RunEvent, frozen=True, tag="run-phase"):
    """The automation of the run went over to another phase."""

    phase: ControlPhase
    reason: str = ""


class BackpressureChanged(RunEvent, frozen=True, tag="backpressure"):
    """The executor fell behind, or has caught up."""

    on: bool
    depth: int
    """Actions that wait."""
