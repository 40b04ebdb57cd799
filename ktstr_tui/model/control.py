"""What the control loop may do and what is known of it: pure values, shared by the loop, its executor and the screen.

Deciding and doing are apart. The loop decides once per tick and says so with a `PendingAction`; the executor carries it
out and says what became of it with a `Disposition`. Whatever has no answer yet is either deferred or in flight, so
that at any time ``emitted = done + failed + dropped + deferred + in flight``.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from ktstr_tui.model.commands import HITS_PER_S
from ktstr_tui.model.kinds import AlertKind, Trigger

Disposition: TypeAlias = Literal["emitted", "done", "failed", "deferred", "gated", "dropped"]
"""What became of an action; ``gated`` is one that the admit gate refused, which counts as dropped."""
Outcome: TypeAlias = Literal["accepted", "rejected", "unverified", "deferred"]
"""What the authority said of a command."""
LogLevel: TypeAlias = Literal["info", "warning", "error"]

ControlPhase: TypeAlias = Literal["active", "entering", "maintenance", "exiting", "recovery", "drain-failed"]
"""Of the automation of a run: at work; draining; drained; coming back; careful again; the drain took too long."""

SUCCESSORS: dict[ControlPhase, frozenset[ControlPhase]] = {
    "active": frozenset({"entering"}),
    "entering": frozenset({"maintenance", "drain-failed", "exiting"}),
    "maintenance": frozenset({"exiting"}),
    "exiting": frozenset({"recovery"}),
    "recovery": frozenset({"active", "entering"}),
    "drain-failed": frozenset({"entering", "exiting"}),
}
"""Which phase may follow which. The same phase again is no change and is always allowed."""


def may_follow(before: ControlPhase, after: ControlPhase) -> bool:
    """Whether a run in one phase may go over to another."""
    return before == after or after in SUCCESSORS[before]


class _Action(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", omit_defaults=True):
    """Base of all actions."""

    @property
    def kind(self) -> str:
        """The tag."""
        return str(type(self).__struct_config__.tag)


class AttachScheduler(_Action, frozen=True, tag="attach"):
    """Load a scheduler and attach it."""

    name: str


class DetachScheduler(_Action, frozen=True, tag="detach"):
    """Take the loaded scheduler away."""

    name: str = ""


class ReplaceScheduler(_Action, frozen=True, tag="replace"):
    """Load a new object in place of the scheduler that runs."""

    name: str
    path: str
    """Of the object on the backend's host."""
    digest: str = ""
    """SHA-256 of the object, in hex."""
    target: str = ""
    """The scheduler of the scenario that it replaces; empty for that of the current step."""


class RestartGuest(_Action, frozen=True, tag="restart-guest"):
    """Boot the guest again."""

    reason: str


class BuildScheduler(_Action, frozen=True, tag="build"):
    """Build the scheduler on the host and load it into the running guest."""

    cancel: bool = False
    """Give up the build that is in progress instead."""


class ArmWatch(_Action, frozen=True, tag="watch-arm"):
    """Watch what an expression points to."""

    expression: str
    length_bytes: int = 4
    once: bool = False
    capture: bool = False
    budget_per_s: int = HITS_PER_S


class DisarmWatch(_Action, frozen=True, tag="watch-disarm"):
    """Take a watch away."""

    slot: int


class ResumeWatch(_Action, frozen=True, tag="watch-resume"):
    """Set a paused watch again."""

    slot: int


class TakeCapture(_Action, frozen=True, tag="capture"):
    """Stop the guest for an instant and capture its state."""

    trigger: Trigger
    detail: str = ""
    tag: str | None = None
    index: int | None = None
    """Which of the periodic captures, from 0."""
    due_ms: float | None = None
    """When it was due on the scenario's clock."""
    memory: bool = False
    """Whether the guest's memory is kept too."""


class FreezeGuest(_Action, frozen=True, tag="freeze"):
    """Stop the guest until it is thawed."""

    reason: str
    viewer: str = ""
    """Topic of the viewer without whom it is thawed; empty for none."""


class ThawGuest(_Action, frozen=True, tag="thaw"):
    """Let a frozen guest run again."""

    reason: str


class OpenDebugger(_Action, frozen=True, tag="debugger-open"):
    """Wait for a debugger at a socket."""

    who: str
    port: int | None = None
    """TCP port on the loopback interface; None for the socket of the run."""


class CloseDebugger(_Action, frozen=True, tag="debugger-close"):
    """Remove the debugger."""

    reason: str


class AdjustSampling(_Action, frozen=True, tag="sampling"):
    """Sample at another rate."""

    hz: float


class ApplyBackoff(_Action, frozen=True, tag="back-off"):
    """Leave a scheduler alone for a while because it crashed."""

    name: str
    until_ns: int
    """Host monotonic time before which it is not attached again."""
    crashes: int
    """Within the last minute."""
    held: bool = False
    """It crashed so often that it is left alone until somebody looks at it."""
    reason: str = ""


class ResetBackoff(_Action, frozen=True, tag="back-off-reset"):
    """Forget the crashes of a scheduler that has been stable, or that somebody restarted."""

    name: str


