"""The pages of docs/ are true: generated parts are current, layouts decode real bytes, links lead somewhere."""

from __future__ import annotations

import re
import shutil
import struct
import tomllib
import zlib
from pathlib import Path

import msgspec
import pytest

from ktstr_tui.link import recfile
from ktstr_tui.model.events import Logged
from ktstr_tui.wire import payloads, scheduler_payloads, stimulus_payloads, vlp
from ktstr_tui.wire.codec import encode_event
from ktstr_tui.wire.frames import encode_frame
from ktstr_tui.wire.messages import MsgType
from tests.docs import wire_tables
from tests.docs.__main__ import main
from tests.docs.markdown import PageError, fill, table
from tests.docs.pages import build

SAMPLES: dict[type[msgspec.Struct], msgspec.Struct] = {
    payloads.Stimulus: payloads.Stimulus(1, 2, 3, 4, 5, 6, 7),
    payloads.SnapshotRequest: payloads.SnapshotRequest(1, 2, "tag"),
    payloads.SnapshotReply: payloads.SnapshotReply(1, payloads.SnapshotStatus.ERR, "why"),
    payloads.ScenarioEnd: payloads.ScenarioEnd(1, 2),
    payloads.ExitCode: payloads.ExitCode(-3),
    scheduler_payloads.SchedUpload: scheduler_payloads.SchedUpload(1, 2, 3, "mine.bpf.o"),
    scheduler_payloads.SchedCommand: scheduler_payloads.SchedCommand(
        1, scheduler_payloads.SchedOp.DETACH, "x"
    ),
    stimulus_payloads.StimulusApplied: stimulus_payloads.StimulusApplied(1, 2, 3, 4, 5, 6, "why"),
}


def unpack(part: wire_tables.Part, data: bytes) -> dict[str, object]:
    form, names = part
    values = struct.unpack(form, data)
    plain = (v.rstrip(b"\0").decode() if isinstance(v, bytes) else v for v in values)
    return dict(zip(names, plain, strict=True))


def test_the_generated_parts_are_current(checkout: Path) -> None:
    stale = [str(path) for path, text in build(checkout).items() if path.read_text("utf-8") != text]
    assert not stale, f"run scripts/docs: {stale}"


def test_no_schema_is_left_of_a_type_that_is_gone(checkout: Path) -> None:
    assert set((checkout / "docs/schemas").iterdir()) <= set(build(checkout))


