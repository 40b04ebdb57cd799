"""Commands of viewers: what they are given is checked, what they may not do is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
import trio

from ktstr_tui.backend.commands import run_command
from ktstr_tui.backend.live import LiveGuest
from ktstr_tui.capture.job import SavedCapture
from ktstr_tui.capture.watch.watch_spec import WatchSpec
from ktstr_tui.model import events as ev
from ktstr_tui.model.commands import Command, Freeze, ListWatches, Reply, Request
from ktstr_tui.model.errors import GuestError
from ktstr_tui.model.fold import fold
from ktstr_tui.model.report import CaptureReport
from ktstr_tui.model.state import RunState
from ktstr_tui.wire.codec import VERSION, CodecError, decode_command


@dataclass
class FakeWatches:
    """Sets watches in a state instead of in a machine."""

    state: RunState
    added: list[WatchSpec] = field(default_factory=list)
    changed: list[tuple[str, int]] = field(default_factory=list)

    async def add(self, spec: WatchSpec) -> int:
        await trio.lowlevel.checkpoint()
        self.added.append(spec)
        fold(self.state, ev.WatchpointChanged(slot=1, expression=spec.expression, address=16))
        return 1

    async def remove(self, slot: int) -> bool:
        await trio.lowlevel.checkpoint()
        self.changed.append(("remove", slot))
        return slot == 1

    async def resume(self, slot: int) -> bool:
        await trio.lowlevel.checkpoint()
        self.changed.append(("resume", slot))
        return False


class Run:
    """A state and a guest that knows watches only."""

    def __init__(self) -> None:
        self.state = RunState()
        self.watches = FakeWatches(self.state)
        self.guest = cast("LiveGuest", SimpleNamespace(coordinator=SimpleNamespace(watches=self.watches)))

    async def ask(self, name: str, **args: object) -> Reply:
        request = msgspec.convert({"name": name, **args}, Request)
        return await run_command(Command(id=7, request=request), self.guest, self.state)


@pytest.fixture
def run() -> Run:
    return Run()


async def test_a_watch_is_added_with_what_was_asked(run: Run) -> None:
    reply = await run.ask("watch.add", expression="jiffies", length=8, once=True, capture=True, budget=5)
    assert run.watches.added == [
        WatchSpec(expression="jiffies", length_bytes=8, once=True, capture=True, budget_per_s=5)
    ]
    assert (reply.id, reply.result["slot"], reply.result["watch"]["expression"]) == (7, 1, "jiffies")
    await run.ask("watch.add", expression="jiffies")
    assert run.watches.added[1] == WatchSpec(expression="jiffies")


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("watch.add", {}),
        ("watch.add", {"expression": 7}),
        ("watch.add", {"expression": "x", "length": True}),
        ("watch.add", {"expression": "x", "length": "8"}),
        ("watch.add", {"expression": "x", "once": 1}),
        ("watch.add", {"expression": "x", "adress": 1}),
        ("watch.remove", {}),
        ("watch.resume", {"slot": None}),
        ("dance", {}),
        ("capture", {"tag": 1}),
        ("range", {"first": 3, "last": 2}),
        ("range", {"first": 0, "last": 2}),
    ],
)
def test_odd_requests_do_not_get_past_the_codec(name: str, args: dict[str, Any]) -> None:
    data = bytes([VERSION]) + msgspec.msgpack.encode({"id": 1, "request": {"name": name, **args}})
    with pytest.raises(CodecError):
        decode_command(data)


async def test_the_answer_to_a_capture_says_where_it_is_and_leaves_the_report_to_the_stream(run: Run) -> None:
    report = CaptureReport(tag="mine", trigger="on-demand", step="stall", elapsed_ms=5.0)

    async def capture(trigger: str, detail: str, tag: str | None) -> SavedCapture:
        await trio.lowlevel.checkpoint()
        return SavedCapture(report, "/d/001-mine.json", "")

    run.guest.coordinator.capture_and_save = capture  # type: ignore[assignment, method-assign]
    assert (await run.ask("capture", tag="mine")).result == {
        "tag": "mine",
        "unsaved": "",
        "path": "/d/001-mine.json",
        "tasks": 0,
        "pause_us": None,
        "step": "stall",
        "elapsed_ms": 5.0,
    }


async def test_slots_are_removed_and_resumed(run: Run) -> None:
    assert (await run.ask("watch.remove", slot=1)).result == {"changed": True}
    assert (await run.ask("watch.remove", slot=2)).result == {"changed": False}
    assert (await run.ask("watch.resume", slot=3)).result == {"changed": False}
    assert run.watches.changed == [("remove", 1), ("remove", 2), ("resume", 3)]


async def test_watches_are_listed_even_when_the_guest_is_gone(run: Run) -> None:
    await run.ask("watch.add", expression="jiffies")
    reply = await run_command(Command(id=1, request=ListWatches()), None, run.state)
    (watch,) = reply.result["watches"]
    assert (watch["slot"], watch["expression"], watch["address"], watch["hits"]) == (1, "jiffies", 16, 0)
    with pytest.raises(GuestError, match="the guest has not started"):
        await run_command(Command(id=1, request=Freeze()), None, run.state)
