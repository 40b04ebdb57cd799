"""The dispatch of frames.

The tests above the line have the names of the tests of the document that defines the gates, so that one can
be found from the other; they drive the production dispatcher through the production assembler.
"""

from __future__ import annotations

import struct
import zlib

import pytest

from ktstr_tui.port.actions import (
    Action,
    BeatsReceived,
    Exited,
    KernelAddresses,
    Kill,
    LifecycleSeen,
    Refuse,
    ScenarioEnded,
    ScenarioPaused,
    ScenarioResumed,
    ScenarioStarted,
    SchedulerExited,
    SnapshotRequested,
    StepChanged,
    StepEnded,
    SystemReady,
    UnknownType,
    VerdictsReady,
    WorkersSeen,
)
from ktstr_tui.port.bucket import VerdictEntry
from ktstr_tui.port.dispatch import Dispatcher
from ktstr_tui.wire.frames import Frame, FrameAssembler, encode_frame
from ktstr_tui.wire.messages import (
    ExitCode,
    KernAddrs,
    Lifecycle,
    LifecyclePhase,
    MsgType,
    ScenarioEnd,
    SnapshotKind,
    SnapshotRequest,
    Stimulus,
    WorkerReport,
    WorkerSample,
)


def frame_with_torn_crc(msg_type: int, payload: bytes) -> bytes:
    crc = zlib.crc32(payload) ^ 0xFFFFFFFF
    return struct.pack("<IIII", msg_type, len(payload), crc, 0) + payload


def assemble(*frames: bytes) -> list[Frame]:
    return FrameAssembler().feed(b"".join(frames))


def kinds(entries: list[VerdictEntry]) -> list[MsgType]:
    return [entry.kind for entry in entries]


def without_marks(actions: list[Action]) -> list[Action]:
    return [action for action in actions if not isinstance(action, VerdictsReady)]


def test_unknown_msg_type_drops_without_bucketing() -> None:  # T1
    assert MsgType.from_wire(0xDEADBEEF) is None
    frames = assemble(encode_frame(0xDEADBEEF, b"unknown-payload"))
    assert len(frames) == 1
    dispatcher = Dispatcher()
    assert dispatcher.dispatch(frames) == [UnknownType(0xDEADBEEF)]
    assert dispatcher.statistics().unknown == 1
    assert dispatcher.drain_bucket() == []
    assert not dispatcher.kill
    assert dispatcher.system_ready_armed


def test_sched_exit_torn_crc_does_not_bucket() -> None:  # T2
    frames = assemble(frame_with_torn_crc(MsgType.SchedExit, b"torn-payload"))
    assert [frame.crc_ok for frame in frames] == [False]
    dispatcher = Dispatcher()
    assert dispatcher.dispatch(frames) == []
    assert dispatcher.drain_bucket() == []
    assert not dispatcher.kill
    assert dispatcher.kill_edges == 0
    assert dispatcher.statistics().dropped == {"SchedExit: bad CRC": 1}


def test_sched_exit_valid_crc_buckets_with_payload() -> None:  # T2, positive control
    payload = struct.pack("<i", -1)
    dispatcher = Dispatcher()
    actions = dispatcher.dispatch(assemble(encode_frame(MsgType.SchedExit, payload)))
    assert actions == [Kill(), SchedulerExited(-1), VerdictsReady(1)]
    assert dispatcher.drain_bucket() == [VerdictEntry(0, MsgType.SchedExit, payload, True)]
    assert dispatcher.kill
    assert dispatcher.kill_edges == 1


def test_snapshot_reply_on_tx_does_not_bucket() -> None:  # T3
    frames = assemble(encode_frame(MsgType.SnapshotReply, b"forged-reply"))
    assert [frame.crc_ok for frame in frames] == [True]
    dispatcher = Dispatcher()
    assert dispatcher.dispatch(frames) == []
    assert dispatcher.drain_bucket() == []
    assert MsgType.SnapshotReply.is_coordinator_internal
    assert dispatcher.statistics().dropped == {"SnapshotReply: only the host may send it": 1}


def test_sys_rdy_with_nonempty_payload_does_not_promote() -> None:  # T4
    frames = assemble(encode_frame(MsgType.SysRdy, b"smuggled-bytes"))
    assert len(frames[0].payload) == 14
    dispatcher = Dispatcher()
    assert dispatcher.dispatch(frames) == []
    assert dispatcher.system_ready_armed
    assert dispatcher.drain_bucket() == []
    assert dispatcher.dispatch(assemble(encode_frame(MsgType.SysRdy))) == [SystemReady()]


def test_sys_rdy_fires_once_across_two_feed_calls() -> None:  # T5
    assembler = FrameAssembler()
    first = assembler.feed(encode_frame(MsgType.SysRdy))
    second = assembler.feed(encode_frame(MsgType.SysRdy))
    assert (len(first), len(second)) == (1, 1)
    together, apart = Dispatcher(), Dispatcher()
    assert together.dispatch(first + second) == [SystemReady()]
    assert apart.dispatch(first) + apart.dispatch(second) == [SystemReady()]
    assert not together.system_ready_armed
    assert apart.statistics().dropped == {"SysRdy: repeated": 1}