def test_stale_parts_are_named_then_written(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(checkout / "docs", tmp_path / "docs")
    page = tmp_path / "docs/wire.md"
    page.write_text(page.read_text("utf-8").replace("`STIM`", "`STEM`"), "utf-8")
    assert main(["--check"], tmp_path) == 1
    assert capsys.readouterr().out == "docs/wire.md\n"
    assert main([], tmp_path) == 0
    assert main(["--check"], tmp_path) == 0


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_packed_payload_has_its_fields_where_the_table_says(kind: type[msgspec.Struct]) -> None:
    sample = SAMPLES[kind]
    (part,) = wire_tables.LAYOUTS[kind]
    assert unpack(part, sample.pack()) == msgspec.structs.asdict(sample)  # type: ignore[attr-defined]


def test_every_layout_is_proved() -> None:
    assert set(wire_tables.LAYOUTS) == {
        *SAMPLES,
        payloads.KernAddrs,
        payloads.WorkerSample,
        scheduler_payloads.SchedReply,
    }


def test_addresses_are_sent_with_one_added() -> None:
    (part,) = wire_tables.LAYOUTS[payloads.KernAddrs]
    fields = unpack(part, payloads.KernAddrs(10, 20, 30).pack())
    assert fields == {"phys_base": 11, "page_offset_base_kva": 20, "text_kva": 31}


def test_a_worker_is_where_the_table_says() -> None:
    (part,) = wire_tables.LAYOUTS[payloads.WorkerSample]
    sample = payloads.WorkerSample(105, 7, "spin-0")
    packed = payloads.WorkerReport((sample,)).pack()
    assert unpack(part, packed[4:]) == msgspec.structs.asdict(sample)


def test_a_frame_begins_with_the_header_of_the_table() -> None:
    data = encode_frame(MsgType.Exit, b"abcd")
    header = unpack(wire_tables.FRAME_HEADER, data[:16])
    assert header == {"msg_type": 0x45584954, "length": 4, "crc32": 0xED82CD11, "pad": 0}


def test_a_heartbeat_is_the_frame_of_the_table() -> None:
    data = vlp.encode(vlp.Beat(vlp.Status.DEGRADED, 42, 5, 6, 7))
    fields = unpack(wire_tables.VLP, data)
    assert fields.pop("crc32c") == vlp.crc32c(data[:28])
    expected = {"magic": "VA", "version": 2, "status": 1, "pid": 42, "timestamp": 5, "nonce": 6, "payload": 7}
    assert fields == expected


def test_a_recording_is_laid_out_as_the_tables_say() -> None:
    head = recfile.header("run-1")
    fields = unpack(wire_tables.REC_HEADER, head[:16])
    crc = zlib.crc32(head[8:12] + b"run-1")
    assert (fields, head[16:]) == (
        {"magic": "KTSTRREC", "version": recfile.FORMAT_VERSION, "length": 5, "crc": crc},
        b"run-1",
    )

    data = encode_event(Logged(seq=3, mono_ns=9, severity="info", source="s", text="t"))
    chunk = recfile.pack_chunk([recfile.RecordedEvent(3, 9, data)])
    size = struct.calcsize(wire_tables.REC_CHUNK[0])
    fields = unpack(wire_tables.REC_CHUNK, chunk[:size])
    assert (fields["magic"], fields["stored"], fields["raw"]) == ("CHNK", len(chunk) - size, len(data) + 4)
    assert (fields["count"], fields["first_seq"], fields["last_ns"]) == (1, 3, 9)


def test_every_environment_variable_of_the_program_is_in_the_reference(checkout: Path) -> None:
    sources = "\n".join(path.read_text("utf-8") for path in (checkout / "ktstr_tui").rglob("*.py"))
    patterns = (
        r"environ(?:\.get\(|\[)\"([A-Z_]+)\"",
        r"\"([A-Z_]+)\" (?:not )?in os\.environ",
        r"_VARIABLE = \"(KTSTR_[A-Z_]+)\"",
    )
    read = {name for pattern in patterns for name in re.findall(pattern, sources)}
    page = (checkout / "docs/reference.md").read_text("utf-8")
    assert len(read) > 8
    named = set(re.findall(r"`([A-Z_]+)`", page))
    assert read <= named
    # And none is left that nothing reads any more.
    others = [*(checkout / "scripts").rglob("*"), *(checkout / "tests").rglob("*.py")]
    everything = sources + "".join(path.read_text("utf-8") for path in others if path.is_file())
    assert not [name for name in named if name.startswith("KTSTR_") and name not in everything]


def test_every_option_that_the_reference_names_is_one(checkout: Path) -> None:
    page = (checkout / "docs/reference.md").read_text("utf-8")
    tables = re.findall(r"^\| `(--[a-z-]+)`(?:, `(--[a-z-]+)`)?", page, re.MULTILINE)
    known = {option for row in tables for option in row}
    assert len(known) > 40
    named = set(re.findall(r"`(--[a-z][a-z-]+)(?=[ `=])", page))
    assert named - known - {"--check", "--help"} == set(), "of scripts/docs, and of every command"


def test_links_between_papers_lead_to_files(checkout: Path) -> None:
    papers = [
        *checkout.glob("*.md"),
        *(checkout / "docs").rglob("*.md"),
        *(checkout / "examples").rglob("*.md"),
    ]
    broken = [
        f"{paper.relative_to(checkout)}: {target}"
        for paper in papers
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", paper.read_text("utf-8"))
        if not (paper.parent / target).exists()
    ]
    assert not broken


def test_file_names_in_the_architecture_exist(checkout: Path) -> None:
    page = (checkout / "docs/architecture.md").read_text("utf-8")
    names = re.findall(r"`((?:[a-z_]+/)+[\w.]+\.(?:py|c|h|md|toml))`", page)
    assert len(names) > 20
    missing = [n for n in names if not ((checkout / n).exists() or (checkout / "ktstr_tui" / n).exists())]
    assert not missing


def test_every_room_is_in_the_architecture_on_its_floor(checkout: Path) -> None:
    page = (checkout / "docs/architecture.md").read_text("utf-8")
    shown = {name: int(floor) for name, floor in re.findall(r"^\| `(\w+)/` \|.*\| (\d+) \|$", page, re.M)}
    contract = tomllib.loads((checkout / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    (layers,) = (it["layers"] for it in contract["contracts"] if it["type"] == "layers")
    floors = {
        room: floor
        for floor, layer in enumerate(reversed(layers), 1)
        for room in layer.replace("|", " ").split()
    }
    assert shown == floors


def test_a_page_and_its_blocks_must_fit() -> None:
    page = "a\n<!-- generated: x -->\nold\n<!-- end -->\nb\n"
    assert fill(page, {"x": "new"}) == "a\n<!-- generated: x -->\n\nnew\n\n<!-- end -->\nb\n"
    with pytest.raises(PageError):
        fill(page, {"y": "new"})
    assert table(("a",), [("x|y",)]).splitlines()[-1] == "| x\\|y |"


def test_the_log_of_a_scheduler_follows_where_the_table_ends() -> None:
    (part,) = wire_tables.LAYOUTS[scheduler_payloads.SchedReply]
    sample = scheduler_payloads.SchedReply(
        1, scheduler_payloads.SchedStatus.ATTACHED, loaded=True, enable_seq=4, ops="fifo", log="text"
    )
    packed = sample.pack()
    size = struct.calcsize(part[0])
    assert {**unpack(part, packed[:size]), "log": packed[size:].decode()} == msgspec.structs.asdict(sample)
