"""What the dispatch of frames asks the coordinator to do: one value for each thing, in the frames' order."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from ktstr_tui.wire.kernel_ops import KernelOpRequest
from ktstr_tui.wire.messages import (
    KernAddrs,
    Lifecycle,
    MsgType,
    ScenarioEnd,
    SnapshotRequest,
    Stimulus,
    WorkerReport,
)
from ktstr_tui.wire.scheduler_payloads import SchedReply
from ktstr_tui.wire.stimulus_payloads import StimulusApplied


class _Action(msgspec.Struct, frozen=True, tag=True):
    pass


class Kill(_Action, frozen=True):
    """The scheduler's process is gone. One for each SchedExit, so that wake-ups add up."""


class SchedulerExited(_Action, frozen=True):
    """Follows each `Kill`."""

    code: int | None
    """None when the frame's payload was not an exit code."""


class SystemReady(_Action, frozen=True):
    """The guest has set itself up. Comes once in the life of a dispatcher."""


class KernelAddresses(_Action, frozen=True):
    """Where the guest says that its kernel is: a claim, to be checked against memory."""

    addresses: KernAddrs


class SnapshotRequested(_Action, frozen=True):
    """The guest waits for a reply with this request's id, for up to 30 s."""

    request: SnapshotRequest


class Refuse(_Action, frozen=True):
    """Answer this request with status ERR, so that the guest need not wait for its timeout."""

    request_id: int
    reason: str


class KernelOpRequested(_Action, frozen=True):
    """The guest waits for a reply with this request's id, for up to 30 s."""

    request: KernelOpRequest


class RefuseKernelOp(_Action, frozen=True):
    """Answer this request with its failure, so that the guest need not wait for its timeout."""

    request_id: int
    reason: str


class SchedulerAnswered(_Action, frozen=True):
    """What became of a command about the scheduler."""

    reply: SchedReply


class StepChanged(_Action, frozen=True):
    """A step of the scenario begins."""

    stimulus: Stimulus


class StepEnded(_Action, frozen=True):
    """A step of the scenario ended."""

    stimulus: Stimulus


class StimulusTold(_Action, frozen=True):
    """An operation of a step was done, failed or was not reached."""

    applied: StimulusApplied


class ScenarioStarted(_Action, frozen=True):
    """The scenario's clock starts. Comes once in the life of a dispatcher."""


class ScenarioPaused(_Action, frozen=True):
    """The scenario's clock stops."""


class ScenarioResumed(_Action, frozen=True):
    """The scenario's clock runs again; its deadline moves by the length of the pause."""


class ScenarioEnded(_Action, frozen=True):
    """The scenario is through; the watchdog waits for the guest's exit from here on."""

    end: ScenarioEnd


class LifecycleSeen(_Action, frozen=True):
    """The guest program came to another phase."""

    lifecycle: Lifecycle


class Exited(_Action, frozen=True):
    """The scenario's exit code: the guest's last word."""

    code: int


class WorkersSeen(_Action, frozen=True):
    """How far each worker has come."""

    report: WorkerReport


class BeatsReceived(_Action, frozen=True):
    """Heartbeats, not decoded yet."""

    data: bytes


class Text(_Action, frozen=True):
    """Text of the guest, as it was: still to be made safe before it is shown."""

    kind: MsgType
    """Stdout, Stderr, SchedLog, Dmesg or Crash."""
    text: str
    """Characters that two chunks share come with the second."""


class UnknownType(_Action, frozen=True):
    """A type that nobody knows came for the first time. Told of the first few such types only."""

    msg_type: int


class VerdictsReady(_Action, frozen=True):
    """Last action of a batch that put entries into the bucket, and absent from one that did not."""

    count: int


Action: TypeAlias = (
    Kill
    | SchedulerExited
    | SystemReady
    | KernelAddresses
    | SnapshotRequested
    | Refuse
    | KernelOpRequested
    | RefuseKernelOp
    | SchedulerAnswered
    | StepChanged
    | StepEnded
    | StimulusTold
    | ScenarioStarted
    | ScenarioPaused
    | ScenarioResumed
    | ScenarioEnded
    | LifecycleSeen
    | Exited
    | WorkersSeen
    | BeatsReceived
    | Text
    | UnknownType
    | VerdictsReady
)
