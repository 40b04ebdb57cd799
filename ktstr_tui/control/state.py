"""What the control loop knows: folded from the same events as everything else, and small, because it decides often.

It holds plain values only and no clock. Whatever time it needs is that of the newest tick or of an event, so that
folding a recording again gives the same bytes.
"""

from __future__ import annotations

import zlib

import msgspec

from ktstr_tui.model.control import Action, ControlPhase, ControlPlan, HoldState, PendingAction

_ENCODER = msgspec.msgpack.Encoder()


class Want(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody asked for and was allowed."""

    command_seq: int
    by: str
    action: Action
    affected: str = ""
    """Hash of what it may affect; empty when that does not matter."""


class GuestFacts(msgspec.Struct, kw_only=True):
    """The machine as it was seen."""

    ready_ns: int | None = None
    ready_frozen_ns: int = 0
    """How long it had stood when it was up."""
    typed: bool = False
    over: bool = False
    """The run has ended."""
    frozen: str | None = None
    frozen_since_ns: int = 0
    frozen_for: str = ""
    """Topic of the viewer without whom it is thawed; empty for none."""
    freezer_gone: bool = False
    """That viewer is not there."""
    in_debugger: bool = False
    """A debugger holds the guest."""
    attended_ns: int = 0
    """When a viewer was there last."""
    viewers: int = 0


class LoadFacts(msgspec.Struct, kw_only=True):
    """The scheduler that is being loaded."""

    name: str = ""
    """Empty for none."""
    since_ns: int = 0
    idle_ns: int = 0
    """How long the guest had stood when it began; how long the host stood since is taken off it."""
    enabling: bool = False
    line: str = ""
    """The last of its log."""
    partial: str = ""


class EarlyFacts(msgspec.Struct, kw_only=True):
    """The early capture of the loaded scheduler."""

    scheduler: str | None = None
    enable_seq: int | None = None
    threshold_ms: float | None = None
    asked: bool = False
    due: str = ""
    """Why it is due; empty while it is not."""
    sub: str | None = None
    """Cgroup of the sub-scheduler whose task it is about; None for the loaded one's. The next one has its own."""


class PeriodicFacts(msgspec.Struct, kw_only=True):
    """The periodic captures."""

    due_ms: list[float] = []
    next: int = 0
    timeouts: int = 0
    """In a row."""
    closed: bool = False
    """No more are taken."""


class SchedulerFacts(msgspec.Struct, kw_only=True):
    """A scheduler that crashed, and when."""

    crashes: list[int] = []
    """Host monotonic times within the last minute, oldest first."""
    delay_ns: int = 0
    """The newest back-off; 0 for none."""
    until_ns: int = 0
    held: bool = False
    told_ns: int | None = None
    """The ``until_ns`` that was told last."""
    attached_ns: int | None = None
    """Since when it is attached; None while it is not."""


class LoopState(msgspec.Struct, kw_only=True):
    """Everything that decisions rest on."""

    run_epoch_id: int = 0
    plan: ControlPlan = ControlPlan(name="")
    folded_seq: int = 0
    tick: int = 0
    now_ns: int = 0
    frozen_ns: int = 0
    scenario_ns: int | None = None
    next_id: int = 1

    guest: GuestFacts = msgspec.field(default_factory=GuestFacts)
    load: LoadFacts = msgspec.field(default_factory=LoadFacts)
    early: EarlyFacts = msgspec.field(default_factory=EarlyFacts)
    periodic: PeriodicFacts = msgspec.field(default_factory=PeriodicFacts)
    schedulers: dict[str, SchedulerFacts] = {}
    loaded: str = ""
    """The scheduler that is to be attached."""

    wants: dict[int, Want] = {}
    """By the number of the command."""
    stop: Want | None = None
    """The end of the run that somebody wants."""
    drained_in_vain: bool = False
    """The run does not end after all."""
    stopping: bool = False
    in_flight: dict[int, PendingAction] = {}
    cooldown: dict[str, int] = {}
    """By kind of action, before when the loop does not decide on it again by itself."""

    phase: ControlPhase = "active"
    phase_ns: int = 0
    drain_deadline_ns: int = 0
    hold: HoldState | None = None
    alerts: dict[str, str] = {}
    """Text of each alert that stands, by key."""
    sampling_hz: float | None = None
    """The rate that was asked for last; None for that of the plan."""
    backpressure: bool = False

    probes: dict[str, dict[str, float | None]] = {}
    broken_probes: dict[str, str] = {}

    @property
    def held(self) -> bool:
        """Whether automation is held."""
        return self.hold is not None

    def encode(self) -> bytes:
        """The state as bytes, the same for the same state."""
        return _ENCODER.encode(self)

    def crc(self) -> int:
        """CRC-32 of `encode`."""
        return zlib.crc32(self.encode())
