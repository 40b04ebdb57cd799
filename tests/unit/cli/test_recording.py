"""``ktstr-tui recording``."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace

from ktstr_tui.cli.recording import Format, export, info, verify
from ktstr_tui.link.recfile import RecordedEvent, header, pack_chunk
from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.model.events import AlertRaised, BackendBeat, Event, RunEnded
from ktstr_tui.model.report import placeholder
from ktstr_tui.wire.codec import encode_event


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    events: list[Event] = [
        BackendBeat(),
        AlertRaised(key="wait", kind="wait", severity="warning", text="why"),
        RunEnded(exit_code=0, reason="done"),
    ]
    packed = [
        RecordedEvent(
            seq, seq * 10**9, encode_event(msgspec.structs.replace(it, seq=seq, mono_ns=seq * 10**9))
        )
        for seq, it in enumerate(events, 1)
    ]
    path = tmp_path / "recording.ktstr"
    path.write_bytes(header("id") + pack_chunk(packed[:1]) + pack_chunk(packed[1:]))
    return path


def test_a_whole_recording_is_counted_and_verified(
    recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    info(str(recording.parent), as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["events"], found["chunks"], found["run_id"], found["damage"]) == (3, 2, "id", "")
    assert found["kinds"] == {"beat": 1, "alert": 1, "run-ended": 1}
    assert found["duration_ms"] == 2000.0
    info(str(recording))
    assert "         1 alert" in capsys.readouterr().out
    verify(str(recording))
    assert "3 events in 2 blocks, all whole" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_damage_is_an_error_and_the_rest_is_exported(recording: Path, damage: str) -> None:
    data = bytearray(recording.read_bytes())
    if damage == "cut":
        del data[-3:]
    else:
        data[-3] ^= 1
    recording.write_bytes(data)
    with pytest.raises(HostError, match="the end of the run is not in it"):
        verify(str(recording))
    export(str(recording), recording.with_name("out"))
    assert recording.with_name("out").is_file()


def test_a_recording_and_a_capture_are_exported_for_perfetto(recording: Path, tmp_path: Path) -> None:
    capture = tmp_path / "001.json"
    capture.write_bytes(msgspec.json.encode(placeholder("error-001", "error", "x", mono_ns=5)))
    for source, track in ((recording, "alerts"), (capture, "captures")):
        out = tmp_path / "out.pftrace"
        export(str(source), out)
        trace = Trace()
        trace.ParseFromString(out.read_bytes())
        assert track in {it.track_descriptor.name for it in trace.packet}


def test_what_cannot_be_exported_leaves_no_file(recording: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="has no events of the kernel's trace"):
        export(str(recording), out, Format.trace_dat)
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    with pytest.raises(UsageError):
        export(str(bad), out)
    with pytest.raises(HostError, match="cannot write"):
        export(str(recording), tmp_path / "missing" / "out")
    assert not out.exists()
