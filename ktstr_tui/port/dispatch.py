"""The dispatch of the guest's frames: which frame may do what, arm for arm.

The guest is hostile, so each arm is a gate. A frame can do two things: move the coordinator (an `Action`)
and be kept for the verdict (an entry in the bucket). The gates differ on purpose:

* SchedExit does both with a right CRC and neither without one: nobody downstream looks at its CRC again.
* SysRdy, KernAddrs, SnapshotRequest, WorkerReport, Beats, SchedReply, StimulusApplied and the kernel operations only
  move the coordinator, and never reach the bucket, whatever their shape.
* All other frames of the guest go into the bucket even with a wrong CRC (their readers look at ``crc_ok``),
  but move nothing unless CRC and shape are right.
* What only the host may send is dropped when the guest sends it.

`Dispatcher` has no clock, no I/O and no tasks: frames in, actions out. The bucket is bounded for each type
apart, so that a flood of output cannot push the exit code out.
"""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import msgspec

from ktstr_tui.port.actions import (
    Action,
    BeatsReceived,
    Exited,
    KernelAddresses,
    KernelOpRequested,
    Kill,
    LifecycleSeen,
    Refuse,
    RefuseKernelOp,
    ScenarioEnded,
    ScenarioPaused,
    ScenarioResumed,
    ScenarioStarted,
    SchedulerAnswered,
    SchedulerExited,
    SnapshotRequested,
    StepChanged,
    StepEnded,
    StimulusTold,
    SystemReady,
    Text,
    UnknownType,
    VerdictsReady,
    WorkersSeen,
)
from ktstr_tui.port.bucket import Bucket, VerdictEntry
from ktstr_tui.wire.frames import HEADER_BYTES, Frame
from ktstr_tui.wire.kernel_ops import KernelOpRequest, peek_id
from ktstr_tui.wire.messages import (
    Beats,
    Direction,
    ExitCode,
    KernAddrs,
    Lifecycle,
    MsgType,
    PayloadError,
    ScenarioEnd,
    SnapshotKind,
    SnapshotRequest,
    Stimulus,
    WorkerReport,
)
from ktstr_tui.wire.scheduler_payloads import SchedReply
from ktstr_tui.wire.stimulus_payloads import StimulusApplied

BUCKET_ENTRIES: Final = 1024
"""Entries kept of each type; the oldest goes first."""
BUCKET_BYTES: Final = 1 << 20
"""Payload bytes kept of each type; the newest entry stays in any case."""
MAX_UNKNOWN_TOLD: Final = 16
"""Unknown types that get an `UnknownType` action; all are counted."""

BAD_CRC: Final = "bad CRC"
BAD_SHAPE: Final = "bad shape"
NOT_FOR_GUESTS: Final = "only the host may send it"
NOT_SERVED: Final = "not served"
REPEATED: Final = "repeated"

_T = TypeVar("_T")


class DispatchStatistics(msgspec.Struct, frozen=True):
    """Counters of one `Dispatcher`. ``frames == unknown + sum(by_type.values())``."""

    frames: int
    bytes: int
    """Of those frames, headers included."""
    crc_bad: int
    unknown: int
    """Frames of unknown type: dropped, but not among ``dropped``."""
    by_type: dict[str, int]
    """Frames of each known type, by its name in `MsgType`."""
    dropped: dict[str, int]
    """Frames that did nothing and went nowhere, by ``type: reason``."""
    inert: dict[str, int]
    """Frames that went into the bucket but moved nothing though their type does, by ``type: reason``."""
    bucketed: int
    evicted: dict[str, int]
    """Entries that left the bucket unread because it was full, by type."""
    bucket_entries: int
    """In the bucket now."""
    bucket_bytes: int
    """Payload bytes in the bucket now."""
    kill_edges: int


