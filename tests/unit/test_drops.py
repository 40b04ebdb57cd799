"""Every counter of something lost reaches an event and the screen.

The source is read rather than the objects, because most of them need a machine: a class that begins to count losses,
and whose counter no ``drops()`` gives out, fails here with its name.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_type_hints

import ktstr_tui
from ktstr_tui.backend.control import RunControl
from ktstr_tui.backend.counting import Counting
from ktstr_tui.backend.outcome import RunEnd
from ktstr_tui.backend.session import _Audience
from ktstr_tui.control.authority import Authority
from ktstr_tui.link.publisher import open_publisher
from ktstr_tui.link.recording import Recorder
from ktstr_tui.link.status import status_of
from ktstr_tui.link.stream import Stream
from ktstr_tui.model.control import ControlPlan
from ktstr_tui.model.events import DropsCounted, Event
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import RunState
from ktstr_tui.text.drops import DROP_WORDS, drop_line, drop_words
from ktstr_tui.tui.lists import wire_lines
from ktstr_tui.tui.view import View

ROOT = Path(ktstr_tui.__file__).parent
LOST = re.compile(
    r"drop|lost|skipp|refus|^_?bad|junk|discard|overflow|lines_cut|^_?cut$|timeouts|abandon|unexplained|unseen|missed"
    r"|swallow|failed$|failures|reject|over_budget|malform|untold|left_out|evicted|unencod|undecod|stray|unexpected"
)

FRAMES = "FramesCounted, in the wire pane"
BEATS = "BeatsObserved.counters and the exported metrics"
VIEWER = "the viewer's own counters, on the info page"
ELSEWHERE: dict[str, str] = {
    "DispatchStatistics": FRAMES,
    "Dispatcher": FRAMES,
    "FloodGate": FRAMES,
    "FloodGateStatistics": FRAMES,
    "FrameStatistics": FRAMES,
    "GuestPort": FRAMES,
    "Outbox": FRAMES,
    "BeatLoop": BEATS,
    "HeartbeatFile": BEATS,
    "Keyring": BEATS,
    "KeyringStatistics": BEATS,
    "MetricsServer": BEATS,
    "ScrapeStatistics": BEATS,
    "SecureCounts": BEATS,
    "SenderStatistics": BEATS,
    "TrackedRow": BEATS,
    "TrackerStatistics": BEATS,
    "Follower": VIEWER,
    "FollowerStatistics": VIEWER,
    "ReplayStatistics": VIEWER,
    "RequestStatistics": VIEWER,
    "Requests": VIEWER,
    "Subscription": VIEWER,
    "ViewerStatistics": VIEWER,
    "Damage": "told on standard error by whoever reads the recording",
    "AptRoot": "told while packages are fetched",
    "LinkStatistics": "counted by the publisher, which is refused the message",
    "PeriodicFacts.timeouts": "no counter of the run",
    "PeriodicCaptures._timeouts_in_a_row": "no counter of the run",
    "CatchUp": VIEWER,
    "TracePages": "told by the command that exports a recording",
    "GdbConnection.skipped": "no loss: answers to questions that were given up on purpose",
    "GdbStatistics.misnamed_hits": "no loss: the stop is delivered, and the watched values are looked at",
    "GdbStatistics.discarded_replies": "no loss: answers to questions that were given up on purpose",
    "EventLogTruncated": "an event of the bridge, told by BridgeNews",
    "Monitor._bad_in_a_row": "no counter of the run",
    "TrioSocket": "counted by the publisher, which is refused the message",
    "SamplerStatistics.missed": "BackendBeat.samples_missed",
    "SamplerStatistics.skipped_frozen": "BackendBeat.samples_missed",
    "Sampler._missed": "BackendBeat.samples_missed",
    "Sampler._skipped_frozen": "BackendBeat.samples_missed",
    "VcpuTimes.failures": "vcpu_cpu_time_ns is None in the sample, and the verdict says so",
    "PublisherStatistics.failed_commands": "the reply of each carries the error",
    "PublisherStatistics.refused": "Publisher.drops gives out the counter itself",
    "PublisherStatistics.bad_requests": "Publisher.drops gives out the counter itself",
    "StatsPort._failed": "scheduler_stats_unavailable of each capture",
    "StatsPortStatistics.failed": "scheduler_stats_unavailable of each capture",
    "KernelOps._refused": "a KernelOpDone event each",
    "KernelOpsStatistics.refused": "a KernelOpDone event each",
    "BridgeStatistics.evicted": "BridgeNews counts each as it happens",
    "SnapshotBridge._evicted": "BridgeNews counts each as it happens",
    "StopInspector._missed_one": "no counter: the next look makes up for it",
    "Request.abandoned": "no counter: a request whose requester left",
    "ActionHandler._fail": "no counter",
    "PeriodicStatistics.abandoned": "no counter: PeriodicCaptures.drops gives the number",
}
"""Classes and counters that reach people by another way than ``drops()``, and by which."""

NUMBERS = ("int", "dict[str, int]", "Counter")
VALUES = ("model", "tui", "text", "cli", "bench", "kernel")
"""Rooms of values and of readers; a room that keeps something running is not among them."""


@functools.cache
def classes() -> list[tuple[Path, ast.ClassDef]]:
    """Every class of the rooms that keep something running."""
    return [
        (path, node)
        for path in sorted(ROOT.rglob("*.py"))
        if path.relative_to(ROOT).parts[0] not in VALUES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]


def method(cls: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    return next((it for it in cls.body if isinstance(it, ast.FunctionDef) and it.name == name), None)


def numbers(cls: ast.ClassDef) -> set[str]:
    """The counters of losses of a class: fields that are numbers or tables of numbers, and such attributes."""
    found: set[str] = set()
    for node in cls.body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=kind) if ast.unparse(kind).startswith(
                NUMBERS
            ):
                found.add(name)
    init = method(cls, "__init__")
    for statement in ast.walk(init) if init else ():
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
            value = ast.unparse(statement.value)
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if value in ("0", "{}") or value.startswith("Counter("):
                found |= {
                    it.attr for target in targets for it in ast.walk(target) if isinstance(it, ast.Attribute)
                }
    return {name for name in found if LOST.search(name)}


@functools.cache
def read_by(owner: str) -> set[str]:
    """The names that the ``drops()`` of a class reads."""
    for _, cls in classes():
        drops = method(cls, "drops")
        if cls.name == owner and drops is not None:
            return {node.attr.strip("_") for node in ast.walk(drops) if isinstance(node, ast.Attribute)}
    return set()


def keepers() -> dict[str, str]:
    """By name of a record of statistics, the class that makes it."""
    found: dict[str, str] = {}
    for _, cls in classes():
        statistics = method(cls, "statistics")
        if statistics is not None and statistics.returns is not None:
            found[ast.unparse(statistics.returns)] = cls.name
    return found


PARTS = {
    "Counts": "UserWatches",
    "Owner": "Coordinator",
    "Pairs": "Finisher",
    "Rendezvous": "Coordinator",
    "RequestQueue": "Coordinator",
    "SchedulerWatch": "Coordinator",
    "SubWatch": "SubInspector",
    "Snapshots": "SnapshotBridge",
    "Ring": "Executor",
    "GdbConnection": "GdbClient",
    "PacketReader": "GdbClient",
    "Watch": "UserWatches",
    "RequestReader": "DebuggerDoor",
    "SessionCounts": "DebuggerDoor",
    "Observer": "RunBeats",
    "ObserverStatistics": "RunBeats",
    "Silences": "RunBeats",
}
"""Classes that keep counters for an owner, and the class whose ``drops()`` gives them out."""

RENAMED = {
    "ConsoleStatistics.log_bytes_dropped": "dropped",
    "FinisherStatistics.duals_dropped": "dropped",
    "LoopStatistics.lost": "lost_count",
    "KernelOpsStatistics.refusals_untold": "untold",
    "Observer._dropped": "events_dropped",
    "Owner.unexpected": "unexpected_stops",
    "QmpStatistics.events_dropped": "dropped",
    "QmpStatistics.junk_lines": "junk",
    "SchedulerWatch.pauses": "watch_pauses",
    "Watch.untold": "calls_untold",
    "SnapshotBridge._kernel_ops_dropped": "kernel_ops_dropped",
}
"""Counters that the owner's ``drops()`` reads under another name."""


