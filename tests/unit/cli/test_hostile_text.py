"""Every command that prints, with text in every field that a terminal would obey: none of it gets there.

The fields are found through the types and the commands through the program itself, so that new ones are covered too.
"""

from __future__ import annotations

import ast
import json
import os
import sys
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
import typer

from ktstr_tui.backend.summary import summarize
from ktstr_tui.cli import main as program
from ktstr_tui.cli.config_file import config_path
from ktstr_tui.cli.groups import GROUPS, add_group
from ktstr_tui.cli.run import _print_summary
from ktstr_tui.link.recfile import RecordedEvent, header, pack_chunk
from ktstr_tui.link.runs import RunRecord
from ktstr_tui.link.stream import Stream
from ktstr_tui.memory.snapshot import SnapshotInfo
from ktstr_tui.memory.store import SnapshotStore
from ktstr_tui.model import commands as cmd
from ktstr_tui.model import events as ev
from ktstr_tui.model.answers import DebuggerOpened
from ktstr_tui.model.errors import GuestError
from ktstr_tui.model.fold import fold
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.report_files import DegradedReport, DualReport
from ktstr_tui.model.state import RunState, WatchpointState
from ktstr_tui.text.output import guarded, print_json
from ktstr_tui.wire.codec import encode_event
from tests.unit.link.backend import Backend
from tests.unit.memory.made_up import store_one

HOSTILE = "A\x1b]0;owned\x07\x1b[31m\x9b2J\x85\x7f\x00\x08\r\u202e\u2066\u200f\u061c\u2028Z"
LEFT = "A2JZ"
"""What a terminal may get of it."""
OBEYED = {*map(chr, range(32)), *map(chr, range(0x7F, 0xA0)), *"\u061c\u200e\u200f"} | {
    *map(chr, (*range(0x2028, 0x202F), *range(0x2066, 0x206A), *range(0xD800, 0xE000)))
}
PACKAGE = Path(program.__file__).resolve().parents[1]


def hostile(kind: Any, depth: int = 0) -> Any:  # noqa: ANN401
    """A value of an annotation with hostile text wherever text may be."""
    simple: dict[Any, Any] = {int: 1, float: 1.5, str: HOSTILE, bool: True, type(None): None, Any: HOSTILE}
    simple[bytes] = HOSTILE.encode()
    if kind in simple:
        return simple[kind]
    origin, args = get_origin(kind), get_args(kind)
    if origin is typing.Annotated:
        return hostile(args[0], depth)
    if origin is Literal:
        return args[0]
    if origin in (Union, types.UnionType):
        return hostile(next(it for it in args if it is not type(None)), depth)
    if origin is tuple and args[-1] is not Ellipsis:
        return tuple(hostile(it, depth + 1) for it in args)
    if origin in (tuple, list):
        return origin([hostile(args[0], depth + 1)] if depth < 12 else [])
    if origin is dict:
        return {hostile(args[0]): hostile(args[1], depth + 1)}
    hints = get_type_hints(kind, include_extras=True)
    names = [it for it in kind.__struct_fields__ if it != "schema"]
    return kind(**{name: hostile(hints[name], depth + 1) for name in names})


def hostile_events() -> list[ev.Event]:
    """One event of each type, the end last."""
    kinds = sorted(get_args(ev.Event), key=lambda kind: (kind is ev.RunEnded, kind.__name__))
    return [
        msgspec.structs.replace(hostile(kind), seq=seq, mono_ns=1_000_000_000 * seq)
        for seq, kind in enumerate(kinds, 1)
    ]


def recording(path: Path) -> Path:
    packed = [RecordedEvent(it.seq, it.mono_ns, encode_event(it)) for it in hostile_events()]
    path.write_bytes(header(HOSTILE) + pack_chunk(packed))
    return path


class Captured(typing.NamedTuple):
    code: int
    out: str
    err: str


