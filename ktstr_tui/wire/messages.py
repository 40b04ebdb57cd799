"""The message types of the bulk port.

A type is four ASCII letters read as a big-endian number, so the number's hex spells the tag. The list is the
one of ``native/frames/ktstr_frames.h``, where the C side has it; a test compares the two. Payloads are in
`ktstr_tui.wire.payloads`, and importable from here as well; those that change the scheduler are in
`ktstr_tui.wire.scheduler_payloads`, and what became of an operation in `ktstr_tui.wire.stimulus_payloads`.
"""

from __future__ import annotations

import enum
from typing import Final

from ktstr_tui.wire.payloads import (
    SNAPSHOT_TAG_MAX,
    Beats,
    ExitCode,
    KernAddrs,
    Lifecycle,
    LifecyclePhase,
    PayloadError,
    ScenarioEnd,
    SnapshotKind,
    SnapshotReply,
    SnapshotRequest,
    SnapshotStatus,
    Stimulus,
    WorkerReport,
    WorkerSample,
    decode_text,
    encode_text,
)

__all__ = [
    "SNAPSHOT_TAG_MAX",
    "Beats",
    "Direction",
    "ExitCode",
    "KernAddrs",
    "Lifecycle",
    "LifecyclePhase",
    "MsgType",
    "PayloadError",
    "ScenarioEnd",
    "SnapshotKind",
    "SnapshotReply",
    "SnapshotRequest",
    "SnapshotStatus",
    "Stimulus",
    "WorkerReport",
    "WorkerSample",
    "decode_text",
    "encode_text",
]


class Direction(enum.IntEnum):
    """Who may send a message."""

    GUEST_TO_HOST = 0
    HOST_TO_GUEST = 1


class MsgType(enum.IntEnum):
    """Every known message type, by its name in the protocol."""

    Stimulus = 0x5354494D
    """A step of the scenario begins; `Stimulus`."""
    StepEnd = 0x5354454E
    """A step ended; the same body."""
    ScenarioStart = 0x53435354
    """Empty. Starts the scenario's clock."""
    ScenarioPause = 0x53435050
    """Empty. The scenario's clock stops."""
    ScenarioResume = 0x53435252
    """Empty. The deadline moves by the length of the pause."""
    ScenarioEnd = 0x5343454E
    """`ScenarioEnd`, in either of its forms."""
    Exit = 0x45584954
    """`ExitCode` of the scenario: the guest's last word."""
    TestResult = 0x54455354
    """JSON."""
    SchedExit = 0x53434458
    """`ExitCode` of the scheduler's process."""
    Crash = 0x43525348
    """Text. Reserved: crashes are reported on the second serial port, which cannot block."""
    PayloadMetrics = 0x504D4554
    """JSON."""
    RawPayloadOutput = 0x5241574F
    """Output of a payload, as it was."""
    Profraw = 0x50524157
    """A coverage blob."""
    WprofTrace = 0x57505246
    """A trace."""
    Stdout = 0x534F5554
    """A chunk of text; chunks are concatenated in order and may split a character."""
    Stderr = 0x53455252
    """As `Stdout`."""
    SchedLog = 0x53434C47
    """As `Stdout`, from the scheduler's loader: delimiters and the verifier's text."""
    Lifecycle = 0x4C494645
    """`Lifecycle`."""
    ExecExit = 0x45584358
    """`ExitCode` of a program that was run for the user."""
    Dmesg = 0x444D5347
    """Text of the kernel log, sent when the guest's start failed."""
    ProbeOutput = 0x50524F42
    """JSON."""
    SysRdy = 0x53524459
    """Empty. Mounts are done, per-CPU areas and KASLR are settled."""
    KernAddrs = 0x4B414452
    """`KernAddrs`, sent before `SysRdy`."""
    SnapshotRequest = 0x534E5251
    """`SnapshotRequest`."""
    SnapshotReply = 0x534E5250
    """`SnapshotReply`, from the host only."""
    KernelOpRequest = 0x4B4F5251
    """A read or write of kernel memory, asked for by the guest."""
    KernelOpReply = 0x4B4F5250
    """Its answer, from the host only."""
    AccessorReady = 0x41435244
    """Ours. Empty, from the host: kernel memory is typed and slot 0 armed. The guest waits for it up to 5 s
    after `SysRdy`, so that no scheduler comes and goes unseen."""
    Shutdown = 0x5348444E
    """Ours. Empty, from the host: end the scenario and power off. Also the answer to `Exit`: everything up to it was
    read, and the guest may go. Without it the guest waits 3 s, because what a port still holds then is lost."""
    WorkerReport = 0x57524B52
    """Ours. `WorkerReport`, about once a second."""
    Beats = 0x42454154
    """Ours. `Beats`: heartbeats of the workers and of the guest program, about ten times a second."""
    SchedUpload = 0x5355504C
    """Ours. `SchedUpload`, from the host only: a BPF object for the running guest follows."""
    SchedChunk = 0x5343484B
    """Ours. `SchedChunk`, from the host only: a piece of it."""
    SchedCommand = 0x53434D44
    """Ours. `SchedCommand`, from the host only: attach, detach or replace the scheduler."""
    SchedReply = 0x5352504C
    """Ours. `SchedReply`: what became of it."""
    StimulusApplied = 0x53544150
    """Ours. `StimulusApplied`: what became of an operation of a step."""

    @classmethod
    def from_wire(cls, value: int) -> MsgType | None:
        """Return the type with this number; None when it is not known."""
        return _BY_VALUE.get(value)

    @property
    def tag(self) -> str:
        """The four letters."""
        return self.value.to_bytes(4, "big").decode("ascii")

    @property
    def direction(self) -> Direction:
        """Who may send it."""
        return Direction.HOST_TO_GUEST if self in _HOST_TO_GUEST else Direction.GUEST_TO_HOST

    @property
    def is_coordinator_internal(self) -> bool:
        """Whether it is between guest and coordinator only, and never an entry for the verdict."""
        return self in _COORDINATOR_INTERNAL


_BY_VALUE: Final = {int(member): member for member in MsgType}
_HOST_TO_GUEST: Final = frozenset(
    (
        MsgType.SnapshotReply,
        MsgType.KernelOpReply,
        MsgType.AccessorReady,
        MsgType.Shutdown,
        MsgType.SchedUpload,
        MsgType.SchedChunk,
        MsgType.SchedCommand,
    )
)
_COORDINATOR_INTERNAL: Final = _HOST_TO_GUEST | {
    MsgType.SysRdy,
    MsgType.KernAddrs,
    MsgType.SnapshotRequest,
    MsgType.KernelOpRequest,
    MsgType.WorkerReport,
    MsgType.Beats,
    MsgType.SchedReply,
    MsgType.StimulusApplied,
}