class RaiseAlert(_Action, frozen=True, tag="alert"):
    """Say that something needs a look."""

    key: str
    alert: AlertKind
    text: str


class ClearAlert(_Action, frozen=True, tag="alert-clear"):
    """Say that it is over."""

    key: str
    alert: AlertKind


class BeginDrain(_Action, frozen=True, tag="drain"):
    """Let what is in flight come to an end and begin nothing new."""

    deadline_ns: int
    """Host monotonic time by which that must be over."""


class EndDrain(_Action, frozen=True, tag="drain-end"):
    """Take automation up again after a drain."""

    reason: str = ""


class StopRun(_Action, frozen=True, tag="stop"):
    """End the run."""

    reason: str
    out_of_time: bool = False


class RunKernelWrite(_Action, frozen=True, tag="kernel-write"):
    """Read or write memory of the guest's kernel."""

    op: dict[str, Any]
    """A `ktstr_tui.wire.kernel_ops.KernelOp` as plain values."""
    who: str

    @property
    def kind(self) -> str:
        """What it is called: an operation that reads is no write."""
        return "kernel-read" if self.op.get("direction") == "read" else "kernel-write"


Action: TypeAlias = (
    AttachScheduler
    | DetachScheduler
    | ReplaceScheduler
    | RestartGuest
    | BuildScheduler
    | ArmWatch
    | DisarmWatch
    | ResumeWatch
    | TakeCapture
    | FreezeGuest
    | ThawGuest
    | OpenDebugger
    | CloseDebugger
    | AdjustSampling
    | ApplyBackoff
    | ResetBackoff
    | RaiseAlert
    | ClearAlert
    | BeginDrain
    | EndDrain
    | StopRun
    | RunKernelWrite
)


class PendingAction(msgspec.Struct, frozen=True, kw_only=True):
    """An action that the loop decided on."""

    id: int
    """From 1, without gaps."""
    action: Action
    emitted_at_ns: int
    """The tick's time, never a fresh reading."""
    command_seq: int | None = None
    """Who waits for the result: the number of the command, below 0 of what was asked from within; None for nobody."""
    by: str = ""
    """Who asked; empty for the loop itself."""
    affected: str = ""
    """Hash of what it may affect; if it would affect something else when its turn comes, it is not done."""


class ControlPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run was started with, as far as the loop decides by it."""

    name: str
    """Of the run."""
    duration_s: float | None = None
    """After which it ends; time in which the guest stood does not count. None for no limit."""
    freeze_limit_s: float | None = None
    """After which a frozen guest without viewers is thawed; None for no limit."""
    periodic: int = 0
    """Captures that are wanted at even distances."""
    scenario_ms: float = 0.0
    """How long the scenario takes as planned."""
    early: bool = False
    """Whether early captures are taken."""
    sample_hz: float = 0.0
    keep_attached: bool = False
    """Whether a scheduler that was ejected is attached again, with the back-off of a crash loop."""


class FailureRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the loop or its executor could not do."""

    seq: int
    """From 1."""
    source: str
    """The kind of the action, or the name of the probe."""
    reason: str
    recorded_at_ns: int
    action_id: int | None = None
    chain_pending: bool = False
    """It is not in the file, because writing it failed."""


class LogRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the loop's own log."""

    seq: int
    """From 1."""
    at_ns: int
    level: LogLevel
    message: str
    chain_pending: bool = False


class HoldState(msgspec.Struct, frozen=True, kw_only=True):
    """A hold on automation."""

    by: str
    until_ns: int
    reason: str = ""
    since_ns: int = 0


class BackoffState(msgspec.Struct, frozen=True, kw_only=True):
    """A scheduler that is left alone because it crashed."""

    until_ns: int
    crashes: int
    held: bool = False
    reason: str = ""


class ActionCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of all actions so far; ``emitted`` is the sum of the others."""

    emitted: int = 0
    done: int = 0
    failed: int = 0
    dropped: int = 0
    deferred: int = 0
    """Waiting for their next try."""
    in_flight: int = 0
    """Handed to the executor and neither done, given up nor deferred."""


class ControlSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the loop after a tick; immutable, shared by all readers."""

    run_epoch_id: int
    """Random per start; a reader that sees another one resets what it has seen."""
    tick: int = 0
    now_ns: int = 0
    """The tick's time, on which every other time here is anchored."""
    folded_seq: int = 0
    """The newest event that is in it."""
    phase: ControlPhase = "active"
    hold: HoldState | None = None
    backoffs: dict[str, BackoffState] = {}
    probes: dict[str, dict[str, float | None]] = {}
    """The newest values of each probe."""
    broken_probes: dict[str, str] = {}
    """Why a probe has no fresh values."""
    in_flight: tuple[PendingAction, ...] = ()
    recent: tuple[PendingAction, ...] = ()
    """The newest actions that went to the executor, oldest first; not what is in flight."""
    counts: ActionCounts = ActionCounts()
    failures: tuple[FailureRecord, ...] = ()
    log: tuple[LogRecord, ...] = ()
    backpressure: bool = False
    """The executor is behind."""