def test_every_counter_of_something_lost_is_given_out() -> None:
    makers, missing = keepers(), []
    for path, cls in classes():
        for name in sorted(numbers(cls)):
            full = f"{cls.name}.{name}"
            if cls.name in ELSEWHERE or full in ELSEWHERE:
                continue
            owner = PARTS.get(cls.name) or makers.get(cls.name, cls.name)
            if RENAMED.get(full, name.strip("_")) not in read_by(owner):
                missing.append(f"{path.relative_to(ROOT)}: {full}, by {owner}.drops()")
    assert missing == []


def test_every_class_that_gives_drops_out_is_asked() -> None:
    """By the counting itself, or by the ``drops()`` of another class."""
    asked = {it.__name__ for it in get_type_hints(Counting).values() if isinstance(it, type)}
    asked |= {
        "Publisher",
        "Recorder",
        "Audit",
        "Authority",
        "ControlLoop",
        "Executor",
        "Sampler",
        "TaskRatesLoop",
        "HoldEngine",  # in the place of GdbClient
        "MemoryShots",  # the counting's, which knows it as something that gives out drops
    }  # the audience's, and the opening's
    calls: dict[str, int] = {}
    givers = {cls.name: drops for _, cls in classes() if (drops := method(cls, "drops")) is not None}
    for name, drops in givers.items():
        inner = [
            it
            for it in ast.walk(drops)
            if isinstance(it, ast.Call) and ast.unparse(it.func).endswith(".drops")
        ]
        calls[name] = len(inner)
    through = {
        "Machine": ("GdbClient", "Stations", "QmpClient", "Console"),
        "Coordinator": ("Finisher", "SubInspector", "UserWatches"),
        "ActionHandler": ("KernelClaims", "GuestRequests", "SchedulerLog", "SchedulerReplacer"),
        "GuestRequests": ("SwapWatch",),
        "KernelOps": ("AuditTrail",),
        "Sampler": ("Monitor",),
        "Seeded": ("GivenBytes", "Interventions", "Checkpoints"),
        "ControlLoop": ("Probes", "Recovery"),
        "Executor": ("Ledger",),
        "Recorder": ("TraceKeeper",),
        "Publisher": ("EventBatches",),
    }
    assert {name: count for name, count in calls.items() if count} == {
        it: len(parts) for it, parts in through.items()
    }
    asked |= {part for parts in through.values() for part in parts}
    assert set(givers) - asked - {"Engine", "Drops"} == set()