def test_interleaved_batch_dispatches_all_arms_independently() -> None:  # T6
    request = SnapshotRequest(7, SnapshotKind.CAPTURE, "snap")
    frames = assemble(
        encode_frame(MsgType.SysRdy),
        encode_frame(MsgType.SchedExit, b"exit"),
        encode_frame(MsgType.SnapshotRequest, request.pack()),
        encode_frame(MsgType.Stimulus, b"stim-payload"),
    )
    assert [frame.crc_ok for frame in frames] == [True] * 4
    dispatcher = Dispatcher()
    assert dispatcher.dispatch(frames) == [
        SystemReady(),
        Kill(),
        SchedulerExited(int.from_bytes(b"exit", "little")),
        SnapshotRequested(request),
        VerdictsReady(2),
    ]
    assert kinds(dispatcher.drain_bucket()) == [MsgType.SchedExit, MsgType.Stimulus]
    assert dispatcher.kill_edges == 1
    assert dispatcher.current_step is None
    assert dispatcher.statistics().inert == {"Stimulus: bad shape": 1}


def test_sys_rdy_only_batch_yields_empty_bucket() -> None:  # T7
    dispatcher = Dispatcher()
    actions = dispatcher.dispatch(assemble(encode_frame(MsgType.SysRdy)))
    # No VerdictsReady: who stores verdicts is not even woken.
    assert actions == [SystemReady()]
    assert dispatcher.drain_bucket() == []


def test_multiple_sched_exit_frames_pump_eventfd_per_frame() -> None:  # T8
    frames = assemble(*(encode_frame(MsgType.SchedExit, text) for text in (b"first", b"second", b"third")))
    dispatcher = Dispatcher()
    actions = dispatcher.dispatch(frames)
    assert actions.count(Kill()) == 3
    assert dispatcher.kill
    assert dispatcher.kill_edges == 3
    bucket = dispatcher.drain_bucket()
    assert kinds(bucket) == [MsgType.SchedExit] * 3
    assert all(entry.crc_ok for entry in bucket)
    # Their payloads are no exit codes: the kill stands, the code is unknown.
    assert actions.count(SchedulerExited(None)) == 3


def test_sched_exit_mixed_crc_batch_filters_torn_frame() -> None:
    frames = assemble(
        encode_frame(MsgType.SchedExit, b"valid-1"),
        frame_with_torn_crc(MsgType.SchedExit, b"torn"),
        encode_frame(MsgType.SchedExit, b"valid-2"),
    )
    assert [frame.crc_ok for frame in frames] == [True, False, True]
    dispatcher = Dispatcher()
    assert dispatcher.dispatch(frames).count(Kill()) == 2
    assert [entry.payload for entry in dispatcher.drain_bucket()] == [b"valid-1", b"valid-2"]
    assert dispatcher.kill_edges == 2


# ---- Beyond the source document ----


@pytest.mark.parametrize("kind", [kind for kind in MsgType if kind.is_coordinator_internal])
def test_internal_types_never_bucket(kind: MsgType) -> None:
    dispatcher = Dispatcher()
    for payload in (b"", b"x", bytes(24), bytes(72), bytes(520)):
        dispatcher.dispatch([Frame(kind, payload, True), Frame(kind, payload, False)])
    assert dispatcher.drain_bucket() == []
    assert dispatcher.statistics().bucketed == 0


@pytest.mark.parametrize(
    "kind", [kind for kind in MsgType if not kind.is_coordinator_internal and kind is not MsgType.SchedExit]
)
def test_verdict_types_bucket_even_with_a_bad_crc_and_then_move_nothing(kind: MsgType) -> None:
    dispatcher = Dispatcher()
    assert dispatcher.dispatch([Frame(kind, b"\1\0\0\0", False)]) == [VerdictsReady(1)]
    assert dispatcher.drain_bucket() == [VerdictEntry(0, kind, b"\1\0\0\0", False)]


@pytest.mark.parametrize("kind", [MsgType.SnapshotReply, MsgType.KernelOpReply, MsgType.Shutdown])
def test_the_guest_cannot_send_what_only_the_host_may(kind: MsgType) -> None:
    dispatcher = Dispatcher()
    assert dispatcher.dispatch([Frame(kind, b"", True)]) == []
    assert dispatcher.statistics().dropped == {f"{kind.name}: only the host may send it": 1}