class Dispatcher:
    """Turns frames of the guest into actions, and keeps the entries for the verdict. One for each run.

    Args:
        bucket_entries: Most entries kept of each type.
        bucket_bytes: Most payload bytes kept of each type.
    """

    def __init__(self, bucket_entries: int = BUCKET_ENTRIES, bucket_bytes: int = BUCKET_BYTES) -> None:
        self._most_entries = bucket_entries
        self._most_bytes = bucket_bytes
        self._buckets: dict[MsgType, Bucket] = {}
        self._bucketed = 0
        self._frames = self._bytes = self._crc_bad = self._unknown = 0
        self._by_type: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._inert: Counter[str] = Counter()
        self._evicted: Counter[str] = Counter()
        self._unknown_told: set[int] = set()
        self._decoders: dict[MsgType, codecs.IncrementalDecoder] = {}
        self._actions: list[Action] = []
        self._paused = False
        self.kill_edges = 0
        """Valid SchedExit frames so far."""
        self.system_ready_armed = True
        """Whether no valid SysRdy has come yet."""
        self.scenario_started = False
        self.current_step: Stimulus | None = None
        """The last valid Stimulus."""

    @property
    def kill(self) -> bool:
        """Whether a scheduler's process has exited."""
        return self.kill_edges > 0

    def dispatch(self, frames: Iterable[Frame]) -> list[Action]:
        """Pass frames through their gates.

        Returns:
            What is to be done, in order; `VerdictsReady` at the end when the bucket got entries.
        """
        actions: list[Action] = []
        self._actions = actions
        before = self._bucketed
        for frame in frames:
            self._dispatch_one(frame)
        if self._bucketed > before:
            actions.append(VerdictsReady(self._bucketed - before))
        return actions

    def drain_bucket(self) -> list[VerdictEntry]:
        """Empty the bucket: its entries of all types, in the order in which they came."""
        entries = [entry for bucket in self._buckets.values() for entry in bucket.entries]
        self._buckets.clear()
        entries.sort(key=lambda entry: entry.index)
        return entries

    def statistics(self) -> DispatchStatistics:
        """The counters as they are now."""
        buckets = self._buckets.values()
        return DispatchStatistics(
            frames=self._frames,
            bytes=self._bytes,
            crc_bad=self._crc_bad,
            unknown=self._unknown,
            by_type=dict(self._by_type),
            dropped=dict(self._dropped),
            inert=dict(self._inert),
            bucketed=self._bucketed,
            evicted=dict(self._evicted),
            bucket_entries=sum(len(bucket.entries) for bucket in buckets),
            bucket_bytes=sum(bucket.payload_bytes for bucket in buckets),
            kill_edges=self.kill_edges,
        )

    def _dispatch_one(self, frame: Frame) -> None:
        self._frames += 1
        self._bytes += HEADER_BYTES + len(frame.payload)
        self._crc_bad += not frame.crc_ok
        kind = MsgType.from_wire(frame.msg_type)
        if kind is None:
            self._count_unknown(frame.msg_type)
            return
        self._by_type[kind.name] += 1
        arm = _ARMS.get(kind)
        if kind.direction is Direction.HOST_TO_GUEST:
            self._drop(kind, NOT_FOR_GUESTS)
        elif arm is not None:
            arm(self, kind, frame)
        elif kind.is_coordinator_internal:
            self._drop(kind, NOT_SERVED)
        else:
            self._keep(kind, frame)

    def _count_unknown(self, msg_type: int) -> None:
        self._unknown += 1
        if msg_type not in self._unknown_told and len(self._unknown_told) < MAX_UNKNOWN_TOLD:
            self._unknown_told.add(msg_type)
            self._actions.append(UnknownType(msg_type))

    def _drop(self, kind: MsgType, reason: str) -> None:
        self._dropped[f"{kind.name}: {reason}"] += 1

    def _keep(self, kind: MsgType, frame: Frame) -> None:
        entry = VerdictEntry(self._bucketed, kind, frame.payload, frame.crc_ok)
        self._bucketed += 1
        bucket = self._buckets.setdefault(kind, Bucket())
        evicted = bucket.push(entry, self._most_entries, self._most_bytes)
        if evicted:
            self._evicted[kind.name] += evicted

    def _decode(
        self, kind: MsgType, frame: Frame, unpack: Callable[[bytes], _T], failed: Counter[str]
    ) -> _T | None:
        # The value, or None after counting why there is none.
        if not frame.crc_ok:
            failed[f"{kind.name}: {BAD_CRC}"] += 1
            return None
        try:
            return unpack(frame.payload)
        except PayloadError:
            failed[f"{kind.name}: {BAD_SHAPE}"] += 1
            return None

    def _sched_exit(self, kind: MsgType, frame: Frame) -> None:
        if not frame.crc_ok:
            self._drop(kind, BAD_CRC)
            return
        self.kill_edges += 1
        self._keep(kind, frame)
        exit_code = self._decode(kind, frame, ExitCode.unpack, self._inert)
        self._actions.append(Kill())
        self._actions.append(SchedulerExited(None if exit_code is None else exit_code.code))

    def _sys_rdy(self, kind: MsgType, frame: Frame) -> None:
        if self._decode(kind, frame, _demand_empty, self._dropped) is None:
            return
        if not self.system_ready_armed:
            self._drop(kind, REPEATED)
            return
        self.system_ready_armed = False
        self._actions.append(SystemReady())

    def _tell(self, kind: MsgType, frame: Frame) -> None:
        unpack, make = _TOLD[kind]
        value = self._decode(kind, frame, unpack, self._dropped)
        if value is not None:
            self._actions.append(make(value))

    def _snapshot_request(self, kind: MsgType, frame: Frame) -> None:
        if not frame.crc_ok:
            self._refuse(kind, frame, BAD_CRC, "the request came with a bad CRC")
            return
        try:
            request = SnapshotRequest.unpack(frame.payload)
        except PayloadError as error:
            self._refuse(kind, frame, BAD_SHAPE, error.message)
            return
        if request.kind not in (SnapshotKind.CAPTURE, SnapshotKind.WATCH):
            self._refuse(kind, frame, BAD_SHAPE, f"request kind {request.kind} is not known")
            return
        self._actions.append(SnapshotRequested(request))

    def _refuse(self, kind: MsgType, frame: Frame, counted_as: str, reason: str) -> None:
        self._drop(kind, counted_as)
        request_id = SnapshotRequest.peek_id(frame.payload)
        if request_id is not None:
            self._actions.append(Refuse(request_id, reason))

    def _kernel_op_request(self, kind: MsgType, frame: Frame) -> None:
        if not frame.crc_ok:
            self._refuse_kernel_op(kind, frame, BAD_CRC, "the request came with a bad CRC")
            return
        try:
            self._actions.append(KernelOpRequested(KernelOpRequest.unpack(frame.payload)))
        except PayloadError as error:
            self._refuse_kernel_op(kind, frame, BAD_SHAPE, error.message)

    def _refuse_kernel_op(self, kind: MsgType, frame: Frame, counted_as: str, reason: str) -> None:
        self._drop(kind, counted_as)
        request_id = peek_id(frame.payload)
        if request_id is not None:
            self._actions.append(RefuseKernelOp(request_id, reason))

    def _stimulus(self, kind: MsgType, frame: Frame) -> None:
        self._keep(kind, frame)
        stimulus = self._decode(kind, frame, Stimulus.unpack, self._inert)
        if stimulus is None:
            return
        if kind is MsgType.StepEnd:
            self._actions.append(StepEnded(stimulus))
            return
        self.current_step = stimulus
        self._actions.append(StepChanged(stimulus))

    def _scenario_mark(self, kind: MsgType, frame: Frame) -> None:
        # Start (once), pause and resume (by turns): empty frames that move the scenario's clock.
        self._keep(kind, frame)
        if self._decode(kind, frame, _demand_empty, self._inert) is None:
            return
        if kind is MsgType.ScenarioStart:
            repeated, self.scenario_started = self.scenario_started, True
            action: Action = ScenarioStarted()
        else:
            pausing = kind is MsgType.ScenarioPause
            repeated, self._paused = self._paused is pausing, pausing
            action = ScenarioPaused() if pausing else ScenarioResumed()
        if repeated:
            self._inert[f"{kind.name}: {REPEATED}"] += 1
        else:
            self._actions.append(action)

    def _scenario_end(self, kind: MsgType, frame: Frame) -> None:
        self._keep(kind, frame)
        end = self._decode(kind, frame, ScenarioEnd.unpack, self._inert)
        if end is not None:
            self._actions.append(ScenarioEnded(end))

    def _lifecycle(self, kind: MsgType, frame: Frame) -> None:
        self._keep(kind, frame)
        lifecycle = self._decode(kind, frame, Lifecycle.unpack, self._inert)
        if lifecycle is not None:
            self._actions.append(LifecycleSeen(lifecycle))

    def _exit(self, kind: MsgType, frame: Frame) -> None:
        self._keep(kind, frame)
        exit_code = self._decode(kind, frame, ExitCode.unpack, self._inert)
        if exit_code is not None:
            self._actions.append(Exited(exit_code.code))

    def _text(self, kind: MsgType, frame: Frame) -> None:
        self._keep(kind, frame)
        if not frame.crc_ok:
            self._inert[f"{kind.name}: {BAD_CRC}"] += 1
            self._decoders.pop(kind, None)
            return
        decoder = self._decoders.get(kind)
        if decoder is None:
            decoder = self._decoders[kind] = codecs.getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(frame.payload)
        if text:
            self._actions.append(Text(kind, text))