class Lossy:
    """Has lost one thing for each reason that it is given."""

    def __init__(self, *reasons: str) -> None:
        self._reasons = reasons

    def drops(self) -> Mapping[str, int]:
        return {**dict.fromkeys(self._reasons, 1), "never": 0}


def made_up(stream: Stream) -> Counting:
    """A counting whose sources lose everything that has words, each once."""
    rooms: dict[str, list[str]] = {}
    for name in DROP_WORDS:
        room, _, reason = name.partition(".")
        rooms.setdefault(room, []).append(reason or "No space left on device")
    parts: dict[str, Any] = {
        field: Lossy(*rooms.get(room, ())) for field, room in
        {"machine": "machine", "handler": "guest", "stats": "stats-port", "store": "captures", "early": "early",
         "alarms": "alarms", "periodic": "periodic", "bridge": "bridge", "bridge_news": "scenario", "beats": "beats",
         "snapshots": "snapshots", "kernel_ops": "kernel-ops", "guest_ops": "guest-kernel-ops",
         "seeded": "seed", "debugger": "debugger"}.items()
    }  # fmt: skip
    lossy = {room: Lossy(*reasons) for room, reasons in rooms.items()}
    audience = {
        room: lossy[room] for room in ("publisher", "recorder", "authority", "audit", "loop", "executor")
    }
    port = SimpleNamespace(counters=lambda: stream.state.frames, drops=lossy["port"].drops)
    coordinator = SimpleNamespace(frozen_total_ns=lambda: 0, drops=lossy["coordinator"].drops)
    sampled = SimpleNamespace(
        statistics=lambda: SimpleNamespace(missed=0, skipped_frozen=0), drops=lossy["sampler"].drops
    )
    return Counting(
        stream=stream,
        audience=cast(
            "Any",
            SimpleNamespace(viewers=lambda: 0, is_gone=lambda viewer: False, sources=lambda: audience),
        ),
        port=cast("Any", port),
        coordinator=cast("Any", coordinator),
        opening=cast("Any", SimpleNamespace(sampler=sampled, following=lossy["trace"])),
        **parts,
    )