def test_a_broken_snapshot_request_is_refused_when_its_id_can_be_read() -> None:
    good = SnapshotRequest(9, SnapshotKind.CAPTURE, "x").pack()
    dispatcher = Dispatcher()
    actions = dispatcher.dispatch(
        [
            Frame(MsgType.SnapshotRequest, good, False),
            Frame(MsgType.SnapshotRequest, good[:40], True),
            Frame(MsgType.SnapshotRequest, struct.pack("<II", 9, 77) + bytes(64), True),
            Frame(MsgType.SnapshotRequest, struct.pack("<II", 9, SnapshotKind.NONE) + bytes(64), True),
        ]
    )
    assert [type(action) for action in actions] == [Refuse] * 4
    assert actions[0] == Refuse(9, "the request came with a bad CRC")
    assert actions[2] == Refuse(9, "request kind 77 is not known")
    assert dispatcher.statistics().dropped == {
        "SnapshotRequest: bad CRC": 1,
        "SnapshotRequest: bad shape": 3,
    }


@pytest.mark.parametrize("payload", [b"", b"\1\0\0", bytes(4), bytes(72)])
def test_a_snapshot_request_without_an_id_is_dropped_silently(payload: bytes) -> None:
    dispatcher = Dispatcher()
    assert dispatcher.dispatch([Frame(MsgType.SnapshotRequest, payload, True)]) == []
    assert dispatcher.statistics().dropped == {"SnapshotRequest: bad shape": 1}


def test_a_watch_request_passes() -> None:
    request = SnapshotRequest(3, SnapshotKind.WATCH, "jiffies")
    frame = Frame(MsgType.SnapshotRequest, request.pack(), True)
    assert Dispatcher().dispatch([frame]) == [SnapshotRequested(request)]


def test_beats_pass_only_whole_and_with_a_right_crc() -> None:
    beats = bytes(range(64))
    frames = assemble(
        encode_frame(MsgType.Beats, beats),
        encode_frame(MsgType.Beats, beats[:-1]),
        encode_frame(MsgType.Beats),
        frame_with_torn_crc(MsgType.Beats, beats),
    )
    dispatcher = Dispatcher()
    assert dispatcher.dispatch(frames) == [BeatsReceived(beats)]
    assert dispatcher.statistics().dropped == {"Beats: bad shape": 2, "Beats: bad CRC": 1}
    assert dispatcher.drain_bucket() == []


def test_a_scenario_from_start_to_exit() -> None:
    step = Stimulus(elapsed_ms=1500, step_index=1, worker_count=8)
    report = WorkerReport((WorkerSample(40, 1000, "spin/0"),))
    frames = assemble(
        encode_frame(MsgType.Lifecycle, Lifecycle(LifecyclePhase.PAYLOAD_STARTING).pack()),
        encode_frame(MsgType.ScenarioStart),
        encode_frame(MsgType.Stimulus, step.pack()),
        encode_frame(MsgType.WorkerReport, report.pack()),
        encode_frame(MsgType.ScenarioPause),
        encode_frame(MsgType.ScenarioResume),
        encode_frame(MsgType.StepEnd, step.pack()),
        encode_frame(MsgType.ScenarioEnd, ScenarioEnd(4000, 7).pack()),
        encode_frame(MsgType.Exit, ExitCode(0).pack()),
    )
    dispatcher = Dispatcher()
    assert dispatcher.dispatch(frames) == [
        LifecycleSeen(Lifecycle(LifecyclePhase.PAYLOAD_STARTING)),
        ScenarioStarted(),
        StepChanged(step),
        WorkersSeen(report),
        ScenarioPaused(),
        ScenarioResumed(),
        StepEnded(step),
        ScenarioEnded(ScenarioEnd(4000, 7)),
        Exited(0),
        VerdictsReady(8),
    ]
    assert dispatcher.current_step == step
    assert dispatcher.statistics().inert == {}


def test_the_scenario_starts_once_and_pauses_by_turns() -> None:
    dispatcher = Dispatcher()
    frames = [
        Frame(kind, b"", True)
        for kind in (
            MsgType.ScenarioResume,
            MsgType.ScenarioStart,
            MsgType.ScenarioStart,
            MsgType.ScenarioPause,
            MsgType.ScenarioPause,
            MsgType.ScenarioResume,
        )
    ]
    actions = without_marks(dispatcher.dispatch(frames))
    assert actions == [ScenarioStarted(), ScenarioPaused(), ScenarioResumed()]
    assert dispatcher.statistics().inert == {
        "ScenarioResume: repeated": 1,
        "ScenarioStart: repeated": 1,
        "ScenarioPause: repeated": 1,
    }
    assert dispatcher.statistics().bucketed == 6


def test_a_scenario_mark_with_a_payload_moves_nothing() -> None:
    dispatcher = Dispatcher()
    assert without_marks(dispatcher.dispatch([Frame(MsgType.ScenarioStart, b"x", True)])) == []
    assert not dispatcher.scenario_started


def test_kernel_addresses_are_passed_on_and_never_bucket() -> None:
    addresses = KernAddrs(0x1000, None, 0xFFFFFFFF81000000)
    dispatcher = Dispatcher()
    actions = dispatcher.dispatch(
        [Frame(MsgType.KernAddrs, addresses.pack(), True), Frame(MsgType.KernAddrs, b"short", True)]
    )
    assert actions == [KernelAddresses(addresses)]
    assert dispatcher.statistics().dropped == {"KernAddrs: bad shape": 1}
