"""A hold on automation on the screen: how long, by whom and why, and the key that begins and ends it."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot

from ktstr_tui.model import events as ev
from ktstr_tui.model.control import ApplyBackoff, AttachScheduler
from ktstr_tui.tui.app import KtstrApp
from ktstr_tui.tui.leaving import Leaving
from tests.tui.fakes import FakeSource, drive, press, rows
from tests.tui.story import Story
from tests.tui.test_edit import editing, feed

S = 1_000_000_000


def held(*, alert: bool = False) -> FakeSource:
    """A run whose automation ada holds for ten minutes more."""
    source = editing()
    until_ns = source.state.mono_ns + 600 * S
    source = editing(ev.HoldChanged(held=True, by="ada@build-7", until_ns=until_ns, reason="a demonstration"))
    if alert:
        raised = ev.AlertRaised(key="x", kind="host", severity="warning", text="something else is up")
        source.feed([raised])
    return source


async def whole(app: KtstrApp, pilot: Pilot[Leaving]) -> list[str]:
    return rows(app)


@pytest.mark.parametrize("alert", [False, True])
def test_the_screen_says_how_long_automation_is_held_by_whom_and_why(alert: bool) -> None:
    _app, lines = drive(held(alert=alert), whole)
    text = "\n".join(lines)
    assert "HELD 600 s" in text or "HELD 10 min" in text
    assert "Automation is held by ada@build-7 for 600 s more: a demonstration." in text
    assert "H Resume automation" in lines[-1]


def test_the_key_asks_what_for_and_holds() -> None:
    source = FakeSource(Story().until(16))

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> str:
        footer = rows(app)[-1]
        await press(app, pilot, "H", "d", "e", "m", "o", "enter")
        return footer

    _app, footer = drive(source, steps)
    assert source.commands == [("automation.hold", {"why": "demo"})]
    assert "H " not in footer


def test_escape_holds_nothing() -> None:
    source = FakeSource(Story().until(16))

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> None:
        await press(app, pilot, "H", "escape")

    drive(source, steps)
    assert source.commands == []


def test_the_key_ends_a_hold() -> None:
    source = held()

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> None:
        await press(app, pilot, "H")

    drive(source, steps)
    assert source.commands == [("automation.resume", {})]


def test_who_only_looks_is_offered_no_key_and_told_why() -> None:
    source = held()
    source.controllable = False

    async def steps(app: KtstrApp, pilot: Pilot[Leaving]) -> tuple[str, list[str]]:
        await press(app, pilot, "H")
        return rows(app)[-1], [it.message for it in app._notifications]

    _app, (footer, notes) = drive(source, steps)
    assert "H Resume" not in footer
    assert notes == ["Cannot hold automation: attached read-only."]
    assert source.commands == []


def test_a_scheduler_that_is_left_alone_is_on_the_screen_with_the_reason() -> None:
    action = ApplyBackoff(
        name="bad.o", until_ns=(1 << 63) - 1, crashes=5, held=True, reason="5 crashes within 60 s"
    )
    source = editing(ev.ActionChanged(id=1, action=action, disposition="emitted"))
    _app, lines = drive(source, whole)
    assert "bad.o is left alone: 5 crashes within 60 s." in "\n".join(lines)
    feed(
        source, ev.ActionChanged(id=2, action=AttachScheduler(name=""), disposition="emitted", command_seq=3)
    )
    _app, lines = drive(source, whole)
    assert "left alone" not in "\n".join(lines[:8]), "somebody asked for it"