Call = Callable[..., Captured]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs the program in this process, and checks what it prints."""

    def run(*arguments: str) -> Captured:
        monkeypatch.setattr(sys, "argv", ["ktstr-tui", *arguments])
        code = 0
        try:
            program.main()
        except SystemExit as left:
            code = int(left.code or 0)
        out, err = capsys.readouterr()
        for stream, text in (("output", out), ("error", err)):
            found = {hex(ord(it)) for it in OBEYED & {*text} - {"\n"}}
            assert not found, f"{' '.join(arguments)}: {found} on standard {stream}:\n{text!r}"
        assert code != 70, err
        return Captured(code, out, err)

    return run


async def answer(command: cmd.Command) -> cmd.Reply:
    """A backend's answers, with hostile text in each."""
    watch = msgspec.to_builtins(hostile(WatchpointState))
    match command.request:
        case cmd.Capture():
            return command.done(hostile(cmd.Captured))
        case cmd.ListWatches():
            return command.done(watches=[watch])
        case cmd.AddWatch():
            return command.done(cmd.WatchAdded(slot=1, watch=watch))
        case cmd.RunKernelOp():
            entry = {"target": HOSTILE, "address": 1, "before": HOSTILE, "after": HOSTILE}
            return command.done(entries=[{**entry, "start_time_ns": 1, "comm": HOSTILE}])
        case cmd.AttachDebugger():
            return command.done(hostile(DebuggerOpened))
        case cmd.End():
            raise GuestError(HOSTILE, HOSTILE, (HOSTILE,))
    return command.done(changed=True, watch=watch, more=HOSTILE)


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A run named ``live`` whose every word is hostile."""
    # The path of a unix socket has 107 characters at most.
    for name, short in (("XDG_RUNTIME_DIR", "run"), ("XDG_STATE_HOME", "state"), ("XDG_CACHE_HOME", "cache")):
        (tmp_path / short).mkdir(mode=0o700)
        monkeypatch.setenv(name, str(tmp_path / short))
    place = tmp_path / "run" / "ktstr" / "live"
    place.mkdir(parents=True)
    words = dict.fromkeys(RunRecord.__struct_fields__, HOSTILE)
    (place / "run.json").write_bytes(msgspec.json.encode({**words, "pid": os.getpid()}))
    dead = place.with_name("dead")
    dead.mkdir()
    (dead / "run.json").write_bytes(msgspec.json.encode({**words, "pid": 0}))
    store_one(
        SnapshotStore(tmp_path / "state/ktstr-tui/runs/live/snapshots"),
        "hostile",
        bytes(4096),
        hostile(SnapshotInfo),
    )
    stream = Stream(run_id=HOSTILE)
    for event in hostile_events():
        if not isinstance(event, ev.RunEnded):
            stream.emit(event)
    with Backend(place, answer, stream):
        yield


ON_A_RUN = {
    "status": [(), ("--json",)],
    "events": [(), ("--json",)],
    "beats": [(), ("--json",)],
    "tasks": [(), ("--json",)],
    "capture": [(), ("--json",), ("--memory", "--json")],
    "freeze": [(), ("--json",)],
    "thaw": [(), ("--json",)],
    "end": [(), ("--json",)],
    "watch list": [(), ("--json",)],
    "scheduler show": [(), ("--json",)],
}
OTHERS = [
    ("watch", "add", "jiffies", "live"),
    ("watch", "add", "jiffies", "live", "--json"),
    ("watch", "remove", "1", "live"),
    ("watch", "resume", "1", "live", "--json"),
    ("op", "read", "jiffies", "--run", "live"),
    ("op", "read", "jiffies", "--run", "live", "--json"),
    ("op", "write", "panic_timeout=1", "--run", "live"),
    ("scheduler", "replace", HOSTILE, "live"),
    ("scheduler", "detach", "live"),
    ("scheduler", "attach", "live", "--json"),
    ("automation", "hold", "live"),
    ("automation", "resume", "live", "--json"),
    ("audit", "show", "live"),
    ("audit", "verify", "live"),
    ("rebuild", "live"),
    ("rebuild", "live", "--cancel", "--json"),
    ("restart", "live"),
    ("gdb", "live", "--no-start"),
    ("gdb", "live", "--no-start", "--tcp", "0", "--json"),
    ("gdb", "live", "--detach"),
    ("gdb", "live", "--detach", "--json"),
    ("restart", "live", "--json"),
    ("capture-diff", HOSTILE, HOSTILE, "--run", "live"),
    ("capture-diff", "live", "--run", "live"),
    ("status", "dead"),
    ("status", "nobody"),
    ("status", f"/{HOSTILE.replace(chr(0), '')}"),
    ("locate",),
    ("kernel", "list"),
    ("kernel", "boots"),
    ("kernel", "use", HOSTILE),
    ("kernel", "btf", HOSTILE),
    ("new", HOSTILE),
    ("beat", "nobody"),
    ("config", "path"),
    ("config", "show"),
    ("config", "show", "--json"),
    ("config", "check"),
    ("recording", "info", HOSTILE.replace(chr(0), "")),
    ("recording", "verify", HOSTILE.replace(chr(0), "")),
    ("recording", "export", HOSTILE.replace(chr(0), ""), "--out", "x"),
    ("runs", "list"),
    ("runs", "list", "--json"),
    ("runs", "show", HOSTILE.replace(chr(0), "")),
    ("runs", "rm", HOSTILE.replace(chr(0), "")),
    ("runs", "prune"),
    ("runs", "prune", "--json"),
    ("runs", "keep", HOSTILE),
    ("replay", HOSTILE),
    ("rerun", HOSTILE.replace(chr(0), "")),
    ("search", "--seeds", HOSTILE),
    ("search", "--until", HOSTILE),
    ("compare", HOSTILE.replace(chr(0), ""), "nobody"),
    ("bundle", HOSTILE.replace(chr(0), "")),
    ("config", "check", "--json"),
    ("snapshot", "list"),
    ("snapshot", "list", "--json"),
    ("snapshot", "show", "hostile"),
    ("snapshot", "show", "hostile", "--json"),
    ("snapshot", "list", "far"),
    ("snapshot", "list", "far", "--json"),
    ("snapshot", "show", "far/hostile"),
    ("snapshot", "verify"),
    ("snapshot", "diff", "hostile", HOSTILE),
    ("snapshot", "keep", HOSTILE),
    ("snapshot", "export", HOSTILE, HOSTILE),
    ("snapshot", "rm", HOSTILE),
    ("snapshot", "gc"),
    ("restore", HOSTILE),
]
THE_GATE_AND_BUILD_TOOLS = ("text/output.py", "guest/libbpf.py", "guest/qemu_fetch.py")
SILENT = {
    "run": "its summary is tested below",
    "snapshot open": "opens the screen",
    "attach": "opens the screen",
    "drgn": "prints what its user asks for, in Python",
    "doctor": "knows nothing of a guest; its table goes through the same function",
    "bench": "prints numbers",
    "operator new": "prints a key that it made",
    "operator show": "prints the key of its user",
    "operator propose": "tests/unit/cli/test_operator.py",
    "operator sign": "tests/unit/cli/test_operator.py",
    "operator submit": "tests/unit/cli/test_operator.py",
    "kernel fetch": "prints what a signed archive says",
}


@pytest.mark.usefixtures("live")
def test_no_answer_of_a_run_gets_to_the_terminal(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for command, options in ON_A_RUN.items():
        for option in options:
            done = call(*command.split(), "live", *option)
            assert done.out or done.err, command
            if option and done.code == 0:
                for document in [done.out] if command != "events" else done.out.splitlines():
                    json.loads(document)
    config_path().parent.mkdir(parents=True)
    config_path().write_text("theme = " + json.dumps(HOSTILE).replace("\x7f", "\\u007f"), "utf-8")
    for arguments in OTHERS:
        done = call(*arguments)
        assert done.out or done.err, arguments


def test_every_command_that_prints_is_in_the_list() -> None:
    for name in GROUPS:
        add_group(program.app, name)
    root = typer.main.get_command(program.app)
    names: set[str] = set()
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        below = getattr(command, "commands", {})
        names |= {f"{name} {it}" for it in below} or {name}
    covered = {*ON_A_RUN, *SILENT, *(arguments[0] for arguments in OTHERS)}
    covered |= {" ".join(arguments[:2]) for arguments in OTHERS}
    assert names - covered == set(), "add the new commands to the lists above"


def test_no_event_of_a_recording_gets_to_the_terminal(tmp_path: Path, call: Call) -> None:
    path = recording(tmp_path / "recording.ktstr")
    plain, as_json = call("events", str(path)), call("events", str(path), "--json")
    assert plain.out.count(LEFT) >= 10, "what is left of the text is shown"
    assert [json.loads(it)["seq"] for it in as_json.out.splitlines()] == [it.seq for it in hostile_events()]
    logged = next(it for it in map(json.loads, as_json.out.splitlines()) if it["type"] == "log")
    assert logged["text"] == HOSTILE, "JSON says the same with escapes"
    assert "\\u202e" in as_json.out


def test_no_field_of_a_capture_gets_to_the_terminal(tmp_path: Path, call: Call) -> None:
    for number, kind in enumerate((CaptureReport, DegradedReport, DualReport)):
        report = hostile(kind)
        if kind is DualReport:
            report = msgspec.structs.replace(report, outcome="both")
        (tmp_path / f"{number}.json").write_bytes(msgspec.json.encode(report))
    first, degraded, dual = (str(tmp_path / f"{number}.json") for number in range(3))
    changed = msgspec.structs.replace(hostile(CaptureReport), tag="other", tasks=(), dsqs=(), maps=())
    second = tmp_path / "second.json"
    second.write_bytes(msgspec.json.encode(changed))
    for names in (
        (first, str(second)),
        (str(second), first),
        (degraded,),
        (dual,),
        (first,),
        (first, degraded),
    ):
        for option in ((), ("--json",)):
            done = call("capture-diff", *names, *option)
            assert done.out or done.err, names


def test_no_word_of_a_summary_gets_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    state = RunState()
    for event in hostile_events():
        fold(state, event)
    _print_summary(state)
    print_json(summarize(state))

    def fails() -> None:
        raise GuestError(HOSTILE, HOSTILE, (HOSTILE,))

    with pytest.raises(SystemExit):
        guarded(fails)
    out, err = capsys.readouterr()
    assert not OBEYED & {*(out + err)} - {"\n"}
    assert LEFT in out
    assert LEFT in err


def test_nothing_prints_past_the_gate() -> None:
    past = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if "/".join(path.relative_to(PACKAGE).parts) in THE_GATE_AND_BUILD_TOOLS:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in ("print", "typer.echo", "typer.secho", "click.echo") or called.startswith(
                    ("sys.stdout.write", "sys.stderr.write", "sys.stdout.buffer", "sys.stdout.writelines")
                ):
                    past.append(f"{path.relative_to(PACKAGE)}:{node.lineno}: {called}")
    assert past == []