def test_what_is_given_out_is_on_the_stream_and_on_the_screen_in_words() -> None:
    stream = Stream()
    events: list[Event] = []
    stream.add_sink(lambda event, data: events.append(event))
    made_up(stream).count()
    (counted,) = [event for event in events if isinstance(event, DropsCounted)]
    expected = {name if "." in name else f"{name}.No space left on device" for name in DROP_WORDS}
    expected.discard("stream.events-not-encodable")  # the stream is a real one, which lost nothing
    assert set(counted.drops) == expected
    state = fold(RunState(), counted)
    assert status_of(state)["drops"] == counted.drops
    lines = wire_lines(View(cast("Any", SimpleNamespace(state=state))), 200)
    shown = "\n".join("".join(text for text, _ in line) for line in lines)
    for name in expected:
        assert drop_words(name) in shown
        assert not drop_words(name).startswith("dropped ")


def reasons_of(cls: ast.ClassDef) -> set[str]:
    """The reasons in the source of a ``drops()`` that are the same in every run."""
    drops = method(cls, "drops")
    keys = [key for it in ast.walk(drops) if isinstance(it, ast.Dict) for key in it.keys] if drops else []
    return {str(key.value) for key in keys if isinstance(key, ast.Constant)}


def test_every_reason_has_words() -> None:
    worded = {name.partition(".")[2] for name in DROP_WORDS}
    worded |= {reason.removeprefix("watches-").removeprefix("sub-") for reason in worded}
    for _, cls in classes():
        assert reasons_of(cls) <= worded, cls.name


def test_a_reason_of_the_operating_system_is_shown_as_it_is() -> None:
    assert (
        drop_words("captures.No space left on device")
        == "captures that could not be saved (No space left on device)"
    )
    assert (
        drop_words("publisher.not-sent: reply: gone")
        == "messages to viewers that could not be sent (reply: gone)"
    )
    assert drop_line("publisher.not-sent", 1) == "messages to viewers that could not be sent: 1"
    assert drop_words("somewhere.new\x1b[31m") == "dropped somewhere.new"


async def test_the_audience_gives_out_the_link_and_the_control(tmp_path: Path) -> None:
    stream, authority = Stream(), Authority()
    control = RunControl(ControlPlan(name="run"), stream, RunEnd(), authority, tmp_path)
    async with open_publisher(stream, tmp_path / "s", control.desk.serve) as publisher:
        audience = _Audience(publisher, Recorder(stream, tmp_path / "r"), authority, control)
        assert set(audience.sources()) == {"publisher", "recorder", "authority", "audit", "loop", "executor"}
