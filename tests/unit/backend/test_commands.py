"""Commands of viewers: what they are given is checked, what they may not do is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio

from ktstr_tui.backend.commands import HANDLERS, run_command
from ktstr_tui.backend.live import LiveGuest
from ktstr_tui.capture.watch.watch_spec import WatchSpec
from ktstr_tui.model import events as ev
from ktstr_tui.model.commands import RUN_COMMANDS, Command, Reply
from ktstr_tui.model.errors import GuestError, UsageError
from ktstr_tui.model.fold import fold
from ktstr_tui.model.state import RunState


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
        return await run_command(Command(id=7, name=name, args=args), self.guest, self.state)


@pytest.fixture
def run() -> Run:
    return Run()


def test_every_command_of_a_run_is_served() -> None:
    assert set(HANDLERS) | {"end", "watches"} == RUN_COMMANDS


async def test_a_watch_is_added_with_what_was_asked(run: Run) -> None:
    reply = await run.ask("watch", expression="jiffies", length=8, once=True, capture=True, budget=5)
    assert run.watches.added == [
        WatchSpec(expression="jiffies", length_bytes=8, once=True, capture=True, budget_per_s=5)
    ]
    assert (reply.id, reply.result["slot"], reply.result["watch"]["expression"]) == (7, 1, "jiffies")
    await run.ask("watch", expression="jiffies")
    assert run.watches.added[1] == WatchSpec(expression="jiffies")


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("watch", {}, "expression must be of type str"),
        ("watch", {"expression": 7}, "expression must be of type str"),
        ("watch", {"expression": "x", "length": True}, "length must be of type int"),
        ("watch", {"expression": "x", "length": "8"}, "length must be of type int"),
        ("watch", {"expression": "x", "once": 1}, "once must be of type bool"),
        ("watch", {"expression": "x", "adress": 1}, "watch has no argument 'adress'"),
        ("unwatch", {}, "slot must be of type int"),
        ("rewatch", {"slot": None}, "slot must be of type int"),
        ("dance", {}, "there is no command 'dance'"),
        ("capture", {"tag": 1}, "the tag of a capture must be text"),
    ],
)
async def test_odd_arguments_are_refused_by_name(
    run: Run, name: str, args: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        await run.ask(name, **args)
    assert message in caught.value.message
    assert not run.watches.added
    assert not run.watches.changed


async def test_slots_are_removed_and_resumed(run: Run) -> None:
    assert (await run.ask("unwatch", slot=1)).result == {"changed": True}
    assert (await run.ask("unwatch", slot=2)).result == {"changed": False}
    assert (await run.ask("rewatch", slot=3)).result == {"changed": False, "watch": {}}
    assert run.watches.changed == [("remove", 1), ("remove", 2), ("resume", 3)]


async def test_watches_are_listed_even_when_the_guest_is_gone(run: Run) -> None:
    await run.ask("watch", expression="jiffies")
    reply = await run_command(Command(id=1, name="watches"), None, run.state)
    (watch,) = reply.result["watches"]
    assert (watch["slot"], watch["expression"], watch["address"], watch["hits"]) == (1, "jiffies", 16, 0)
    with pytest.raises(GuestError, match="the guest has not started"):
        await run_command(Command(id=1, name="freeze"), None, run.state)
