"""Message types, payload layouts and the golden frames of the protocol."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ktstr_tui._native import ffi, lib
from ktstr_tui.model.errors import KtstrError
from ktstr_tui.wire.frames import Frame, FrameAssembler, encode_frame
from ktstr_tui.wire.messages import (
    Beats,
    Direction,
    ExitCode,
    KernAddrs,
    Lifecycle,
    LifecyclePhase,
    MsgType,
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

U16 = st.integers(0, 2**16 - 1)
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
KVA = st.integers(1, 2**64 - 1)
NAME = st.text(st.characters(min_codepoint=1, max_codepoint=0x7F), max_size=15)

STIMULUS = Stimulus(
    elapsed_ms=1500,
    step_index=1,
    op_count=2,
    op_kinds=0b11,
    cgroup_count=3,
    worker_count=8,
    total_iterations=123456,
)
REQUEST = SnapshotRequest(1, SnapshotKind.CAPTURE, "periodic_000")
REPLY_OK = SnapshotReply(1, SnapshotStatus.OK)

GOLDEN = [
    (MsgType.SysRdy, b"", "59445253000000000000000000000000"),
    (MsgType.SchedExit, ExitCode(1).pack(), "584443530400000079b8f8990000000001000000"),
    (MsgType.SchedExit, ExitCode(-1).pack(), "5844435304000000ffffffff00000000ffffffff"),
    (MsgType.Exit, ExitCode(0).pack(), "54495845040000001cdf44210000000000000000"),
    (MsgType.Lifecycle, Lifecycle(LifecyclePhase.INIT_STARTED).pack(), "4546494c010000001bdf05a50000000001"),
    (MsgType.Stdout, b"hello\n", "54554f530600000020303a360000000068656c6c6f0a"),
    (MsgType.ScenarioEnd, ScenarioEnd(10000).pack(), "4e4543530800000050e98313000000001027000000000000"),
    (
        MsgType.Stimulus,
        STIMULUS.pack(),
        "4d49545318000000218327cc00000000dc05000001000200030000000300080040e2010000000000",
    ),
    (
        MsgType.SnapshotRequest,
        REQUEST.pack(),
        "51524e5348000000efbddac200000000" + "0100000001000000" + b"periodic_000".ljust(64, b"\0").hex(),
    ),
    (
        MsgType.SnapshotReply,
        REPLY_OK.pack(reason_bytes=64),
        "50524e5348000000e470f4c400000000" + "0100000001000000" + "00" * 64,
    ),
]


@pytest.mark.parametrize(("kind", "payload", "frame"), GOLDEN)
def test_golden_frames(kind: MsgType, payload: bytes, frame: str) -> None:
    assert encode_frame(kind, payload).hex() == frame
    assert FrameAssembler().feed(bytes.fromhex(frame)) == [Frame(kind, payload, True)]


def test_the_enum_is_the_list_of_the_c_side() -> None:
    rows = [lib.ktf_msg_types[i] for i in range(lib.ktf_msg_type_count)]
    assert [(ffi.string(row.name).decode(), row.value, row.direction) for row in rows] == [
        (kind.name, kind.value, kind.direction.value) for kind in MsgType
    ]


def test_tags_spell_the_values() -> None:
    assert MsgType.Exit.tag == "EXIT"
    assert MsgType.AccessorReady.tag == "ACRD"
    assert MsgType.Shutdown.tag == "SHDN"
    assert MsgType.WorkerReport.tag == "WRKR"
    assert len({kind.tag for kind in MsgType}) == len(MsgType)
    assert all(kind.tag.isascii() and kind.tag.isupper() for kind in MsgType)


def test_from_wire_knows_each_type_and_no_other() -> None:
    assert [MsgType.from_wire(kind.value) for kind in MsgType] == list(MsgType)
    assert MsgType.from_wire(0) is None
    assert MsgType.from_wire(0xDEADBEEF) is None


def test_who_may_send_what() -> None:
    from_host = {kind for kind in MsgType if kind.direction is Direction.HOST_TO_GUEST}
    assert from_host == {
        MsgType.SnapshotReply,
        MsgType.KernelOpReply,
        MsgType.AccessorReady,
        MsgType.Shutdown,
        MsgType.SchedUpload,
        MsgType.SchedChunk,
        MsgType.SchedCommand,
    }
    internal = {kind for kind in MsgType if kind.is_coordinator_internal}
    assert internal == from_host | {
        MsgType.SysRdy,
        MsgType.KernAddrs,
        MsgType.SnapshotRequest,
        MsgType.KernelOpRequest,
        MsgType.WorkerReport,
        MsgType.Beats,
        MsgType.SchedReply,
        MsgType.StimulusApplied,
    }


@settings(deadline=None)
@given(st.builds(Stimulus, U32, U16, U16, U32, U16, U16, U64))
def test_stimulus_round_trip(value: Stimulus) -> None:
    assert len(value.pack()) == 24
    assert Stimulus.unpack(value.pack()) == value


@settings(deadline=None)
@given(st.builds(SnapshotRequest, st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1), NAME))
def test_snapshot_request_round_trip(value: SnapshotRequest) -> None:
    assert len(value.pack()) == 72
    assert SnapshotRequest.unpack(value.pack()) == value
    assert SnapshotRequest.peek_id(value.pack()) == value.request_id


@settings(deadline=None)
@given(st.builds(SnapshotReply, U32, st.sampled_from(SnapshotStatus), NAME))
def test_snapshot_reply_round_trip_in_both_forms(value: SnapshotReply) -> None:
    assert len(value.pack()) == 520
    assert SnapshotReply.unpack(value.pack()) == value
    assert SnapshotReply.unpack(value.pack(reason_bytes=64)) == value


@settings(deadline=None)
@given(
    st.builds(
        KernAddrs,
        st.none() | st.integers(0, 2**64 - 2),
        st.none() | KVA,
        st.none() | KVA.map(lambda x: x - 1),
    )
)
def test_kern_addrs_round_trip(value: KernAddrs) -> None:
    assert len(value.pack()) == 24
    assert KernAddrs.unpack(value.pack()) == value


@settings(deadline=None)
@given(st.builds(Lifecycle, st.sampled_from(LifecyclePhase), NAME))
def test_lifecycle_round_trip(value: Lifecycle) -> None:
    assert Lifecycle.unpack(value.pack()) == value


@settings(deadline=None)
@given(st.builds(ScenarioEnd, U64, st.none() | U64))
def test_scenario_end_round_trip(value: ScenarioEnd) -> None:
    assert len(value.pack()) == (8 if value.total_iterations is None else 16)
    assert ScenarioEnd.unpack(value.pack()) == value


@settings(deadline=None)
@given(st.builds(ExitCode, st.integers(-(2**31), 2**31 - 1)))
def test_exit_code_round_trip(value: ExitCode) -> None:
    assert ExitCode.unpack(value.pack()) == value


@settings(deadline=None)
@given(st.lists(st.builds(WorkerSample, U32, U64, NAME), max_size=256).map(tuple).map(WorkerReport))
def test_worker_report_round_trip(value: WorkerReport) -> None:
    assert len(value.pack()) == 4 + 28 * len(value.workers)
    assert WorkerReport.unpack(value.pack()) == value


def test_kern_addrs_biases_tell_absent_from_zero() -> None:
    assert KernAddrs.unpack(bytes(24)) == KernAddrs(None, None, None)
    packed = KernAddrs(0, None, 0xFFFFFFFF81000000).pack()
    assert packed.hex() == "0100000000000000" + "0000000000000000" + "01000081ffffffff"
    assert KernAddrs.unpack(packed) == KernAddrs(0, None, 0xFFFFFFFF81000000)


def test_worker_report_layout() -> None:
    report = WorkerReport((WorkerSample(0x11223344, 5, "spin/0"),))
    assert (
        report.pack().hex() == "01000000" + "44332211" + "0500000000000000" + b"spin/0".ljust(16, b"\0").hex()
    )


WRONG = [
    (Stimulus.unpack, bytes(23)),
    (Stimulus.unpack, bytes(25)),
    (SnapshotRequest.unpack, REQUEST.pack()[:-1]),
    (SnapshotRequest.unpack, REQUEST.pack() + b"\0"),
    (SnapshotRequest.unpack, b"\0\0\0\0" + REQUEST.pack()[4:]),
    (SnapshotRequest.unpack, SnapshotRequest(1, SnapshotKind.NONE, "x").pack()),
    (SnapshotReply.unpack, bytes(71)),
    (SnapshotReply.unpack, b"\1\0\0\0\4\0\0\0" + bytes(512)),
    (KernAddrs.unpack, bytes(23)),
    (Lifecycle.unpack, b""),
    (Lifecycle.unpack, b"\0"),
    (Lifecycle.unpack, b"\5later"),
    (ScenarioEnd.unpack, bytes(12)),
    (ExitCode.unpack, bytes(3)),
    (ExitCode.unpack, bytes(5)),
    (WorkerReport.unpack, b""),
    (WorkerReport.unpack, b"\1\0\0\0"),
    (WorkerReport.unpack, b"\0\0\0\0x"),
    (WorkerReport.unpack, b"\x01\x01\0\0" + bytes(257 * 28)),
    (WorkerReport.unpack, b"\xff\xff\xff\xff"),
    (Beats.unpack, b""),
    (Beats.unpack, bytes(31)),
    (Beats.unpack, bytes(33)),
    (Beats.unpack, bytes(2049 * 32)),
]


@pytest.mark.parametrize(("unpack", "payload"), WRONG)
def test_wrong_payloads_are_refused_with_a_reason(unpack: type, payload: bytes) -> None:
    with pytest.raises(PayloadError) as caught:
        unpack(payload)
    assert caught.value.reason
    assert isinstance(caught.value, KtstrError)
    assert caught.value.fault == "guest"


@settings(deadline=None)
@given(
    st.sampled_from(
        [Stimulus, SnapshotRequest, SnapshotReply, KernAddrs, Lifecycle, ScenarioEnd, ExitCode, WorkerReport]
    ),
    st.binary(max_size=600),
)
def test_decoders_never_fail_otherwise(payload_type: type[Stimulus], payload: bytes) -> None:
    try:
        value = payload_type.unpack(payload)
    except PayloadError:
        return
    assert isinstance(value, payload_type)


def test_requests_and_reports_that_do_not_fit_are_not_encoded() -> None:
    with pytest.raises(PayloadError):
        SnapshotRequest(1, SnapshotKind.CAPTURE, "x" * 65).pack()
    with pytest.raises(PayloadError):
        WorkerReport((WorkerSample(1, 1, "x"),) * 257).pack()


def test_a_tag_may_fill_its_field() -> None:
    full = SnapshotRequest(1, SnapshotKind.CAPTURE, "x" * 64)
    assert SnapshotRequest.unpack(full.pack()) == full


def test_unknown_snapshot_kinds_decode() -> None:
    assert SnapshotRequest.unpack(SnapshotRequest(1, 77, "x").pack()).kind == 77


def test_text_is_lossy_and_cut_between_characters() -> None:
    assert decode_text(b"a\xffb") == "a\ufffdb"
    assert encode_text("€€", 5) == "€".encode()
    assert SnapshotReply.unpack(SnapshotReply(1, SnapshotStatus.ERR, "€" * 200).pack()).reason == "€" * 170
    request = bytearray(REQUEST.pack())
    request[8:10] = b"\xff\xfe"
    assert SnapshotRequest.unpack(bytes(request)).tag == "\ufffd\ufffdriodic_000"