def _demand_empty(payload: bytes) -> bool:
    if payload:
        raise PayloadError("empty message", f"{len(payload)} bytes in a message that has none")
    return True


_TOLD: Final[dict[MsgType, tuple[Callable[[bytes], Any], Callable[[Any], Action]]]] = {
    MsgType.KernAddrs: (KernAddrs.unpack, KernelAddresses),
    MsgType.WorkerReport: (WorkerReport.unpack, WorkersSeen),
    MsgType.Beats: (Beats.unpack, lambda beats: BeatsReceived(beats.data)),
    MsgType.SchedReply: (SchedReply.unpack, SchedulerAnswered),
    MsgType.StimulusApplied: (StimulusApplied.unpack, StimulusTold),
}
"""What becomes an action as it is, or is dropped."""
_ARMS: Final[dict[MsgType, Callable[[Dispatcher, MsgType, Frame], None]]] = {
    MsgType.SchedExit: Dispatcher._sched_exit,
    MsgType.SysRdy: Dispatcher._sys_rdy,
    MsgType.KernAddrs: Dispatcher._tell,
    MsgType.WorkerReport: Dispatcher._tell,
    MsgType.Beats: Dispatcher._tell,
    MsgType.SchedReply: Dispatcher._tell,
    MsgType.StimulusApplied: Dispatcher._tell,
    MsgType.SnapshotRequest: Dispatcher._snapshot_request,
    MsgType.KernelOpRequest: Dispatcher._kernel_op_request,
    MsgType.Stimulus: Dispatcher._stimulus,
    MsgType.StepEnd: Dispatcher._stimulus,
    MsgType.ScenarioStart: Dispatcher._scenario_mark,
    MsgType.ScenarioPause: Dispatcher._scenario_mark,
    MsgType.ScenarioResume: Dispatcher._scenario_mark,
    MsgType.ScenarioEnd: Dispatcher._scenario_end,
    MsgType.Lifecycle: Dispatcher._lifecycle,
    MsgType.Exit: Dispatcher._exit,
    MsgType.Stdout: Dispatcher._text,
    MsgType.Stderr: Dispatcher._text,
    MsgType.SchedLog: Dispatcher._text,
    MsgType.Dmesg: Dispatcher._text,
    MsgType.Crash: Dispatcher._text,
}
