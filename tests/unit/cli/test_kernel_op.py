"""Targets and values as they are typed."""

from __future__ import annotations

import json

import msgspec
import pytest

from ktstr_tui.cli import control, kernel_op
from ktstr_tui.cli.kernel_op import line_of, parse_read, parse_write
from ktstr_tui.model.commands import RunKernelOp
from ktstr_tui.model.errors import EXIT_GUEST, UsageError
from ktstr_tui.model.facts import KernelOpPlace
from ktstr_tui.model.outputs import KernelOpEntry, KernelOpResult
from ktstr_tui.wire.kernel_ops import (
    U32,
    U64,
    Bytes,
    Direct,
    Entry,
    Int,
    Kva,
    OrU32,
    PerCpuField,
    Span,
    Symbol,
    TaskField,
    Value,
)


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("panic_timeout", Entry(Symbol("panic_timeout"))),
        ("panic_timeout:u32", Entry(Symbol("panic_timeout"), U32())),
        ("jiffies_64:u64", Entry(Symbol("jiffies_64"), U64())),
        ("linux_proc_banner:100", Entry(Symbol("linux_proc_banner"), Span(100))),
        ("some.constprop.0", Entry(Symbol("some.constprop.0"))),
        ("runqueues@1.nr_running", Entry(PerCpuField("runqueues", "nr_running", 1))),
        ("runqueues@0.scx.local_dsq.nr:u32", Entry(PerCpuField("runqueues", "scx.local_dsq.nr", 0), U32())),
        ("cpu_number@3", Entry(PerCpuField("cpu_number", "", 3))),
        ("0xffff888000100000:8", Entry(Kva(0xFFFF888000100000), Span(8))),
        ("direct:0xFFFF888000100000:u64", Entry(Direct(0xFFFF888000100000), U64())),
        ("task:12.scx.weight", Entry(TaskField(12, "scx.weight"))),
        ("task:12@345.comm:16", Entry(TaskField(12, "comm", 345), Span(16))),
    ],
)
def test_targets(text: str, entry: Entry) -> None:
    assert parse_read(text) == entry


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x=5", Int(5)),
        ("x=-1", Int(-1)),
        ("x = 0x10", Int(16)),
        ("x:u32=5", U32(5)),
        ("x:u32=-1", U32(0xFFFFFFFF)),
        ("x:u64=5", U64(5)),
        ("x:2=0x1234", Bytes(b"\x34\x12")),
        ("x=hex:0a ff", Bytes(b"\n\xff")),
        ("x:2=hex:0aff", Bytes(b"\n\xff")),
        ("x|=4", OrU32(4)),
        ("x:u32|=4", OrU32(4)),
    ],
)
def test_values(text: str, value: Value) -> None:
    assert parse_write(text) == Entry(Symbol("x"), value)


def test_a_task_is_written_by_its_start_time() -> None:
    assert parse_write("task:7@99.scx.weight=1") == Entry(TaskField(7, "scx.weight", 99), Int(1))


@pytest.mark.parametrize(
    "text", ["", "@1.x", "a@b.c", "12", "task:0.x", "task:5", "0x1ffffffffffffffffff", "x:0", "x" * 300]
)
def test_what_is_no_target(text: str) -> None:
    with pytest.raises(UsageError):
        parse_read(text)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "x=",
        "x=five",
        "x:u32=0x100000000",
        "x:1=-129",
        "x|=0x100000000",
        "x:u64|=1",
        "x=hex:0",
        "x:3=hex:00",
        "x|=-1",
    ],
)
def test_what_assigns_nothing(text: str) -> None:
    with pytest.raises(UsageError):
        parse_write(text)


def entry_of(target: str, **fields: object) -> dict[str, object]:
    """The answer to one target, as a backend gives it."""
    place = KernelOpPlace(target=target, **fields)  # type: ignore[arg-type]
    return {**msgspec.to_builtins(place), "error": None}


def test_lines() -> None:
    entry = msgspec.convert(
        entry_of("knob", address=4096, size_bytes=4, before=10, before_text="10 (0xa)"), KernelOpEntry
    )
    assert line_of(entry) == "knob  0x1000  10 (0xa)"
    entry["after"], entry["after_text"] = "00ff", "hex:00ff"
    entry["start_time_ns"], entry["comm"] = 5, "spin"
    assert line_of(entry) == "knob  0x1000  10 (0xa) → hex:00ff  of spin, started at 5 ns"


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """What the run answers, one entry for each target that it is asked for."""
    entries: list[dict[str, object]] = []

    def ask_run(_run: str | None, request: RunKernelOp, kind: type[KernelOpResult]) -> KernelOpResult:
        assert len(request.op["entries"]) == len(entries)
        plain = {"mode": "hot", "direction": "read", "entries": entries, "pause": None}
        return msgspec.convert(plain, kind)

    monkeypatch.setattr(control, "ask_run", ask_run)
    return entries


@pytest.mark.parametrize("as_json", [False, True])
def test_targets_that_are_wrong_cost_only_themselves(
    as_json: bool, answers: list[dict[str, object]], capsys: pytest.CaptureFixture[str]
) -> None:
    gone = {"fault": "guest", "message": "no task with pid 9", "hint": "look again"}
    answers += [
        entry_of("one", address=4096, before=1, before_text="1 (0x1)"),
        {**entry_of("task 9.comm"), "error": gone},
        entry_of("two", address=8192, before=2, before_text="2 (0x2)"),
    ]
    with pytest.raises(SystemExit) as left:
        kernel_op.read(["one", "task:9.comm", "12", "two"], as_json=as_json)
    out, err = capsys.readouterr()
    assert left.value.code == EXIT_GUEST
    assert "no task with pid 9" in err
    assert "look again" in err
    assert "'12' is not a target" in err
    if as_json:
        found = json.loads(out)["entries"]
        assert [it["before"] for it in found] == [1, None, None, 2]
        assert [it["error"] and it["error"]["fault"] for it in found] == [None, "guest", "user", None]
    else:
        assert out == "one  0x1000  1 (0x1)\ntwo  0x2000  2 (0x2)\n"


def test_targets_that_are_all_none_are_not_asked_for(answers: list[dict[str, object]]) -> None:
    answers.append({})
    with pytest.raises(UsageError, match="'12' is not a target"):
        kernel_op.read(["12", "13"])
